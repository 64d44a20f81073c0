# What fails when storage fails. storage_faults is a library for LD_PRELOAD that makes the N-th storage call of any program fail.
add_library(storage_faults MODULE fault/storage_faults.c)
target_link_libraries(storage_faults PRIVATE ${CMAKE_DL_LIBS})
target_compile_options(storage_faults PRIVATE -Wall -Wextra -Wshadow -Werror)
set_target_properties(storage_faults PROPERTIES PREFIX "" C_STANDARD 11 C_EXTENSIONS ON)
if(NOT CANDOR_SANITIZE)  # a sanitizer's own library must come first
  add_test(NAME fault_storage_library COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/fault/storage_faults_test.py $<TARGET_FILE:storage_faults>)
  set_tests_properties(fault_storage_library PROPERTIES LABELS fault TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()

# Every storage call of the checkpoint writer, in every way it can fail.
add_executable(checkpoint_sweep fault/checkpoint_sweep.cc)
target_link_libraries(checkpoint_sweep PRIVATE candor_trainer candor_flags GTest::gtest ${CMAKE_DL_LIBS})
target_compile_options(checkpoint_sweep PRIVATE ${CANDOR_TORCH_OPTIONS} -fPIC)
target_precompile_headers(checkpoint_sweep REUSE_FROM candor_aten_pch)
if(NOT CANDOR_SANITIZE)
  add_test(NAME fault_checkpoint_storage COMMAND checkpoint_sweep 9)
  add_test(NAME fault_checkpoint_storage_every_call COMMAND checkpoint_sweep 1)
  set_tests_properties(fault_checkpoint_storage fault_checkpoint_storage_every_call PROPERTIES TIMEOUT 900
    ENVIRONMENT "LD_PRELOAD=$<TARGET_FILE:storage_faults>;OMP_NUM_THREADS=1")
  set_tests_properties(fault_checkpoint_storage PROPERTIES LABELS fault)
  set_tests_properties(fault_checkpoint_storage_every_call PROPERTIES LABELS "fault;slow")
endif()
