# `cmake --install BUILD --prefix PREFIX`: a folder that can be moved and copied to a machine where nobody is root. All libraries that Debian's packages gave come along, found relative to the
# programs (DT_RPATH, so that they find each other); LibTorch as the environment variable CANDOR_INSTALL_TORCH says: copy (default), link, or none (then: candor --torch DIR ...).
include(GNUInstallDirs)
install(TARGETS candor candor-torch RUNTIME DESTINATION bin)
install(DIRECTORY recipes DESTINATION share/candor)
install(DIRECTORY deploy DESTINATION share/candor OPTIONAL)
install(FILES README.md LICENSE NOTICE THIRD_PARTY.md CHANGELOG.md DESTINATION share/candor)
install(CODE "
  set(_site \"${CANDOR_SITE_PACKAGES}\")
  set(_torch_dir \"${CANDOR_TORCH_DIR}\")
  set(_version \"${CANDOR_VERSION}\")
  include(\"${CMAKE_SOURCE_DIR}/cmake/InstallLibraries.cmake\")
")
