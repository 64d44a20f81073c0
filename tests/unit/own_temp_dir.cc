// Gives every test process a temporary folder of its own: testing::TempDir() is this folder. ctest runs each test in a process and several
// at a time, so that two tests which write a file of one name would meet in /tmp.
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace {

class OwnTempDir {
 public:
  OwnTempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "candor-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) return;
    path_ = name;
    ::setenv("TEST_TMPDIR", (path_ + "/").c_str(), 1);
  }
  ~OwnTempDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

 private:
  std::string path_;
};

const OwnTempDir kOwnTempDir;

}  // namespace
