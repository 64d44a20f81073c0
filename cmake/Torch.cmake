# LibTorch from the pinned wheel (or CANDOR_TORCH, an installed torch folder with include/ and lib/). Its headers carry old copies of protobuf and fmt, so they are
# searched after everything else (-idirafter), never as an ordinary include directory.
set(CANDOR_TORCH "" CACHE PATH "torch folder (with include/ and lib/); empty: the wheel under CANDOR_DEPS")
if(NOT CANDOR_TORCH)
  file(GLOB _torch_candidates "${CANDOR_DEPS}/python/lib/python3*/site-packages/torch")
  list(GET _torch_candidates 0 CANDOR_TORCH_DIR)
else()
  set(CANDOR_TORCH_DIR "${CANDOR_TORCH}")
endif()
if(NOT EXISTS "${CANDOR_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch at '${CANDOR_TORCH_DIR}': run tools/setup.sh, or pass -DCANDOR_TORCH=/path/to/torch")
endif()
get_filename_component(_site "${CANDOR_TORCH_DIR}" DIRECTORY)
set(CANDOR_SITE_PACKAGES "${_site}")
set(_cuda_lib "${_site}/nvidia/cu13/lib")

add_library(pkg_torch INTERFACE)
if(NOT CANDOR_TORCH_FREE)
  find_package(OpenMP REQUIRED)
  target_compile_options(pkg_torch INTERFACE
    "SHELL:-idirafter ${CANDOR_TORCH_DIR}/include" "SHELL:-idirafter ${CANDOR_TORCH_DIR}/include/torch/csrc/api/include")
  target_link_libraries(pkg_torch INTERFACE ${CANDOR_TORCH_DIR}/lib/libtorch_cpu.so ${CANDOR_TORCH_DIR}/lib/libc10.so OpenMP::OpenMP_CXX)
  target_link_options(pkg_torch INTERFACE "LINKER:-rpath,${CANDOR_TORCH_DIR}/lib" "LINKER:-rpath,${_cuda_lib}" "LINKER:-rpath-link,${_cuda_lib}" "LINKER:--allow-shlib-undefined")
endif()

# NCCL's header from its wheel and the CUDA run-time headers that it includes; the libraries are opened by name.
add_library(pkg_nccl INTERFACE)
target_include_directories(pkg_nccl SYSTEM INTERFACE ${_site}/nvidia/nccl/include ${_site}/nvidia/cu13/include)
target_link_options(pkg_nccl INTERFACE "LINKER:-rpath,${_site}/nvidia/nccl/lib" "LINKER:-rpath,${_cuda_lib}")
