# What needs a GPU, in stages of minutes (run.sh), each its own entry with label gpu: skipped, and it says so, where there is
# none. Beside them what needs the toolkit only: comm/nccl over a library that plays NCCL on the host.
if(VT_WITH_CUDA)
  find_path(VT_NCCL_INCLUDE nccl.h HINTS ${NCCL_ROOT} ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
endif()
if(VT_NCCL_INCLUDE AND VT_NCCL_USABLE)
  set(gpu ${CMAKE_CURRENT_SOURCE_DIR}/gpu)
  add_library(fake_nccl MODULE ${gpu}/fake_nccl.c)
  target_link_libraries(fake_nccl PRIVATE vt_flags)
  vt_test(nccl_test_nccl SOURCES ${gpu}/test_nccl.c ${CMAKE_SOURCE_DIR}/src/comm/comm.c ${CMAKE_SOURCE_DIR}/src/comm/nccl/nccl.c
    ${CMAKE_SOURCE_DIR}/src/comm/nccl/library.c ROOMS tensor base LINKS ${CMAKE_DL_LIBS} LABELS unit)
  foreach(target fake_nccl nccl_test_nccl)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support)
    target_include_directories(${target} SYSTEM PRIVATE ${VT_NCCL_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
  endforeach()
  set_target_properties(fake_nccl PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(nccl_test_nccl PRIVATE FAKE_NCCL="$<TARGET_FILE:fake_nccl>")
  add_dependencies(nccl_test_nccl fake_nccl)
endif()

# The programs behind the stages. With cpu or ref-strict in the place of cuda they prove themselves anywhere.
if(TARGET vt_train AND TARGET vt_backend_cpu)
  vt_test(gpu_model NO_CTEST SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/gpu/test_model.c ROOMS train model backend/ref backend/cpu backend)
  add_test(NAME gpu_model_on_cpu COMMAND gpu_model cpu small)
  set_tests_properties(gpu_model_on_cpu PROPERTIES LABELS unit TIMEOUT 300 ENVIRONMENT OMP_NUM_THREADS=2)
  vt_mpi_binary(nccl_ranks SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/gpu/nccl_ranks.c ROOMS train backend/ref backend/cpu)
  if(MPIRUN)
    add_test(NAME gpu_nccl_on_ref COMMAND ${VT_MPIRUN} -np 2 $<TARGET_FILE:mpi_nccl_ranks> ref-strict)
    set_tests_properties(gpu_nccl_on_ref PROPERTIES LABELS mpi TIMEOUT 120 PROCESSORS 2 ENVIRONMENT "${VT_MPI_ENVIRONMENT}")
  endif()
endif()

if(TARGET vt_image)
  vt_test(gpu_make_jpegs NO_CTEST SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/gpu/make_jpegs.c ROOMS image base)
endif()

# One entry per stage.
foreach(stage build ops model bench train nccl bench_data bench_modes sanitizer)
  add_test(NAME gpu_${stage} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/gpu/run.sh --build ${CMAKE_BINARY_DIR} ${stage})
  set_tests_properties(gpu_${stage} PROPERTIES LABELS gpu TIMEOUT 600 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endforeach()
# The stages themselves, with the CPU in the GPU's place.
add_test(NAME gpu_stages_on_cpu COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/gpu/run.sh --build ${CMAKE_BINARY_DIR}
  --results ${CMAKE_BINARY_DIR}/gpu-results-cpu --device cpu --quick ops model bench train nccl bench_data)
set_tests_properties(gpu_stages_on_cpu PROPERTIES LABELS soak TIMEOUT 1800 RUN_SERIAL ON)
