# One interface target pkg_<name> for every outside package that tools/layers.txt may name.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(candor_package name)
  add_library(pkg_${name} INTERFACE)
  target_link_libraries(pkg_${name} INTERFACE ${ARGN})
endfunction()
function(candor_pkgconfig name module)
  pkg_check_modules(${name}_pc REQUIRED IMPORTED_TARGET ${module})
  # CMake reads "-isystem DIR" as an include folder when it is new and as a flag when it comes from the cache, so that a second configuration would
  # change every command and rebuild everything. It is Kerberos', behind libzmq, whose headers do not show it.
  foreach(property INTERFACE_COMPILE_OPTIONS INTERFACE_INCLUDE_DIRECTORIES)
    get_target_property(value PkgConfig::${name}_pc ${property})
    if(value)
      list(FILTER value EXCLUDE REGEX "^-isystem|mit-krb5$")
      set_property(TARGET PkgConfig::${name}_pc PROPERTY ${property} "${value}")
    endif()
  endforeach()
  candor_package(${name} PkgConfig::${name}_pc)
endfunction()

find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
candor_package(spdlog spdlog::spdlog fmt::fmt)
candor_package(tomlplusplus)   # header only: /usr/include/toml++
candor_package(expected)       # header only: tl/expected.hpp
candor_package(nlohmann)       # header only: nlohmann/json.hpp
candor_package(threads Threads::Threads)
candor_package(dl ${CMAKE_DL_LIBS})
# MPI and NCCL are opened by name at run time; only their headers are needed here.
find_path(CANDOR_MPI_INCLUDE mpi.h HINTS /usr/lib/x86_64-linux-gnu/openmpi/include /usr/lib/aarch64-linux-gnu/openmpi/include PATH_SUFFIXES mpi openmpi REQUIRED)
add_library(pkg_mpi INTERFACE)
target_include_directories(pkg_mpi SYSTEM INTERFACE ${CANDOR_MPI_INCLUDE})
candor_package(cli11)          # header only: CLI/CLI.hpp
candor_pkgconfig(xxhash libxxhash)
candor_pkgconfig(zmq libzmq)
candor_pkgconfig(zstd libzstd)
target_link_libraries(pkg_zmq INTERFACE sodium)  # its cryptography; also the codes of signed records (core/signed_record.cc)
candor_pkgconfig(re2 re2)
candor_pkgconfig(curl libcurl)
candor_package(gmp gmp)
candor_package(rocksdb rocksdb)
candor_pkgconfig(httplib cpp-httplib)  # its flags matter: they change the layout of its classes
pkg_check_modules(icu_pc REQUIRED IMPORTED_TARGET icu-uc icu-i18n)
candor_package(icu PkgConfig::icu_pc)
find_package(Protobuf REQUIRED)
candor_package(protobuf protobuf::libprotobuf)

include(cmake/Torch.cmake)  # also where nccl.h is
include(cmake/TokenizerRust.cmake)
