# Fuzz targets: every tests/fuzz/fuzz_<name>.c defines LLVMFuzzerTestOneInput and names its rooms in a line
# "FUZZ_ROOMS: config dataset". In every build, replay.c runs it over corpus/<name>/ as a CTest (inputs that once failed are
# kept there). With WITH_FUZZ=ON and clang it is a libFuzzer binary with address and undefined sanitizers besides:
#   build-fuzz/fuzz/fuzz_config -max_total_time=60 CORPUS_COPY tests/fuzz/corpus/config
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz_*.c)

if(WITH_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "WITH_FUZZ needs clang: cmake -DCMAKE_C_COMPILER=clang -DWITH_FUZZ=ON")
  endif()
  # All rooms are instrumented: coverage and sanitizers must see inside them.
  target_compile_options(vt_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
                                            -fno-omit-frame-pointer)
  target_link_options(vt_flags INTERFACE -fsanitize=address,undefined)
endif()

foreach(source ${fuzz_sources})
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" name ${target})
  file(STRINGS ${source} rooms REGEX "FUZZ_ROOMS:")
  string(REGEX REPLACE ".*FUZZ_ROOMS:" "" rooms "${rooms}")
  string(REGEX MATCHALL "[a-z][a-z_/]*" rooms "${rooms}")
  list(TRANSFORM rooms REPLACE "/" "_")
  list(TRANSFORM rooms PREPEND vt_)
  set(missing "")
  foreach(room ${rooms})
    if(NOT TARGET ${room})
      list(APPEND missing ${room})
    endif()
  endforeach()
  if(NOT rooms OR missing)
    message(FATAL_ERROR "${source}: expected a line \"FUZZ_ROOMS: rooms...\" of existing rooms, got: ${rooms}")
  endif()
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})

  add_executable(replay_${name} ${source} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/replay.c)
  target_link_libraries(replay_${name} PRIVATE vt_flags ${rooms} m)
  set_target_properties(replay_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME fuzz_replay_${name} COMMAND replay_${name} ${corpus})
  set_tests_properties(fuzz_replay_${name} PROPERTIES LABELS fuzz TIMEOUT 120)

  if(WITH_FUZZ)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE vt_flags ${rooms} m)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  endif()
endforeach()
