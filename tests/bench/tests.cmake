# Benchmarks: built with the tests, run by hand. bench_<name>.c links the rooms listed here.
if(TARGET vt_input)
  vt_test(bench_loader NO_CTEST SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench_loader.c ROOMS input)
endif()

if(TARGET vt_backend_cpu)
  set(bench_onednn ${CMAKE_CURRENT_SOURCE_DIR}/bench/onednn_matmul.c)
  foreach(name bench_linear bench_attention)
    vt_test(${name} NO_CTEST SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/bench/${name}.c ${bench_onednn} ROOMS backend/cpu
      LINKS DNNL::dnnl OpenMP::OpenMP_C)
  endforeach()
endif()
