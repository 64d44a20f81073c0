// A server of a test's own, in Python, in a child that ends with this: it writes the port where it listens to the file PORT of its folder.
#pragma once
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "tests/unit/reward/testing.h"

namespace candor::testing {

class PythonServer {
 public:
  PythonServer(const TempFolder& folder, const std::string& name, const std::string& text) {
    const std::string script = folder.Write(name, text);
    pid_ = ::fork();
    if (pid_ == 0) {
      if (::chdir(folder.path().c_str()) != 0) ::_exit(1);
      ::execlp("python3", "python3", "-S", script.c_str(), nullptr);
      ::_exit(1);
    }
    for (int i = 0; i < 1000 && port.empty(); ++i) {
      std::ifstream(folder.path() + "/PORT") >> port;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  ~PythonServer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  PythonServer(const PythonServer&) = delete;
  PythonServer& operator=(const PythonServer&) = delete;
  std::string port;

 private:
  pid_t pid_ = -1;
};

}  // namespace candor::testing
