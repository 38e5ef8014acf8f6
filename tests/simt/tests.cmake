# The CUDA kernels on the CPU (README.md here). The only C++ of the tests; without a C++ compiler there are none of these.
include(CheckLanguage)
check_language(CXX)
if(VT_SANITIZE MATCHES thread)
  return() # it does not know our fibers
endif()
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "no C++ compiler: the CUDA kernels' tests on the CPU are left out")
  return()
endif()
enable_language(CXX)
set(simt ${CMAKE_CURRENT_SOURCE_DIR}/simt)
set(cuda ${CMAKE_SOURCE_DIR}/src/backend/cuda)

# A room of C++ against the kernels: stand_in comes before src, and simt.h before each .cu.
add_library(vt_simt_flags INTERFACE)
target_compile_features(vt_simt_flags INTERFACE cxx_std_17)
target_compile_definitions(vt_simt_flags INTERFACE _GNU_SOURCE)
target_include_directories(vt_simt_flags INTERFACE ${simt}/stand_in ${simt} ${CMAKE_SOURCE_DIR}/src)
# -ffp-contract=off: a GPU's fused multiply-adds are not the CPU's, so neither is relied on.
target_compile_options(vt_simt_flags INTERFACE -O2 -g1 -Wall -Wextra -Wshadow -Werror -Wno-unknown-pragmas -ffp-contract=off)

if(VT_SANITIZE)
  target_compile_options(vt_simt_flags INTERFACE -fsanitize=${VT_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(vt_simt_flags INTERFACE -fsanitize=${VT_SANITIZE})
endif()

# vt_simt_kernels(target file.cu...): those files as C++.
function(vt_simt_kernels target)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-include;${simt}/simt.h")
  add_library(${target} STATIC ${ARGN})
  target_link_libraries(${target} PUBLIC vt_simt_flags)
endfunction()

set(simt_kernels add_norm add_norm_backward columns patchify embed pool dropout loss cast optim activation)
list(TRANSFORM simt_kernels PREPEND ${cuda}/)
list(TRANSFORM simt_kernels APPEND .cu)

add_library(vt_simt_machine STATIC ${simt}/simt.cc ${simt}/fiber.cc ${simt}/mma.cc)
target_link_libraries(vt_simt_machine PUBLIC vt_simt_flags)
vt_simt_kernels(vt_simt_kernels ${simt_kernels})
# The backend in two halves, because the flags of C are not those of C++.
add_library(vt_simt STATIC ${simt}/backend_simt.cc)
add_library(vt_simt_c STATIC ${simt}/simt_linear.c ${simt}/simt_attention.c)
target_link_libraries(vt_simt PUBLIC vt_simt_kernels vt_simt_machine INTERFACE vt_simt_c)
target_link_libraries(vt_simt_c PUBLIC vt_flags vt_backend_ref vt_backend INTERFACE vt_simt)

target_link_libraries(test_ops PRIVATE vt_simt)
target_compile_definitions(test_ops PRIVATE WITH_BACKEND_SIMT)
target_include_directories(test_ops PRIVATE ${simt})
add_test(NAME simt_ops COMMAND test_ops simt)
set_tests_properties(simt_ops PROPERTIES TIMEOUT 300 LABELS simt)
