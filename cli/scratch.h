// A folder of a bench's own in the temporary folder; it goes away with this.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "core/fs.h"

namespace candor::cli {

class Scratch {
 public:
  explicit Scratch(const std::string& bench) {
    std::string name = (std::filesystem::temp_directory_path() / ("candor-" + bench + "-XXXXXX")).string();
    if (::mkdtemp(name.data())) path_ = name;
  }
  ~Scratch() {
    if (!path_.empty()) (void)RemoveTree(path_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Status status() const {
    if (!path_.empty()) return {};
    return Fail(ErrorCode::kIo, "cannot make a temporary folder", std::filesystem::temp_directory_path().string());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace candor::cli
