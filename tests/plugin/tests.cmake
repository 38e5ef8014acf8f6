# What of the CUDA plugin is tested without a GPU, beside its kernels (tests/simt) and pure parts (tests/unit/backend_cuda).
set(plugin ${CMAKE_CURRENT_SOURCE_DIR}/plugin)
find_program(MPIRUN NAMES mpirun)

# linear.c on emulated products.
if(TARGET vt_simt)
  vt_simt_kernels(vt_simt_bias ${CMAKE_SOURCE_DIR}/src/backend/cuda/bias.cu)
  add_executable(test_linear_emulated ${plugin}/test_linear.c ${plugin}/gemm_emulated.c ${CMAKE_SOURCE_DIR}/src/backend/cuda/linear.c
    ${CMAKE_SOURCE_DIR}/src/backend/cuda/linear_choose.c)
  target_link_libraries(test_linear_emulated PRIVATE vt_ops_table vt_simt_bias vt_backend_cuda vt_simt m)
  target_include_directories(test_linear_emulated PRIVATE ${plugin})
  set_target_properties(test_linear_emulated PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME plugin_linear COMMAND test_linear_emulated)
  set_tests_properties(plugin_linear PROPERTIES TIMEOUT 300 LABELS plugin ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
endif()

# The plugin itself, all but its kernels' machine code and the vendor's libraries: stand_in/ plays those, tests/simt the GPU. What has run
# over it are the programs that run on a GPU: test_ops cuda, vitrail train. Its address sanitizer must come first in them.
if(TARGET vitrail_cuda AND TARGET vt_simt AND TARGET vitrail AND NOT VT_SANITIZE)
  set(src ${CMAKE_SOURCE_DIR}/src)
  vt_simt_kernels(vt_stand_in_kernels ${src}/backend/cuda/delay.cu)
  set_target_properties(vt_stand_in_kernels vt_simt_bias PROPERTIES POSITION_INDEPENDENT_CODE ON)
  get_target_property(stand_in vitrail_cuda SOURCES)
  list(FILTER stand_in EXCLUDE REGEX "\\.cu$|/(cudnn_api|attention_cudnn[a-z_]*|comm)\\.c$|/comm/nccl/|/without/")
  get_target_property(libraries vitrail_cuda LINK_LIBRARIES)
  list(FILTER libraries EXCLUDE REGEX "^CUDA::")
  add_library(stand_in_plugin MODULE ${stand_in} ${src}/backend/cuda/without/cudnn.c ${src}/backend/cuda/without/nccl.c
    ${plugin}/stand_in/machine.cc ${plugin}/stand_in/memory.cc ${plugin}/stand_in/runtime.cc ${plugin}/stand_in/cublaslt.c)
  target_include_directories(stand_in_plugin PRIVATE ${plugin}/stand_in)
  target_include_directories(stand_in_plugin SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(stand_in_plugin PRIVATE vt_simt_kernels vt_stand_in_kernels vt_simt_bias vt_simt_machine ${libraries})
  target_compile_options(stand_in_plugin PRIVATE $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>)
  set_target_properties(stand_in_plugin PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests C_STANDARD 11
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden LINKER_LANGUAGE CXX)
  target_link_options(stand_in_plugin PRIVATE -Wl,--no-undefined)
  foreach(part ops train)
    add_test(NAME plugin_stand_in_${part} COMMAND sh ${plugin}/stand_in.sh ${CMAKE_BINARY_DIR} ${part})
    set_tests_properties(plugin_stand_in_${part} PROPERTIES TIMEOUT 600 LABELS plugin PROCESSORS 2)
  endforeach()
endif()

# What timing makes of failures, over a CUDA runtime of our own.
if(VT_WITH_CUDA)
  vt_test(plugin_timing SOURCES ${plugin}/test_timing.c ${CMAKE_SOURCE_DIR}/src/backend/cuda/timing.c
    ${CMAKE_SOURCE_DIR}/src/backend/cuda/error.c ROOMS base LABELS plugin)
  target_include_directories(plugin_timing SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
endif()

# The program with a fake GPU, and with what is really here.
if(TARGET vitrail AND TARGET vt_backend_ref AND MPIRUN)
  set(src ${CMAKE_SOURCE_DIR}/src)
  file(GLOB fake_ref ${src}/backend/ref/*.c)
  add_library(fake_plugin MODULE ${plugin}/fake_plugin.c ${plugin}/fake_comm.c ${plugin}/async_ops.c ${src}/backend/cuda/host_shim.c
    ${src}/backend/cuda/tuning.c ${src}/backend/tuning_file.c ${fake_ref} ${src}/backend/plan.c ${src}/backend/synchronous.c
    ${src}/tensor/dtype.c ${src}/tensor/normal.c ${src}/base/philox.c ${src}/base/crc32c.c ${src}/base/file.c ${src}/base/seal.c)
  target_link_libraries(fake_plugin PRIVATE vt_flags vt_proto Threads::Threads m)
  target_include_directories(fake_plugin PRIVATE ${plugin} ${CMAKE_CURRENT_SOURCE_DIR}/support)
  set_target_properties(fake_plugin PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests C_VISIBILITY_PRESET hidden)
  target_link_options(fake_plugin PRIVATE -Wl,--no-undefined)
  add_test(NAME plugin_device COMMAND sh ${plugin}/device.sh ${CMAKE_BINARY_DIR})
  add_test(NAME plugin_graphs COMMAND sh ${plugin}/graphs.sh ${CMAKE_BINARY_DIR})
  set_tests_properties(plugin_device plugin_graphs PROPERTIES TIMEOUT 300 LABELS plugin PROCESSORS 2)
endif()
if(TARGET vitrail_cuda)
  vt_test(plugin_loads SOURCES ${plugin}/test_plugin.c ROOMS train backend/cpu backend/ref LABELS plugin)
  add_dependencies(plugin_loads vitrail_cuda)
  set_property(TEST plugin_loads APPEND PROPERTY ENVIRONMENT "VITRAIL_PLUGIN=${CMAKE_BINARY_DIR}/libvitrail_cuda.so")
  # A cuDNN that is too old is found, and said to be.
  if(VT_CUDNN_USABLE AND NOT VT_SANITIZE)
    add_library(old_cudnn SHARED ${plugin}/old_cudnn.c)
    target_link_libraries(old_cudnn PRIVATE vt_flags)
    set_target_properties(old_cudnn PROPERTIES OUTPUT_NAME cudnn SOVERSION 9 LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/old_cudnn)
    add_dependencies(plugin_loads old_cudnn)
    add_test(NAME plugin_old_cudnn COMMAND plugin_loads)
    set_tests_properties(plugin_old_cudnn PROPERTIES LABELS plugin TIMEOUT 60
      PASS_REGULAR_EXPRESSION "no cuDNN .9\\.7\\.0 is too old., (no )?NCCL"
      ENVIRONMENT "VITRAIL_PLUGIN=${CMAKE_BINARY_DIR}/libvitrail_cuda.so;LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}/tests/old_cudnn")
  endif()
endif()
set(runpath "")
if(TARGET vitrail_cuda)
  get_target_property(dirs vitrail_cuda BUILD_RPATH)
  string(REPLACE ";" "," dirs "${dirs}")
  set(runpath -DPLUGIN=$<TARGET_FILE:vitrail_cuda> -DDIRS=${dirs})
endif()
add_test(NAME plugin_runpath COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DSCRATCH=${CMAKE_BINARY_DIR}/tests/runpath ${runpath}
  -P ${plugin}/runpath.cmake)
set_tests_properties(plugin_runpath PROPERTIES LABELS plugin TIMEOUT 60)
