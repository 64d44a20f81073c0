# What fails when storage fails. storage_faults is a library for LD_PRELOAD that makes the N-th storage call of any program fail.
add_library(storage_faults MODULE fault/storage_faults.c)
target_link_libraries(storage_faults PRIVATE ${CMAKE_DL_LIBS})
target_compile_options(storage_faults PRIVATE -Wall -Wextra -Wshadow -Werror)
set_target_properties(storage_faults PROPERTIES PREFIX "" C_STANDARD 11 C_EXTENSIONS ON)
if(NOT CANDOR_SANITIZE)  # a sanitizer's own library must come first
  add_test(NAME fault_storage_library COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/fault/storage_faults_test.py $<TARGET_FILE:storage_faults>)
  set_tests_properties(fault_storage_library PROPERTIES LABELS fault TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()
