// A library for LD_PRELOAD that makes one storage call of a program fail, so that a test can try every one of them. Calls that open for
// writing, write, sync, truncate, rename, link, remove or make something below CANDOR_IO_PATH are counted from 1, over all threads of a
// process.
//
//   CANDOR_IO_PATH=PREFIX         only paths that start with it are looked at (absolute)
//   CANDOR_IO_FAULT="KIND@N"      what happens at call N, none without it:
//     kill    SIGKILL to the process instead of the call
//     torn    half of a write, then SIGKILL; calls that write nothing: as kill
//     short   half of a write succeeds; calls that write nothing succeed
//     enospc  the call fails with ENOSPC      eio   the call fails with EIO
//     full    this call and all later ones fail with ENOSPC: a disk that stays full
//   CANDOR_IO_COUNT=FILE          holds the number of calls when the process ends by exit
//   CANDOR_IO_LOG=FILE            a line "N call path" is appended for each
//
// A program that tries many calls forks and arms each child itself: candor_io_arm(prefix, fault) counts from 1 again, candor_io_calls()
// says how many there were.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum Kind { kNone, kKill, kTorn, kShort, kNoSpace, kIoError, kFull };
enum Verdict { kGoOn, kHalf, kHalfThenDie, kFail };

static struct {
  const char *prefix, *count_file, *log_file;
  size_t prefix_length;
  enum Kind kind;
  long at;
} g_asked;
static atomic_long g_calls;

static void Refuse(const char* text) {
  dprintf(2, "storage_faults: CANDOR_IO_FAULT: \"%s\" is not kill|torn|short|enospc|eio|full@N\n", text);
  _exit(2);
}

static void ParseFault(const char* fault) {
  static const char* kNames[] = {"", "kill", "torn", "short", "enospc", "eio", "full"};
  if (!fault || !*fault) return;
  const char* at = strchr(fault, '@');
  if (!at) Refuse(fault);
  for (int kind = kKill; kind <= kFull; ++kind)
    if (strlen(kNames[kind]) == (size_t)(at - fault) && !strncmp(fault, kNames[kind], (size_t)(at - fault))) g_asked.kind = (enum Kind)kind;
  char* end = NULL;
  g_asked.at = strtol(at + 1, &end, 10);
  if (g_asked.kind == kNone || *end || g_asked.at < 1) Refuse(fault);
}

__attribute__((constructor)) static void ReadEnvironment(void) {
  g_asked.prefix = getenv("CANDOR_IO_PATH");
  g_asked.prefix_length = g_asked.prefix ? strlen(g_asked.prefix) : 0;
  g_asked.count_file = getenv("CANDOR_IO_COUNT");
  g_asked.log_file = getenv("CANDOR_IO_LOG");
  ParseFault(getenv("CANDOR_IO_FAULT"));
}

void candor_io_arm(const char* prefix, const char* fault) {
  g_asked.prefix = prefix;
  g_asked.prefix_length = prefix ? strlen(prefix) : 0;
  g_asked.kind = kNone;
  ParseFault(fault);
  atomic_store(&g_calls, 0);
}
long candor_io_calls(void) { return atomic_load(&g_calls); }

// The library's own files are written past itself.
static void WriteOwn(const char* path, int flags, const char* text, int length) {
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (fd < 0) return;
  if (syscall(SYS_write, fd, text, (size_t)length) < 0) dprintf(2, "storage_faults: cannot write %s\n", path);
  syscall(SYS_close, fd);
}

__attribute__((destructor)) static void WriteCount(void) {
  char text[32];
  if (g_asked.count_file) WriteOwn(g_asked.count_file, O_TRUNC, text, snprintf(text, sizeof text, "%ld\n", atomic_load(&g_calls)));
}

static int BelowPrefix(const char* path) { return g_asked.prefix && path && !strncmp(path, g_asked.prefix, g_asked.prefix_length); }

// Where `fd` leads; "" when that is nowhere.
static const char* PathOf(int fd, char* buffer) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, buffer, PATH_MAX - 1);
  buffer[length < 0 ? 0 : length] = '\0';
  return buffer;
}

// `path` as seen from the folder `folder_fd`.
static const char* PathAt(int folder_fd, const char* path, char* buffer) {
  if (!path || path[0] == '/' || folder_fd == AT_FDCWD) return path;
  PathOf(folder_fd, buffer);
  const size_t length = strlen(buffer);
  snprintf(buffer + length, PATH_MAX - length, "/%s", path);
  return buffer;
}

static enum Verdict Meet(const char* call, const char* path, int writes) {
  if (!BelowPrefix(path)) return kGoOn;
  const long number = atomic_fetch_add(&g_calls, 1) + 1;
  if (g_asked.log_file) {
    char line[PATH_MAX + 64];
    WriteOwn(g_asked.log_file, O_APPEND, line, snprintf(line, sizeof line, "%ld %s %s\n", number, call, path));
  }
  if (g_asked.kind == kNone || number < g_asked.at || (number > g_asked.at && g_asked.kind != kFull)) return kGoOn;
  switch (g_asked.kind) {
    case kTorn:
      if (writes) return kHalfThenDie;
      __attribute__((fallthrough));
    case kKill:
      kill(getpid(), SIGKILL);
      pause();
      return kFail;
    case kShort:
      return writes ? kHalf : kGoOn;
    default:
      errno = g_asked.kind == kIoError ? EIO : ENOSPC;
      return kFail;
  }
}

static void Die(void) {
  kill(getpid(), SIGKILL);
  pause();
}

