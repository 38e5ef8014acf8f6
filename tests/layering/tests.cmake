# The arrows of src/CMakeLists.txt, as data for the include check. cli is the top: it may include all.
get_property(arrows GLOBAL PROPERTY VT_ARROWS)
list(APPEND arrows "cli: *")
if(NOT arrows MATCHES "supervise: ")
  list(APPEND arrows "supervise: base")
endif()
list(JOIN arrows "\n" arrows)
set(layering ${CMAKE_CURRENT_SOURCE_DIR}/layering)
file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/arrows.txt CONTENT "${arrows}\n")

add_test(NAME layering_includes COMMAND sh ${layering}/check_includes.sh ${CMAKE_SOURCE_DIR}/src
  ${CMAKE_CURRENT_BINARY_DIR}/arrows.txt ${layering}/vendors.txt)
add_test(NAME layering_self_test COMMAND sh ${layering}/self_test.sh)
add_test(NAME layering_headers COMMAND sh ${layering}/check_headers.sh ${CMAKE_SOURCE_DIR}/src ${CMAKE_C_COMPILER})
set_tests_properties(layering_includes layering_self_test layering_headers PROPERTIES LABELS layering TIMEOUT 120)
