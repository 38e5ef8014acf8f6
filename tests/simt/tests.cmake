# The CUDA kernels on the CPU (README.md here). The only C++ of the tests; without a C++ compiler there are none of
# these.
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
add_library(vt_simt_plain_flags INTERFACE)
target_compile_features(vt_simt_plain_flags INTERFACE cxx_std_17)
target_compile_definitions(vt_simt_plain_flags INTERFACE _GNU_SOURCE)
target_include_directories(vt_simt_plain_flags INTERFACE ${simt}/stand_in ${simt} ${CMAKE_SOURCE_DIR}/src)
# -ffp-contract=off: a GPU's fused multiply-adds are not the CPU's, so neither is relied on.
target_compile_options(vt_simt_plain_flags INTERFACE -O2 -g1 -Wall -Wextra -Wshadow -Werror
                       -Wno-unknown-pragmas -ffp-contract=off)

# With sanitizers: an access past a buffer's end, or a misaligned vector, is what a GPU would not tell.
add_library(vt_simt_flags INTERFACE)
target_link_libraries(vt_simt_flags INTERFACE vt_simt_plain_flags)
set(simt_sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
target_compile_options(vt_simt_flags INTERFACE ${simt_sanitize})
target_link_options(vt_simt_flags INTERFACE -fsanitize=address,undefined)

# vt_simt_kernels(target file.cu...): those files as C++.
function(vt_simt_kernels target)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-include;${simt}/simt.h")
  add_library(${target} STATIC ${ARGN})
  target_link_libraries(${target} PUBLIC vt_simt_flags)
endfunction()

set(simt_kernels add_norm add_norm_backward attention_head_forward attention_head_backward attention_plain
    attention_sums columns patchify embed pool dropout loss cast optim activation)
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

add_executable(test_simt ${simt}/test_simt.cc)
target_link_libraries(test_simt PRIVATE vt_simt_machine vt_base PkgConfig::CUNIT)
add_executable(test_kernels ${simt}/test_kernels.c)
target_link_libraries(test_kernels PRIVATE vt_simt PkgConfig::CUNIT m)
foreach(name simt kernels)
  target_include_directories(test_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/support)
  set_target_properties(test_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
# Also part of a shared object (tests/plugin).
set_target_properties(vt_simt_kernels vt_simt_machine PROPERTIES POSITION_INDEPENDENT_CODE ON)
add_test(NAME simt_machine COMMAND test_simt)
add_test(NAME simt_kernels COMMAND test_kernels)
set_tests_properties(simt_machine simt_kernels PROPERTIES TIMEOUT 60 LABELS simt
                     ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")

# test_ops_simt simt [FILTER]: the op checker's whole table.
add_executable(test_ops_simt ${CMAKE_CURRENT_SOURCE_DIR}/ops/test_ops.c)
target_link_libraries(test_ops_simt PRIVATE vt_ops_table vt_simt)
target_compile_definitions(test_ops_simt PRIVATE WITH_BACKEND_SIMT)
set_target_properties(test_ops_simt PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
# Threads and blocks get their turns in three orders: what a missing barrier breaks in one, it may not in another.
foreach(order forward reverse random)
  add_test(NAME simt_ops_${order} COMMAND test_ops_simt simt)
  set_tests_properties(simt_ops_${order} PROPERTIES TIMEOUT 900 LABELS simt
                       ENVIRONMENT "SIMT_ORDER=${order};ASAN_OPTIONS=detect_leaks=0")
endforeach()

# The model's recompute levels with these kernels.
add_executable(test_recompute_simt ${CMAKE_CURRENT_SOURCE_DIR}/unit/model/test_recompute.c)
target_link_libraries(test_recompute_simt PRIVATE vt_flags vt_model vt_simt PkgConfig::CUNIT m)
target_compile_definitions(test_recompute_simt PRIVATE WITH_BACKEND_SIMT)
target_include_directories(test_recompute_simt PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/support ${simt})
set_target_properties(test_recompute_simt PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME simt_recompute COMMAND test_recompute_simt)
set_tests_properties(simt_recompute PROPERTIES TIMEOUT 300 LABELS simt ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")

# Once more with a look at every access (race.h): the compiler's calls for the thread sanitizer, without its library.
if(VT_SANITIZE)
  return()
endif()
add_library(vt_race_flags INTERFACE)
target_link_libraries(vt_race_flags INTERFACE vt_simt_plain_flags)
target_compile_definitions(vt_race_flags INTERFACE SIMT_RACES)
add_library(vt_race_machine STATIC ${simt}/simt.cc ${simt}/fiber.cc ${simt}/mma.cc ${simt}/race.cc)
target_link_libraries(vt_race_machine PUBLIC vt_race_flags)
add_library(vt_race_kernels STATIC ${simt_kernels})
target_link_libraries(vt_race_kernels PUBLIC vt_race_flags)
target_compile_options(vt_race_kernels PRIVATE -fsanitize=thread)
add_library(vt_race STATIC ${simt}/backend_simt.cc)
add_library(vt_race_c STATIC ${simt}/simt_linear.c ${simt}/simt_attention.c)
target_link_libraries(vt_race PUBLIC vt_race_kernels vt_race_machine INTERFACE vt_race_c)
target_link_libraries(vt_race_c PUBLIC vt_flags vt_backend_ref vt_backend INTERFACE vt_race)

add_executable(test_race ${simt}/test_race.cc)
target_link_libraries(test_race PRIVATE vt_race_machine PkgConfig::CUNIT)
target_compile_options(test_race PRIVATE -fsanitize=thread)
target_include_directories(test_race PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/support)
add_executable(test_ops_race ${CMAKE_CURRENT_SOURCE_DIR}/ops/test_ops.c)
target_link_libraries(test_ops_race PRIVATE vt_ops_table vt_race)
target_compile_definitions(test_ops_race PRIVATE WITH_BACKEND_SIMT)
set_target_properties(test_race test_ops_race PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME simt_race COMMAND test_race)
add_test(NAME simt_ops_race COMMAND test_ops_race simt)
set_tests_properties(simt_race simt_ops_race PROPERTIES TIMEOUT 1200 LABELS simt)
