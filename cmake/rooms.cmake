# The rooms of src/ and the arrows between them, said once: they are the link lines here and what the layering test
# (tests/layering) checks every #include against. Vendor headers have one home each, listed there too.
option(VT_WERROR "A warning fails the build; OFF for compilers other than those it is developed with" ON)
add_library(vt_flags INTERFACE)
target_compile_definitions(vt_flags INTERFACE _GNU_SOURCE)
target_compile_options(vt_flags INTERFACE -Wall -Wextra -Wshadow $<$<BOOL:${VT_WERROR}>:-Werror> -fno-math-errno -fno-trapping-math
                                          $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>)
target_include_directories(vt_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(VT_SANITIZE)
  target_compile_options(vt_flags INTERFACE -fsanitize=${VT_SANITIZE} -fno-omit-frame-pointer)
  if(VT_SANITIZE MATCHES undefined) # a test that printed a finding and went on would pass
    target_compile_options(vt_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
  target_link_options(vt_flags INTERFACE -fsanitize=${VT_SANITIZE})
endif()

set(VT_ROOMS "" CACHE INTERNAL "")

# vt_room(path USES rooms... LINKS libraries...): the static library vt_<path with _ for /> of the folder's *.c files; of a
# room that has only headers, an interface library. The global property VT_ARROWS collects "path: rooms it may include".
function(vt_room path)
  cmake_parse_arguments(ARG "" "" "USES;LINKS" ${ARGN})
  string(REPLACE "/" "_" name ${path})
  string(REPLACE ";" " " arrows "${ARG_USES}")
  set_property(GLOBAL APPEND PROPERTY VT_ARROWS "${path}: ${arrows}")
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${path}/*.c)
  list(TRANSFORM ARG_USES REPLACE "/" "_")
  list(TRANSFORM ARG_USES PREPEND vt_)
  set(uses "")
  foreach(room ${ARG_USES})
    list(APPEND uses ${room})
  endforeach()
  if(NOT sources)
    add_library(vt_${name} INTERFACE)
    target_link_libraries(vt_${name} INTERFACE vt_flags ${uses})
    return()
  endif()
  add_library(vt_${name} STATIC ${sources})
  target_link_libraries(vt_${name} PUBLIC vt_flags ${uses} PRIVATE ${ARG_LINKS})
endfunction()

# vt_plugin_room(path USES rooms... PURE files... LINKS libraries...): a room of a plugin (cmake/cuda.cmake). Its arrows count as
# any room's. The files named PURE need neither toolkit nor device: they become vt_<name> for unit tests everywhere.
function(vt_plugin_room path)
  cmake_parse_arguments(ARG "" "" "USES;PURE;LINKS" ${ARGN})
  string(REPLACE "/" "_" name ${path})
  string(REPLACE ";" " " arrows "${ARG_USES}")
  set_property(GLOBAL APPEND PROPERTY VT_ARROWS "${path}: ${arrows}")
  if(ARG_PURE)
    list(TRANSFORM ARG_PURE PREPEND ${CMAKE_SOURCE_DIR}/src/${path}/)
    list(TRANSFORM ARG_USES REPLACE "/" "_")
    list(TRANSFORM ARG_USES PREPEND vt_)
    add_library(vt_${name} STATIC ${ARG_PURE})
    target_link_libraries(vt_${name} PUBLIC vt_flags ${ARG_USES} PRIVATE ${ARG_LINKS})
  endif()
endfunction()
