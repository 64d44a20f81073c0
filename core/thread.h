// Threads start through this wrapper: they have a name, join on destruction, and an exception that escapes ends the process with that name
// instead of std::terminate's silence.
#pragma once
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <thread>

namespace candor {

class NamedThread {
 public:
  NamedThread() = default;
  NamedThread(std::string name, std::function<void()> body)
      : thread_([name = std::move(name), body = std::move(body)] {
          pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
          try {
            body();
          } catch (const std::exception& error) {
            spdlog::critical("thread {} ended by an exception: {}", name, error.what());
            std::abort();
          }
        }) {}
  NamedThread(NamedThread&&) = default;
  NamedThread& operator=(NamedThread&& other) {
    Join();
    thread_ = std::move(other.thread_);
    return *this;
  }
  ~NamedThread() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace candor
