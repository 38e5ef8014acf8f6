# What of the CUDA plugin is tested without a GPU, beside its kernels (tests/simt) and pure parts (tests/unit/backend_cuda).
set(plugin ${CMAKE_CURRENT_SOURCE_DIR}/plugin)

# linear.c on emulated products.
if(TARGET vt_simt)
  vt_simt_kernels(vt_simt_bias ${CMAKE_SOURCE_DIR}/src/backend/cuda/bias.cu)
  add_executable(test_linear_emulated ${plugin}/test_linear.c ${plugin}/gemm_emulated.c ${CMAKE_SOURCE_DIR}/src/backend/cuda/linear.c)
  target_link_libraries(test_linear_emulated PRIVATE vt_ops_table vt_simt_bias vt_backend_cuda vt_simt m)
  target_include_directories(test_linear_emulated PRIVATE ${plugin})
  set_target_properties(test_linear_emulated PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME plugin_linear COMMAND test_linear_emulated)
  set_tests_properties(plugin_linear PROPERTIES TIMEOUT 300 LABELS plugin ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
endif()
