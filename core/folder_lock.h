// A folder that is in use as long as a process holds its lock (flock(2), so that the death of the holder is the end of it): how what killed
// processes left behind is told from what somebody still needs. Any thread.
#pragma once
#include <string>

namespace candor {

class FolderLock {
 public:
  // Held until the end of this object. Where a file system has no locks it holds nothing.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  const int fd_;
};

// Removes a folder with all that is in it, unless somebody holds its lock or it is not ours to open; links are not followed.
void RemoveUnlocked(const std::string& folder);

}  // namespace candor
