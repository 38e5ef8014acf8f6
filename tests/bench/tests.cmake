# Benchmarks: built with the tests, run by hand. bench_<name>.c links the rooms listed here.
if(TARGET vt_input)
  vt_test(bench_loader NO_CTEST SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench_loader.c ROOMS input)
endif()
