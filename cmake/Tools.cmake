# Compiler flags shared by every target, and the tools that make builds faster where they are present.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(candor_flags INTERFACE)
# The last three are GCC 12's false alarms inside fmt and std::string.
target_compile_options(candor_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wno-sign-conversion
  -Wno-stringop-overflow -Wno-restrict -Wno-array-bounds)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(candor_flags INTERFACE -Wno-unknown-warning-option)
endif()
if(CANDOR_WERROR)
  target_compile_options(candor_flags INTERFACE -Werror)
endif()
# Assertions stay on in release builds: a wrong invariant must stop a run, not spoil it.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")  # folders with kernels add -O3
if(CANDOR_SANITIZE)
  add_compile_options(-fsanitize=${CANDOR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  add_link_options(-fsanitize=${CANDOR_SANITIZE})
  target_compile_options(candor_flags INTERFACE -Wno-maybe-uninitialized)  # with sanitizers GCC 12 has false alarms inside std::function
endif()
