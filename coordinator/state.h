// The coordinator's mind: a state machine without I/O and without a clock. Receive and Tick take an event with its time and return what
// must happen: ledger records to make durable first, then the reply. The shell (server.h) must not send the reply before the records are on
// disk; when that fails it must die (crash-only), and the next incarnation rebuilds the state by Replay of the ledger.
//
// Groups of steps that a checkpoint covers are put away small (ended_groups.h), and versions that no group may be written by any more are
// forgotten: what grows with the length of the run is sixteen bytes a group.
//
// What always holds (checked by Accounting and by the simulation test):
//   every issued group is in exactly one phase; trained, dropped and evaluated are ends, left only when a new life of the learner undoes
//   its steps; wave s is leased only when s <= last done step + 1 + staleness, and only once a policy version that may write it is in the
//   ledger; a step's plan names exactly the kept groups of its wave, in id order, and steps are done in order, each under the plan logged
//   last.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/curriculum.h"
#include "coordinator/ended_groups.h"
#include "coordinator/ledger_record.h"
#include "coordinator/moving_filter.h"
#include "coordinator/options.h"
#include "coordinator/run_plan.h"
#include "core/transport.h"
#include "proto/messages.h"

namespace candor {

enum class GroupPhase : uint8_t { kOpen, kLeased, kScored, kTrained, kDropped, kEvaluated };
const char* Name(GroupPhase phase);

struct GroupState {
  PromptRef prompt;
  StepId wave;
  GroupPhase phase = GroupPhase::kOpen;
  DropReason drop = DropReason::kNone;  // a filter's while it is still trained (slot only); the reason when dropped
  uint32_t failures = 0;                // how often a worker gave it back
  double keep = 1.0;                    // the probability with which a random skip left its prompt in
  bool retired = false;                 // its prompt is solved: it trains the confidence alone
  std::shared_ptr<const GroupScored>
      header;  // shared with copies of the state (tests); null before scoring and once a checkpoint covers the step
  // The lease, while leased:
  std::string worker, reward_endpoint;
  uint64_t tokens_done = 0;
  int64_t granted_ms = 0, progress_ms = 0;
};

struct MemberState {
  Role role = Role::kRollout;
  Incarnation incarnation;
  std::string endpoint;
  std::string host;  // for people
  int64_t joined_ms = 0, heard_ms = 0;
  std::set<GroupId> leases;
  uint64_t lease_request = 0;  // id of its last LeaseRequest: a doubled one gets the same leases again
  std::vector<GroupId> last_granted;
  std::map<std::string, double> metrics;

  // From its hello on: then silence means death. (A worker that died before its first heartbeat would be given work for ever.)
  bool SendsHeartbeats() const { return role == Role::kRollout || role == Role::kReward; }
};

// One that fell silent and has not come back; forgotten after kLostKeptMs.
struct LostMember {
  Role role = Role::kRollout;
  int64_t heard_ms = 0;
};
inline constexpr int64_t kLostKeptMs = 600000;
// Earlier lives of a worker's name that are refused when they speak up. Each was followed by the next because it had ended or was taken to
// have, so of more than a few none is left to speak; one that does all the same takes the name, as a new life would.
inline constexpr size_t kPastLivesKept = 8;

// How a group stands, whether it is at work or put away.
struct GroupStand {
  GroupPhase phase = GroupPhase::kOpen;
  DropReason drop = DropReason::kNone;
};

// Who waits for what, since when.
struct Waiting {
  std::string what;
  int64_t since_ms = 0;
};

struct Actions {
  std::vector<LedgerRecord> records;                    // to be durable before `reply` is sent
  std::vector<GroupScored> observed;                    // headers with sketches for the calibration record, in the same commit
  std::vector<StepId> steps_done;                       // a line of metrics.jsonl each
  std::optional<PolicyVersion> evals_forgotten_behind;  // what is recorded of evaluations of newer versions goes, before `observed`
  std::optional<MessageBody> reply;
  std::vector<std::string> events;  // for the log: what people should know (a worker was lost, a plan was void)
};

// The part of CoordinatorOptions that rules need, in ms.
struct StateLimits {
  int64_t lease_timeout_ms = 30000;
  int64_t progress_timeout_ms = 300000;
  uint32_t failures_max = 5;  // a group that workers gave back so often is dropped
  uint32_t leases_per_grant_max = 256;
};
StateLimits LimitsOf(const CoordinatorOptions& options);

class CoordinatorState {
 public:
  CoordinatorState(RunPlan plan, StateLimits limits, uint64_t epoch);

