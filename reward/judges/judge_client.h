// Questions to an OpenAI-compatible endpoint: POST URL/chat/completions, many at a time, each with a deadline and a limited number of
// repetitions. Thread rule: AskAll may be called from many threads; all share the connections.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/thread.h"
#include "reward/judges/judge_file.h"
#include "reward/judges/judge_options.h"
#include "reward/verifiers/http_post.h"

namespace candor {

struct JudgeQuestion {
  std::string system, user;
  uint64_t seed = 0;
  bool log_probs = false;
  std::string said = "", then = "";  // what the judge answered, and what it is told next; both or neither
};

class JudgeClient {
 public:
  // Errors: a url that is not allowed, a key that is named but not there.
  static Result<std::unique_ptr<JudgeClient>> Make(const JudgeOptions& options);
  ~JudgeClient();
  // In the order of the questions; returns when every one was answered or given up.
  std::vector<Result<JudgeAnswer>> AskAll(const std::vector<JudgeQuestion>& questions) const;

 private:
  struct Batch;
  JudgeClient(const JudgeOptions& options, std::unique_ptr<HttpPoster> poster);
  Result<JudgeAnswer> Ask(const JudgeQuestion& question) const;
  void Work() const;

  const JudgeOptions options_;
  const std::unique_ptr<HttpPoster> poster_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_work_, has_answer_;
  mutable std::deque<std::pair<Batch*, size_t>> waiting_;  // batches live on their callers' stacks until all is answered
  mutable bool stopping_ = false;
  std::vector<NamedThread> threads_;  // last: they use what is above
};

// The answer in a reply of /chat/completions. Errors say what is missing.
Result<JudgeAnswer> ReadChatReply(std::string_view body);

}  // namespace candor
