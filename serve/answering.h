// One request from its body to its reply: prompts become tokens, a ticket brings tokens back, each choice's text grows, whole replies and
// streams are written from it. Knows no HTTP.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/engine_loop.h"
#include "serve/reply.h"

namespace candor {

class Answering {
 public:
  // Reads the body and submits it; returns when the engine has taken it. Model and loop must outlive it.
  static ApiResult<std::unique_ptr<Answering>> Begin(Endpoint endpoint, const std::string& body, const RequestLimits& limits,
                                                     const ServedModel& model, EngineLoop& loop);
  ~Answering();  // gives up what is unfinished
  bool stream() const { return request_.stream; }

  // The whole reply.
  ApiResult<std::string> Whole();
  // The next events of a stream, "data: ...\n\n" each; "" where nothing is new after `wait_ms`. After the last ("data: [DONE]") ended()
  // holds.
  std::string Events(int wait_ms);
  bool ended() const { return ended_; }

 private:
  Answering(ServedRequest request, const ServedModel& model);
  ApiResult<Generation> Prepare();
  ApiResult<bool> Take(int wait_ms);       // tokens into choices; true: the ticket has ended
  FinishedChoice Finished(size_t choice);  // once the ticket has ended
  void AddNews(std::string& events);
  void AddEndings(std::string& events);
  Usage CountUsage() const;

  const ServedModel& model_;
  ServedRequest request_;
  ReplyFrame frame_;
  std::shared_ptr<Ticket> ticket_;
  int64_t prompt_tokens_ = 0;
  std::vector<ChoiceText> choices_;
  std::vector<std::string> fresh_;  // of each choice: text that no event has told yet
  std::vector<TraceGroup> groups_;
  bool begun_ = false, ended_ = false;
};

}  // namespace candor
