// What the ranks of the learner say to the other processes, and in which order: wait for the plan of a step, fetch and check its groups,
// vote, tell the coordinator. Rank 0 speaks for all; every rank comes to the same verdict. No torch and no mathematics: the simulation runs
// this very code. One thread per rank; the calls are collective, all ranks make them together.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/rendezvous.h"
#include "trainer/link/links.h"

namespace candor {

// How the ranks tell each other texts (trainer/exchange.h over a Collective).
class RankTalk {
 public:
  virtual ~RankTalk() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual Result<std::string> Broadcast(const std::string& of_rank_0) = 0;
  virtual Result<std::vector<std::string>> Gather(const std::string& mine) = 0;  // element r is what rank r gave
};

struct DialogueSetup {
  LearnerLinkSetup link;
  int64_t steps = 0;                                   // of the run
  int64_t deadline_ms = 0;                             // how long the coordinator may stay away
  const std::atomic<bool>* stop = nullptr;             // noticed between two plans: kCancelled
  std::function<Status(const ScoredGroup&)> validate;  // can this group be learned from?
};

class LearnerDialogue {
 public:
  LearnerDialogue(DialogueSetup setup, RankTalk& ranks)
      : setup_(std::move(setup)), ranks_(ranks), link_(setup_.link), fetcher_(setup_.link) {}

  // This rank's groups of `step`, as the plan gives them; tried again until a vote passes. `plan.finished`: there is no such step.
  Result<std::vector<ScoredGroup>> GroupsOf(int64_t step, StepPlan& plan);
  // Rank 0 says something to the coordinator; all ranks learn whether it worked. Tried again for as long as the coordinator may stay away;
  // between tries the ranks meet, so that no collective waits long. A coordinator that left because the run is over has heard everything.
  Status Tell(const MessageBody& request, const std::string& what, int64_t deadline_ms);
  // What the coordinator's books say now (the JSON of a StatusReply), for the manifest of a checkpoint. Rank 0 alone asks.
  Result<std::string> AskBooks(int64_t deadline_ms);

 private:
  bool first() const { return ranks_.rank() == 0; }
  MessageBody AskPlan(int64_t step, int64_t& silent_since_ms);
  Result<StepPlan> NextPlan(int64_t step);
  std::string FetchMine(const StepPlan& plan, bool& silent);
  Result<std::optional<std::vector<ScoredGroup>>> FetchAndVote(const StepPlan& plan);

  const DialogueSetup setup_;
  RankTalk& ranks_;
  LearnerLink link_;
  GroupFetcher fetcher_;
  std::map<GroupId, ScoredGroup> fetched_;  // of the plan fetched_plan_, by this rank
  PlanId fetched_plan_;
  size_t tries_ = 0;  // in vain, of this plan
};

}  // namespace candor
