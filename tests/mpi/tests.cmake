# Tests under mpirun, on any machine: more ranks than cores, root or not.
#   vt_mpi_test(name RANKS 1 2 3 4 [SOURCES files...] [ROOMS rooms...] [ARGS args...])
# builds tests/mpi/<name>.c (or SOURCES) as target mpi_<name> and adds mpi_<name>_<ranks> for each count, label mpi.
#   vt_mpi_expect(name TARGET binary RANKS n EXIT code TEXT regex SECONDS limit [ARGS args...])
# a run that must fail: with this exit code ("fail" = any but 0), this text, within the limit, leaving no process.
find_program(MPIRUN NAMES mpirun)

set(VT_MPI_ENVIRONMENT OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
  OMP_NUM_THREADS=1)
if(VT_SANITIZE) # Open MPI never gives all its memory back, and knows no thread sanitizer
  list(APPEND VT_MPI_ENVIRONMENT ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp)
endif()
set(VT_MPIRUN ${MPIRUN} --oversubscribe --bind-to none --mca odls_base_sigkill_timeout 0)

function(vt_mpi_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ROOMS" ${ARGN})
  if(NOT ARG_SOURCES)
    set(ARG_SOURCES ${CMAKE_SOURCE_DIR}/tests/mpi/${name}.c)
  endif()
  list(TRANSFORM ARG_ROOMS REPLACE "/" "_")
  list(TRANSFORM ARG_ROOMS PREPEND vt_)
  add_executable(mpi_${name} ${ARG_SOURCES})
  target_link_libraries(mpi_${name} PRIVATE vt_flags ${ARG_ROOMS} vt_comm m)
  target_include_directories(mpi_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support)
  set_target_properties(mpi_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

function(vt_mpi_test name)
  cmake_parse_arguments(ARG "" "" "RANKS;SOURCES;ROOMS;ARGS" ${ARGN})
  vt_mpi_binary(${name} SOURCES ${ARG_SOURCES} ROOMS ${ARG_ROOMS})
  foreach(ranks ${ARG_RANKS})
    add_test(NAME mpi_${name}_${ranks} COMMAND ${VT_MPIRUN} -np ${ranks} $<TARGET_FILE:mpi_${name}> ${ARG_ARGS})
    set_tests_properties(mpi_${name}_${ranks} PROPERTIES LABELS mpi TIMEOUT 120 SKIP_RETURN_CODE 77 PROCESSORS 2
      ENVIRONMENT "${VT_MPI_ENVIRONMENT}")
  endforeach()
endfunction()

function(vt_mpi_expect name)
  cmake_parse_arguments(ARG "" "TARGET;RANKS;EXIT;TEXT;SECONDS" "ARGS" ${ARGN})
  add_test(NAME mpi_${name} COMMAND sh ${CMAKE_SOURCE_DIR}/tests/mpi/expect.sh ${ARG_EXIT} ${ARG_TEXT} ${ARG_SECONDS}
    ${VT_MPIRUN} -np ${ARG_RANKS} $<TARGET_FILE:mpi_${ARG_TARGET}> ${ARG_ARGS})
  set_tests_properties(mpi_${name} PROPERTIES LABELS mpi TIMEOUT 120 PROCESSORS 2 ENVIRONMENT "${VT_MPI_ENVIRONMENT}")
endfunction()

if(MPIRUN AND TARGET vt_comm)
  vt_mpi_test(collectives RANKS 1 2 3 4)
  vt_mpi_test(buckets RANKS 1 2 3 4 ROOMS backend/ref)

  # One rank fails in every way there is; the others sit in a collective.
  vt_mpi_binary(hang)
  vt_mpi_expect(abort_thread TARGET hang RANKS 3 EXIT 5 TEXT "rank 1.*the reason" SECONDS 15 ARGS abort-thread 1)
  vt_mpi_expect(abort_main TARGET hang RANKS 3 EXIT 5 TEXT "rank 2.*the reason" SECONDS 15 ARGS abort 2)
  vt_mpi_expect(rank_exits TARGET hang RANKS 3 EXIT fail TEXT "exited on|without|exit" SECONDS 20 ARGS exit 1)
  vt_mpi_expect(rank_killed TARGET hang RANKS 3 EXIT fail TEXT "signal 9|Killed" SECONDS 20 ARGS kill 1)
  # The watchdog: a rank asleep in a stage, a stopped one, and the judge himself.
  vt_mpi_expect(watchdog_sleep TARGET hang RANKS 4 EXIT 1 SECONDS 20 ARGS sleep 2
    TEXT "watchdog: rank 2 .host .*is stuck in stage decode since [0-9]+ s at step 57. ranks 0,1,3 wait for it")
  vt_mpi_expect(watchdog_sleep_judge TARGET hang RANKS 3 EXIT 1 SECONDS 20 ARGS sleep 0
    TEXT "watchdog: rank 0 .host .*is stuck in stage decode since [0-9]+ s at step 57. ranks 1,2 wait for it")
  vt_mpi_expect(watchdog_loader TARGET hang RANKS 3 EXIT 1 SECONDS 20 ARGS loader 1
    TEXT "watchdog: rank 1 .host .*is stuck in stage read .thread loader 0. since [0-9]+ s at step 57")
  vt_mpi_expect(watchdog_stop TARGET hang RANKS 4 EXIT 1 SECONDS 20 ARGS stop 2
    TEXT "watchdog: rank 2 .host .*is silent since [0-9]+ s.* ranks 0,1,3 wait for it")
  vt_mpi_expect(watchdog_stop_judge TARGET hang RANKS 4 EXIT 1 SECONDS 20 ARGS stop 0
    TEXT "watchdog: rank 0 .host .*is silent since [0-9]+ s.* ranks 1-3 wait for it")
  vt_mpi_expect(watchdog_stop_pair TARGET hang RANKS 2 EXIT 1 SECONDS 20 ARGS stop 1
    TEXT "watchdog: rank 1 .host .*is silent since [0-9]+ s.* rank 0 waits for it")
  add_test(NAME mpi_watchdog_quiet COMMAND ${VT_MPIRUN} -np 3 $<TARGET_FILE:mpi_hang> none 0)
  set_tests_properties(mpi_watchdog_quiet PROPERTIES LABELS mpi TIMEOUT 60 ENVIRONMENT "${VT_MPI_ENVIRONMENT}"
    FAIL_REGULAR_EXPRESSION "watchdog")
endif()
if(MPIRUN AND TARGET vt_checkpoint)
  vt_mpi_test(checkpoint_ranks RANKS 1 2 3 4 ROOMS checkpoint)
  vt_mpi_test(checkpoint_full RANKS 1 3 ROOMS checkpoint)
  vt_mpi_binary(checkpoint_kill ROOMS checkpoint)
  add_test(NAME mpi_checkpoint_kill_3 COMMAND sh ${CMAKE_SOURCE_DIR}/tests/mpi/checkpoint_kill.sh ${VT_MPIRUN} -np 3
    $<TARGET_FILE:mpi_checkpoint_kill>)
  set_tests_properties(mpi_checkpoint_kill_3 PROPERTIES LABELS mpi TIMEOUT 180 ENVIRONMENT "${VT_MPI_ENVIRONMENT}")
endif()
