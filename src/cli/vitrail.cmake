# The binary. The commit is asked at configure time, and that again after each commit; a tree that is no git checkout says
# "unknown".
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --git-path logs/HEAD
  OUTPUT_VARIABLE head_log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
get_filename_component(head_log "${head_log}" ABSOLUTE BASE_DIR ${CMAKE_SOURCE_DIR})
if(EXISTS ${head_log} AND NOT IS_DIRECTORY ${head_log})
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${head_log})
endif()
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} describe --always --dirty --abbrev=10
  OUTPUT_VARIABLE VT_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT VT_COMMIT)
  set(VT_COMMIT unknown)
endif()
set_source_files_properties(train/version.c TARGET_DIRECTORY vt_train PROPERTIES COMPILE_DEFINITIONS
  "VT_VERSION=\"${PROJECT_VERSION}\";VT_COMMIT=\"${VT_COMMIT}\";VT_FEATURES=\"oneDNN ${DNNL_VERSION}, MPI ${MPI_C_VERSION}, ${VT_CUDA}\"")

file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.c)
add_executable(vitrail ${cli_sources})
target_link_libraries(vitrail PRIVATE vt_flags vt_train vt_telemetry vt_convert vt_checkpoint vt_optim vt_comm vt_model
  vt_backend_cpu vt_backend_ref vt_backend vt_tensor vt_input vt_dataset vt_image vt_config vt_base m)
install(TARGETS vitrail RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/vitrail)
