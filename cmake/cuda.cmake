# The CUDA plugin, libvitrail_cuda.so: src/backend/cuda and src/comm/nccl, built where nvcc is found. The program itself
# never needs CUDA: it loads the plugin at run time. cuBLASLt is linked; cuDNN and NCCL are loaded by the plugin when present.
set(WITH_CUDA AUTO CACHE STRING "Build the CUDA plugin: AUTO (where nvcc is found), ON, OFF")
set_property(CACHE WITH_CUDA PROPERTY STRINGS AUTO ON OFF)
set(VT_CUDA "no CUDA") # for the version line

if(WITH_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    # Code for four; PTX, which newer GPUs compile for themselves, of two.
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90 100-real 120 CACHE STRING "GPU architectures of the plugin")
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(VT_NVCC NAMES nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(VT_NVCC)
      set(ENV{CUDACXX} ${VT_NVCC})
    endif()
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(VT_CUDA "CUDA ${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR} plugin")
    set(VT_WITH_CUDA ON)
  elseif(NOT WITH_CUDA STREQUAL AUTO)
    message(FATAL_ERROR "WITH_CUDA=ON, but there is no working nvcc: install the CUDA toolkit, or put nvcc on the PATH")
  endif()
endif()

# vt_library_dirs(out roots...): the folders with libraries under each root, as toolkits, packages and wheels lay them out.
function(vt_library_dirs out)
  set(dirs "")
  foreach(root ${ARGN})
    foreach(name lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE} targets/x86_64-linux/lib)
      file(GLOB libraries ${root}/${name}/lib*.so*)
      if(libraries)
        list(APPEND dirs ${root}/${name})
      endif()
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES dirs)
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

# vt_cuda_plugin(): the target, once the rooms it borrows pure code from are there.
function(vt_cuda_plugin)
  set(src ${CMAKE_SOURCE_DIR}/src)
  file(GLOB own CONFIGURE_DEPENDS ${src}/backend/cuda/*.c ${src}/backend/cuda/*.cu ${src}/comm/nccl/*.c)
  # Only the headers of these two are needed here; -DCUDNN_ROOT, -DNCCL_ROOT say where, if not beside CUDA's. The plugin looks
  # for the libraries at run time, where the loader does and in its RUNPATH, which therefore has both.
  find_path(VT_CUDNN_INCLUDE cudnn.h HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
  find_path(VT_NCCL_INCLUDE nccl.h HINTS ${NCCL_ROOT} ENV NCCL_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
  if(NOT VT_CUDNN_INCLUDE)
    message(STATUS "CUDA plugin without cuDNN: cudnn.h was not found (CUDNN_ROOT)")
    list(FILTER own EXCLUDE REGEX "/(cudnn_api|attention_cudnn[a-z_]*)\\.c$")
    list(APPEND own ${src}/backend/cuda/without/cudnn.c)
  endif()
  if(NOT VT_NCCL_INCLUDE)
    message(STATUS "CUDA plugin without NCCL: nccl.h was not found (NCCL_ROOT)")
    list(FILTER own EXCLUDE REGEX "/comm/nccl/")
    list(APPEND own ${src}/backend/cuda/without/nccl.c)
  endif()
  vt_library_dirs(dirs ${CUDNN_ROOT} $ENV{CUDNN_ROOT} ${NCCL_ROOT} $ENV{NCCL_ROOT})
  set(shared ${src}/backend/plan.c ${src}/backend/arena.c ${src}/backend/tuning_file.c ${src}/tensor/dtype.c ${src}/comm/comm.c
    ${src}/base/crc32c.c ${src}/base/file.c ${src}/base/seal.c)
  add_library(vitrail_cuda MODULE ${own} ${shared})
  target_include_directories(vitrail_cuda PRIVATE ${src})
  target_include_directories(vitrail_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS} $<$<BOOL:${VT_CUDNN_INCLUDE}>:${VT_CUDNN_INCLUDE}>
    $<$<BOOL:${VT_NCCL_INCLUDE}>:${VT_NCCL_INCLUDE}>)
  target_compile_definitions(vitrail_cuda PRIVATE _GNU_SOURCE)
  target_compile_options(vitrail_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wshadow;-Wstrict-prototypes;-Wmissing-prototypes;-fno-math-errno>
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler=-Wall,-Wextra,-Wshadow --expt-extended-lambda>")
  if(VT_WERROR)
    target_compile_options(vitrail_cuda PRIVATE $<$<COMPILE_LANGUAGE:C>:-Werror>
      "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings -Xcompiler=-Werror>")
  endif()
  set_target_properties(vitrail_cuda PROPERTIES
    C_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
    CUDA_RUNTIME_LIBRARY Static LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} POSITION_INDEPENDENT_CODE ON
    LINKER_LANGUAGE CUDA BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR};${dirs}" INSTALL_RPATH "\$ORIGIN;${CUDAToolkit_LIBRARY_DIR};${dirs}")
  target_link_libraries(vitrail_cuda PRIVATE vt_proto CUDA::cublasLt CUDA::cudart_static ${CMAKE_DL_LIBS} Threads::Threads m)
  target_link_options(vitrail_cuda PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)
  install(TARGETS vitrail_cuda LIBRARY DESTINATION lib)
endfunction()