  // Rebuilds: every record of the ledger in order, before any event. Fails when the ledger belongs to another plan.
  Status Replay(const LedgerRecord& record);
  // After a replay: no new leases before this time, so that workers can announce what they are at.
  void HoldLeasesUntil(int64_t now_ms) { hold_leases_until_ms_ = now_ms; }

  // `role` is what the sender's key says; `request_id` differs between requests and is equal when one is sent twice. Replies always; a
  // request that breaks a rule is answered by an Error and changes nothing.
  Actions Receive(Role role, uint64_t request_id, const MessageBody& body, int64_t now_ms);
  Actions Tick(int64_t now_ms);

  // --- views ---
  const RunPlan& plan() const { return plan_; }
  // Those that are not put away: of steps that no checkpoint covers, and evaluations.
  const std::map<GroupId, GroupState>& groups() const { return groups_; }
  std::optional<GroupStand> StandOf(GroupId id) const;
  void ForEachGroup(const std::function<void(GroupId, GroupStand)>& visit) const;  // all that were ever issued
  const std::map<std::string, MemberState>& members() const { return members_; }
  const std::map<std::string, LostMember>& lost() const { return lost_; }
  size_t PastLives() const;  // that are refused, of all names together
  const std::map<StepId, PlanLogged>& plans() const { return plans_; }
  // Those that a group may still be written by.
  const std::map<PolicyVersion, VersionInfo>& versions() const { return versions_; }
  const std::map<std::string, Waiting>& waiting() const { return waiting_; }
  // Of the last step done, for its line; none after the learner went back.
  const std::optional<StepDone>& last_report() const { return last_report_; }
  // How many groups are in a phase, and were dropped for a reason.
  uint64_t CountOf(GroupPhase phase) const { return by_phase_[static_cast<size_t>(phase)]; }
  const std::map<DropReason, uint64_t>& dropped() const { return dropped_; }
  const Curriculum& curriculum() const { return curriculum_; }
  const MovingFilter& moving_filter() const { return moving_filter_; }
  // Groups of a wave that was issued: prompts_per_step, and what the filter made necessary.
  uint32_t WaveSize(StepId wave) const;
  uint32_t WaveBatches(StepId wave) const;
  StepId issued() const { return issued_; }  // the newest wave
  StepId last_done() const { return last_done_; }
  StepId covered() const { return covered_; }            // groups up to here were released: they cannot be replayed
  StepId checkpointed() const { return checkpointed_; }  // of the newest checkpoint
  SegmentId segment() const { return segment_; }
  uint64_t epoch() const { return epoch_; }
  bool finished() const { return finished_; }
  // How many groups of this evaluation group's set and version have not ended.
  uint32_t OpenInEval(GroupId any) const;
  PolicyVersion newest_version() const { return versions_.empty() ? PolicyVersion{0} : versions_.rbegin()->first; }
  PolicyVersion OldestVersionFor(const GroupState& group, GroupId id) const;
  PolicyVersion NewestVersionFor(const GroupState& group, GroupId id) const;
  // The open end of the run in one line each: "step 4: 3 of 12 groups are not scored".
  std::string WaitingForStep(StepId step) const;

 private:
  friend struct RecordApplier;
  using RuleResult = Result<MessageBody>;

  // state.cc
  void Commit(Actions& actions, LedgerRecord record);
  void Apply(const LedgerRecord& record);
  RuleResult Dispatch(Role role, uint64_t request_id, const MessageBody& body, int64_t now_ms, Actions& actions);
  void IssueWaves();
  void IssueGroups(StepId wave, uint32_t from, uint32_t count);
  void IssueEvals(PolicyVersion version);
  void FinishIfDone(Actions& actions);
  void NoteWaiting(const std::string& who, const std::string& what, int64_t now_ms);
  GroupState* Find(GroupId id);
  void CountOpenEval(GroupId id, bool open);
  VersionInfo NewestInfo() const;
  void SetPhase(GroupId id, GroupState& group, GroupPhase phase);
  void Cover(StepId through);
  void PutAwayEvals(StepId through);
  void ForgetVersions();
  void BringBack(StepId wave);
  void ForgetEvalsBehind(PolicyVersion version);

