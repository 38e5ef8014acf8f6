# What of attention is tested without a GPU, beside its kernels (tests/simt) and its graphs (tests/unit/backend_cuda).
set(attention ${CMAKE_CURRENT_SOURCE_DIR}/attention)
set(cuda ${CMAKE_SOURCE_DIR}/src/backend/cuda)

# The choice among the ways, with the kernels on the CPU and a cuDNN of our own.
if(TARGET vt_simt)
  add_executable(test_attention_choice ${attention}/test_choice.c ${attention}/fake_cudnn.c ${cuda}/attention.c
    ${cuda}/attention_ways.c ${cuda}/attention_tune.c ${cuda}/attention_check.c)
  target_link_libraries(test_attention_choice PRIVATE vt_ops_table vt_backend_cuda vt_simt PkgConfig::CUNIT m)
  target_include_directories(test_attention_choice PRIVATE ${attention} ${CMAKE_SOURCE_DIR}/tests/support)
  set_target_properties(test_attention_choice PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME attention_choice COMMAND test_attention_choice)
  set_tests_properties(attention_choice PROPERTIES TIMEOUT 300 LABELS plugin ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")

  # The kernels that the op table's default run (simt_ops) does not reach: the plain ones for every shape, and the whole-head
  # ones as they are chosen with the shared memory of sm_80 and sm_120.
  foreach(case plain:SIMT_ATTENTION=plain choice_1:SIMT_CHOICE=1 sm_80:SIMT_SHARED=166912 sm_120:SIMT_SHARED=101376)
    string(REPLACE ":" ";" case ${case})
    list(GET case 0 name)
    list(GET case 1 setting)
    add_test(NAME simt_attention_${name} COMMAND test_ops_simt simt attention)
    set_tests_properties(simt_attention_${name} PROPERTIES TIMEOUT 300 LABELS simt
      ENVIRONMENT "${setting};SIMT_ORDER=random;ASAN_OPTIONS=detect_leaks=0")
  endforeach()
endif()

# The graphs against the installed cuDNN; skipped, and said so, where it is not there at run time.
if(NOT VT_WITH_CUDA)
  return()
endif()
find_path(VT_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${CUDNN_ROOT}/include)
if(NOT VT_CUDNN_INCLUDE OR NOT VT_CUDNN_USABLE)
  message(STATUS "no cudnn.h to build with: the test of attention's cuDNN graphs is left out")
  return()
endif()
vt_test(cudnn_attention
  SOURCES ${attention}/test_attention_cudnn.c ${cuda}/attention_cudnn.c ${cuda}/attention_cudnn_graph.c
          ${cuda}/attention_cudnn_config.c ${cuda}/cudnn_api.c
  ROOMS backend/cuda base LINKS ${CMAKE_DL_LIBS} LABELS plugin)
target_include_directories(cudnn_attention SYSTEM PRIVATE ${VT_CUDNN_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
target_compile_definitions(cudnn_attention PRIVATE VT_CUDA_STUB="${CUDAToolkit_LIBRARY_DIR}/stubs/libcuda.so")
set_target_properties(cudnn_attention PROPERTIES BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR})
