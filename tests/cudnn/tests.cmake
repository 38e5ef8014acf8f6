# The attention graphs against the installed cuDNN, without a GPU; skipped, and said so, where cuDNN is not there at run time.
if(NOT VT_WITH_CUDA)
  return()
endif()
find_path(VT_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${CUDNN_ROOT}/include)
if(NOT VT_CUDNN_INCLUDE)
  message(STATUS "no cudnn.h: the test of attention's cuDNN graphs is left out")
  return()
endif()
set(cuda ${CMAKE_SOURCE_DIR}/src/backend/cuda)
vt_test(cudnn_attention
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/cudnn/test_attention_cudnn.c ${cuda}/attention_cudnn.c ${cuda}/attention_cudnn_graph.c
          ${cuda}/cudnn_api.c
  ROOMS backend/cuda base LINKS ${CMAKE_DL_LIBS} LABELS plugin)
target_include_directories(cudnn_attention SYSTEM PRIVATE ${VT_CUDNN_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
target_compile_definitions(cudnn_attention PRIVATE VT_CUDA_STUB="${CUDAToolkit_LIBRARY_DIR}/stubs/libcuda.so")
set_target_properties(cudnn_attention PROPERTIES BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR})