#define REAL(result, name, ...)                          \
  static result (*real)(__VA_ARGS__);                    \
  if (!real) *(void**)(&real) = dlsym(RTLD_NEXT, #name); \
  if (!real) abort()

ssize_t write(int fd, const void* data, size_t bytes) {
  REAL(ssize_t, write, int, const void*, size_t);
  char path[PATH_MAX];
  const enum Verdict verdict = g_asked.prefix ? Meet("write", PathOf(fd, path), 1) : kGoOn;
  if (verdict == kFail) return -1;
  const ssize_t done = real(fd, data, verdict == kGoOn ? bytes : (bytes + 1) / 2);
  if (verdict == kHalfThenDie) Die();
  return done;
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  REAL(ssize_t, pwrite, int, const void*, size_t, off_t);
  char path[PATH_MAX];
  const enum Verdict verdict = g_asked.prefix ? Meet("pwrite", PathOf(fd, path), 1) : kGoOn;
  if (verdict == kFail) return -1;
  const ssize_t done = real(fd, data, verdict == kGoOn ? bytes : (bytes + 1) / 2, offset);
  if (verdict == kHalfThenDie) Die();
  return done;
}
ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t offset) { return pwrite(fd, data, bytes, offset); }

// Half of a gathered write is its first part, halved when it is the only one.
ssize_t writev(int fd, const struct iovec* parts, int count) {
  REAL(ssize_t, writev, int, const struct iovec*, int);
  char path[PATH_MAX];
  const enum Verdict verdict = g_asked.prefix ? Meet("writev", PathOf(fd, path), 1) : kGoOn;
  if (verdict == kFail) return -1;
  struct iovec first = count > 0 ? parts[0] : (struct iovec){0};
  if (count == 1) first.iov_len = (first.iov_len + 1) / 2;
  const ssize_t done = verdict == kGoOn ? real(fd, parts, count) : real(fd, &first, 1);
  if (verdict == kHalfThenDie) Die();
  return done;
}

#define SYNC_CALL(name)                                                         \
  int name(int fd) {                                                            \
    REAL(int, name, int);                                                       \
    char path[PATH_MAX];                                                        \
    if (g_asked.prefix && Meet(#name, PathOf(fd, path), 0) == kFail) return -1; \
    return real(fd);                                                            \
  }
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)

int ftruncate(int fd, off_t length) {
  REAL(int, ftruncate, int, off_t);
  char path[PATH_MAX];
  if (g_asked.prefix && Meet("ftruncate", PathOf(fd, path), 0) == kFail) return -1;
  return real(fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

// A file system may not know these; callers then go on without.
int fallocate(int fd, int mode, off_t offset, off_t length) {
  REAL(int, fallocate, int, int, off_t, off_t);
  char path[PATH_MAX];
  if (g_asked.prefix && Meet("fallocate", PathOf(fd, path), 0) == kFail) return -1;
  return real(fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }

static int ForWriting(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }
static mode_t ModeOf(int flags, va_list* arguments) { return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(*arguments, int) : 0; }

#define OPEN_CALL(name)                                                 \
  int name(const char* path, int flags, ...) {                          \
    REAL(int, name, const char*, int, ...);                             \
    va_list arguments;                                                  \
    va_start(arguments, flags);                                         \
    const mode_t mode = ModeOf(flags, &arguments);                      \
    va_end(arguments);                                                  \
    if (ForWriting(flags) && Meet("open", path, 0) == kFail) return -1; \
    return real(path, flags, mode);                                     \
  }
OPEN_CALL(open)
OPEN_CALL(open64)

#define OPENAT_CALL(name)                                                                        \
  int name(int folder, const char* path, int flags, ...) {                                       \
    REAL(int, name, int, const char*, int, ...);                                                 \
    va_list arguments;                                                                           \
    va_start(arguments, flags);                                                                  \
    const mode_t mode = ModeOf(flags, &arguments);                                               \
    va_end(arguments);                                                                           \
    char whole[PATH_MAX];                                                                        \
    if (ForWriting(flags) && Meet("openat", PathAt(folder, path, whole), 0) == kFail) return -1; \
    return real(folder, path, flags, mode);                                                      \
  }
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

int rename(const char* from, const char* to) {
  REAL(int, rename, const char*, const char*);
  if (Meet("rename", to, 0) == kFail) return -1;
  return real(from, to);
}
int link(const char* from, const char* to) {
  REAL(int, link, const char*, const char*);
  if (Meet("link", to, 0) == kFail) return -1;
  return real(from, to);
}
int unlink(const char* path) {
  REAL(int, unlink, const char*);
  if (Meet("unlink", path, 0) == kFail) return -1;
  return real(path);
}
int unlinkat(int folder, const char* path, int flags) {
  REAL(int, unlinkat, int, const char*, int);
  char whole[PATH_MAX];
  if (Meet("unlinkat", PathAt(folder, path, whole), 0) == kFail) return -1;
  return real(folder, path, flags);
}
int remove(const char* path) {
  REAL(int, remove, const char*);
  if (Meet("remove", path, 0) == kFail) return -1;
  return real(path);
}
int rmdir(const char* path) {
  REAL(int, rmdir, const char*);
  if (Meet("rmdir", path, 0) == kFail) return -1;
  return real(path);
}
int mkdir(const char* path, mode_t mode) {
  REAL(int, mkdir, const char*, mode_t);
  if (Meet("mkdir", path, 0) == kFail) return -1;
  return real(path, mode);
}