  // state_leases.cc
  Result<MemberState*> Join(Role role, const std::string& worker, Incarnation incarnation, int64_t now_ms);
  bool RefusesPastLife(const std::string& worker, Incarnation incarnation);
  RuleResult OnHello(Role role, const Hello& hello, int64_t now_ms, Actions& actions);
  RuleResult OnLeaseRequest(uint64_t request_id, const LeaseRequest& request, int64_t now_ms);
  RuleResult OnHeartbeat(Role role, const WorkerHeartbeat& heartbeat, int64_t now_ms);
  RuleResult OnGroupFailed(const GroupFailed& failed, Actions& actions);
  void AdoptLeases(const std::string& worker, MemberState& member, const std::vector<OpenLease>& open, int64_t now_ms,
                   std::vector<GroupId>& cancelled);
  void ReconcileSpool(const std::string& worker, const std::vector<GroupId>& spooled, Actions& actions);
  void Grant(GroupId id, GroupState& group, const std::string& worker, const std::string& reward_endpoint, int64_t now_ms);
  void Release(GroupId id, GroupState& group);
  Lease LeaseOf(GroupId id, const GroupState& group) const;
  // "" when this group may be leased now, else what it waits for.
  std::string LeaseObstacle(GroupId id, const GroupState& group) const;
  const std::vector<std::string>& RewardEndpoints();
  void LoseMember(const std::string& worker, Actions& actions);
  void ExpireLeases(int64_t now_ms, Actions& actions);

  // state_groups.cc
  RuleResult OnGroupScored(const GroupScored& scored, int64_t now_ms, Actions& actions);
  Result<DropReason> Judge(const GroupScored& scored, const GroupState& group) const;
  Ack AckFor(GroupId group, bool keep) const;

  // state_plans.cc
  RuleResult OnPlanRequest(const PlanRequest& request, int64_t now_ms, Actions& actions);
  Status AdoptTrainer(const PlanRequest& request, Actions& actions);
  Result<PlanLogged> MakePlan(StepId step, uint32_t ranks) const;
  DropReason DropInPlan(StepId step, const GroupState& group) const;
  Result<bool> FillWave(StepId step, Actions& actions);
  StepPlan ReplyPlan(const PlanLogged& logged) const;
  std::string WaitingForSpool(const PlanLogged& logged, int64_t now_ms) const;
  RuleResult PlanOrWait(const PlanLogged& logged, int64_t now_ms);
  RuleResult OnPlanVote(const PlanVote& vote, Actions& actions);
  RuleResult OnVersionAnnounce(const VersionAnnounce& announce, Actions& actions);
  RuleResult OnStepDone(const StepDone& done, Actions& actions);
  RuleResult OnCheckpointDone(const CheckpointDone& done, Actions& actions);

  RunPlan plan_;
  StateLimits limits_;
  Curriculum curriculum_;
  MovingFilter moving_filter_;
  const uint64_t epoch_;

  // Durable, a function of the ledger:
  std::map<GroupId, GroupState> groups_;
  EndedGroups ended_;
  std::map<StepId, PlanLogged> plans_;  // not void; the last logged for its step
  std::map<PolicyVersion, VersionInfo> versions_;
  std::optional<StepDone> last_report_;  // older ones are lines of metrics.jsonl: kept here they were most of what grew
  std::map<StepId, std::pair<uint32_t, uint32_t>> extended_;  // waves that were: groups added, in how many batches
  std::set<Incarnation> past_trainers_;
  std::optional<Incarnation> trainer_;
  StepId issued_, last_done_, covered_, checkpointed_;
  PolicyVersion kept_from_;  // older versions may have been forgotten
  PolicyVersion base_;       // where the learner last went back to behind `covered_`: older versions are gone
  SegmentId segment_{1};
  uint64_t next_plan_ = 1;
  uint64_t open_evals_ = 0;                    // evaluation groups that have not ended
  std::map<uint64_t, uint32_t> open_by_eval_;  // the same by id >> 32
  bool finished_ = false;
  std::array<uint64_t, 6> by_phase_{};  // how many groups are in each
  std::map<DropReason, uint64_t> dropped_;

  // Soft:
  std::set<GroupId> open_, scored_;                           // by phase
  std::optional<std::vector<std::string>> reward_endpoints_;  // of the members, ascending; empty when it must be found again
  std::map<std::string, MemberState> members_;
  std::map<std::string, LostMember> lost_;
  std::map<std::string, std::vector<Incarnation>> superseded_;  // of members and lost ones; the one longest not heard first
  std::map<std::string, Waiting> waiting_;
  int64_t hold_leases_until_ms_ = 0;
};

// Longest processing time first: groups by tokens, largest first, each to the rank with the least so far. Within 4/3 of the best possible
// (Graham 1969).
void BalanceOverRanks(std::vector<PlannedGroup>& groups, uint32_t ranks);

}  // namespace candor
