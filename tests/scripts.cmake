# Tests that are Python programs: the structure of the source tree, and the tools. Included by tests/CMakeLists.txt.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(_structure ${CMAKE_CURRENT_SOURCE_DIR}/structure)

function(candor_script_test name label)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${_structure})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 120 SKIP_RETURN_CODE 77 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()

foreach(_check layers length words formatting)
  candor_script_test(structure_${_check} structure ${Python3_EXECUTABLE} ${_structure}/${_check}.py ${CMAKE_SOURCE_DIR})
endforeach()
candor_script_test(structure_checks_can_fail structure ${Python3_EXECUTABLE} ${_structure}/controls_test.py)

# How fast it starts is promised for the release build only: beside the program with torch, as machines differ (15 to 35 ms beside 200 to 420).
set(_share "")
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT CANDOR_SANITIZE)
  set(_share 0.2)
endif()
candor_script_test(structure_front_program structure ${Python3_EXECUTABLE} ${_structure}/front_program.py $<TARGET_FILE:candor> $<TARGET_FILE:candor-torch> ${_share})

# The environment of tools/setup.sh has numpy, with which more of these tests run.
set(_tools_python ${Python3_EXECUTABLE})
if(EXISTS ${CANDOR_DEPS}/prepare/bin/python)
  set(_tools_python ${CANDOR_DEPS}/prepare/bin/python)
endif()
file(GLOB _tool_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tools/*_test.py)
foreach(_test IN LISTS _tool_tests)
  get_filename_component(_name ${_test} NAME_WE)
  candor_script_test(tools_${_name} tools ${_tools_python} ${_test})
endforeach()

# With Hugging Face itself; skipped where tools/setup.sh --parity was not run.
candor_script_test(parity_export parity ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/parity/export_test.py $<TARGET_FILE:candor> ${CMAKE_SOURCE_DIR})
