// A bounded queue between threads: Push waits for room (backpressure, never a silent drop), Pop waits for an item; Close ends both sides.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace candor {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  // false when closed.
  bool Push(T item) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    has_item_.notify_one();
    return true;
  }
  // nullopt when the time is up, or when closed and empty.
  std::optional<T> Pop(int timeout_ms) {
    std::unique_lock lock(mutex_);
    has_item_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    has_room_.notify_one();
    return item;
  }
  void Close() {
    std::scoped_lock lock(mutex_);
    closed_ = true;
    has_item_.notify_all();
    has_room_.notify_all();
  }
  size_t size() const {
    std::scoped_lock lock(mutex_);
    return items_.size();
  }
  bool closed() const {
    std::scoped_lock lock(mutex_);
    return closed_;
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable has_item_, has_room_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace candor
