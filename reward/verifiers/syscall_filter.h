// What code in the sandbox may not ask of the kernel, as a seccomp program for `bwrap --seccomp`: parts of the kernel where most of its
// local holes have been (io_uring, bpf, perf events, user fault handling, keyrings, module loading, file handles), other processes
// (tracing, their memory and descriptors), namespaces and mounts, and sockets of families other than UNIX and internet. Everything else is
// allowed: the namespaces say what it reaches. Refused calls fail with EPERM (clone3 with ENOSYS, so that the C library falls back to
// clone, whose flags can be seen; sockets with EAFNOSUPPORT); a call of another architecture ends the process. Pure.
#pragma once
#include <string>

namespace candor {

// An array of struct sock_filter, for the architecture that this is compiled for (x86-64 and AArch64).
std::string SyscallFilter();

}  // namespace candor
