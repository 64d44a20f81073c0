#include "core/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/fs.h"

namespace candor {

FolderLock::FolderLock(const std::string& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ >= 0) (void)::flock(fd_, LOCK_EX | LOCK_NB);
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

void RemoveUnlocked(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) (void)RemoveTree(folder);
  ::close(fd);
}

}  // namespace candor
