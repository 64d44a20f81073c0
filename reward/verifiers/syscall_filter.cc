#include "reward/verifiers/syscall_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <iterator>
#include <vector>

namespace candor {

namespace {

constexpr uint32_t kRefused[] = {
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_unshare,
    SYS_setns,
    SYS_chroot,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_syslog,
    SYS_lookup_dcookie,
    SYS_vhangup,
    SYS_personality,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
#ifdef __x86_64__
    SYS_modify_ldt,
    SYS_iopl,
    SYS_ioperm,
#endif
};
constexpr uint32_t kFamilies[] = {AF_UNIX, AF_INET, AF_INET6};
constexpr uint32_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr uint32_t kForeignCalls = 0x40000000;  // x32's numbers begin here
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr uint32_t kForeignCalls = 0;
#else
#error "the numbers of system calls of this architecture are not known here"
#endif

class Program {
 public:
  void Load(size_t offset) { code_.push_back({BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(offset)}); }
  void Return(uint32_t action) { code_.push_back({BPF_RET | BPF_K, 0, 0, action}); }
  void Refuse(int error) { Return(SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)); }
  // The next `count` instructions are for a loaded number that passes the test (BPF_JEQ: equals; BPF_JGE: is at least; BPF_JSET: shares a
  // bit with `value`).
  void When(int test, uint32_t value, uint8_t count) { code_.push_back({static_cast<uint16_t>(BPF_JMP | BPF_K | test), 0, count, value}); }
  // The next one is for any other number.
  void Except(uint32_t value) { code_.push_back({BPF_JMP | BPF_K | BPF_JEQ, 1, 0, value}); }
  std::string Bytes() const { return {reinterpret_cast<const char*>(code_.data()), code_.size() * sizeof(sock_filter)}; }

 private:
  std::vector<sock_filter> code_;
};

}  // namespace

std::string SyscallFilter() {
  constexpr size_t kFirstArgument = offsetof(seccomp_data, args);  // its lower half: both architectures are little endian
  Program program;
  program.Load(offsetof(seccomp_data, arch));
  program.Except(kArchitecture), program.Return(SECCOMP_RET_KILL_PROCESS);
  program.Load(offsetof(seccomp_data, nr));
  if (kForeignCalls > 0) program.When(BPF_JGE, kForeignCalls, 1), program.Refuse(ENOSYS);
  for (const uint32_t call : kRefused) program.When(BPF_JEQ, call, 1), program.Refuse(EPERM);
  program.When(BPF_JEQ, SYS_clone3, 1), program.Refuse(ENOSYS);
  program.When(BPF_JEQ, SYS_clone, 4);
  program.Load(kFirstArgument), program.When(BPF_JSET, kNewNamespaces, 1), program.Refuse(EPERM), program.Return(SECCOMP_RET_ALLOW);
  program.When(BPF_JEQ, SYS_socket, 2 * std::size(kFamilies) + 2);
  program.Load(kFirstArgument);
  for (const uint32_t family : kFamilies) program.When(BPF_JEQ, family, 1), program.Return(SECCOMP_RET_ALLOW);
  program.Refuse(EAFNOSUPPORT);
  program.Return(SECCOMP_RET_ALLOW);
  return program.Bytes();
}

}  // namespace candor
