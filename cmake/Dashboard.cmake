# coordinator/dashboard/page.html becomes a constant of the program (a raw string in generated/dashboard_page.cc).
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/coordinator/dashboard/page.html)
file(READ ${CMAKE_SOURCE_DIR}/coordinator/dashboard/page.html CANDOR_DASHBOARD_PAGE)
configure_file(${CMAKE_SOURCE_DIR}/coordinator/dashboard/page.cc.in ${CMAKE_BINARY_DIR}/generated/dashboard_page.cc @ONLY)
target_sources(candor_coordinator PRIVATE ${CMAKE_BINARY_DIR}/generated/dashboard_page.cc)
