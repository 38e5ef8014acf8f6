# Every tests/unit/<room>/test_*.c is a test of that room; backend_ref and backend_cpu stand for backend/ref, backend/cpu.
# UNIT_ALSO_<room>: what a room's tests link besides the room itself.
set(UNIT_ALSO_model backend/ref)
set(UNIT_ALSO_optim backend/ref)
set(UNIT_ALSO_comm backend/ref)
file(GLOB unit_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/unit/*/test_*.c)
foreach(source ${unit_tests})
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(folder ${source} DIRECTORY)
  get_filename_component(room ${folder} NAME)
  if(TARGET vt_${room})
    vt_test(${room}_${name} SOURCES ${source} ROOMS ${room} ${UNIT_ALSO_${room}} LABELS unit)
  endif()
endforeach()
