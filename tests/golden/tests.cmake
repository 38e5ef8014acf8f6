# Whole models against PyTorch: stored results of vit.py, no Python at test time.
set(small_vits cls gap gap_nocls drop drop_cls)
if(TARGET vt_checkpoint AND TARGET vt_model)
  vt_test(golden_vit_ref SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_vit_golden.c ROOMS model backend/ref checkpoint
    LABELS golden ARGS ${small_vits})
  if(TARGET vt_backend_cpu)
    vt_test(golden_vit_cpu SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_vit_golden.c ROOMS model backend/cpu checkpoint
      LABELS golden ARGS ${small_vits} b16)
    target_compile_definitions(golden_vit_cpu PRIVATE GOLDEN_CPU)
  endif()
endif()
