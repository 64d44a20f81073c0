# The tokenizer, chat templates and the safetensors header check: Rust crates behind a C interface, built by cargo into one static library.
find_program(CARGO cargo HINTS /usr/share/cargo/bin REQUIRED)
set(_rust_dir "${CMAKE_SOURCE_DIR}/text/rust")
set(_rust_out "${CMAKE_SOURCE_DIR}/build/rust")
set(_rust_lib "${_rust_out}/release/libcandor_text.a")
set(_rust_env CARGO_TARGET_DIR=${_rust_out})
if(EXISTS "${CANDOR_DEPS}/cargo")  # tools/setup.sh --no-system keeps the crates here
  list(APPEND _rust_env CARGO_HOME=${CANDOR_DEPS}/cargo)
endif()
file(GLOB _rust_sources CONFIGURE_DEPENDS ${_rust_dir}/src/*.rs)
add_custom_command(OUTPUT "${_rust_lib}"
  COMMAND ${CMAKE_COMMAND} -E env ${_rust_env} ${CARGO} build --release --locked --manifest-path ${_rust_dir}/Cargo.toml
  COMMAND ${CMAKE_COMMAND} -E touch "${_rust_lib}"  # cargo leaves the file alone when nothing changed
  DEPENDS ${_rust_dir}/Cargo.toml ${_rust_dir}/Cargo.lock ${_rust_sources}
  USES_TERMINAL COMMENT "cargo build text/rust (about two minutes from nothing)")
add_custom_target(tokenizer_rust_build DEPENDS "${_rust_lib}")
add_library(pkg_tokenizer_rust INTERFACE)
target_link_libraries(pkg_tokenizer_rust INTERFACE "${_rust_lib}" Threads::Threads ${CMAKE_DL_LIBS} m)
