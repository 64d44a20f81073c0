// The control protocol: what rollout, reward and trainer processes say to the coordinator and to each other. Plain structs here;
// messages_codec.cc turns them into the versioned protobuf envelope of candor.proto and back (another protocol version is refused by name;
// sizes are limited). Every request is idempotent: ids are made by the client or known in advance, so it may be sent again after any
// silence.
//
//   rollout  -> coordinator : Hello, LeaseRequest, WorkerHeartbeat, GroupFailed
//   rollout  -> reward      : TraceGroup (core/trace.h), answered by GroupSpooled once it is scored and on disk
//   reward   -> coordinator : Hello, GroupScored (header only: integers), answered by Ack with what may be deleted
//   trainer  -> coordinator : Hello, PlanRequest, PlanVote, VersionAnnounce, StepDone, StatusRequest, CheckpointDone
//   trainer  -> reward      : FetchGroup, answered by ScoredGroup
//   observer -> coordinator : StatusRequest
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/trace.h"

namespace candor {

inline constexpr uint32_t kProtocolVersion = 2;        // 2: log-probabilities of reference answers
inline constexpr size_t kMaxControlBytes = 4u << 20;   // control messages; protobuf may unpack to 8x
inline constexpr size_t kMaxPayloadBytes = 64u << 20;  // trace groups and scored groups

// --- to the coordinator
// -------------------------------------------------------------------------------------------------------------------------------------------------

struct OpenLease {  // soft state that a worker announces again when it reconnects
  GroupId group;
  uint64_t tokens_done = 0;
};
struct Hello {
  std::string role;    // "rollout", "reward", "trainer"
  std::string worker;  // "rollout-0": unique in the run
  Incarnation incarnation;
  std::string endpoint;  // where peers reach it; "" for pure clients
  std::vector<OpenLease> open_leases;
  std::vector<GroupId> spooled;  // reward: groups on its disk
  std::string host = {};         // the machine it runs on, for people
};
struct Welcome {
  std::string run_id;
  SegmentId segment;
  uint64_t epoch = 0;  // the coordinator's incarnation
  PolicyVersion newest_version;
  StepId last_step;  // last step that was done
  bool finished = false;
};

struct Lease {
  GroupId group;
  PromptRef prompt;
  StepId wave;
  uint32_t traces = 0;         // G sampled traces
  uint32_t greedy_traces = 0;  // extra traces decoded greedily, appended after the sampled ones
  PolicyVersion min_version;   // the oldest policy that may write it (exact in deterministic mode: max_version equals it)
  PolicyVersion max_version;
  std::string reward_endpoint;
};
struct LeaseRequest {
  std::string worker;
  Incarnation incarnation;
  PolicyVersion loaded_version;
  uint32_t free_groups = 0;  // how many more groups the engine can take
};
struct VersionInfo {
  PolicyVersion version;
  std::string manifest;  // path of the weights' manifest (on the run's file system)
  std::string hash;      // XXH3-128 of the manifest, hex
};
struct LeaseGrant {
  std::vector<Lease> leases;
  VersionInfo newest;
  std::string waiting_for;  // why fewer leases than asked, by name: "step 12 (staleness bound 1)"
  bool finished = false;    // the run is over: leave
};
struct WorkerHeartbeat {
  std::string worker;
  Incarnation incarnation;
  std::vector<OpenLease> open_leases;
  std::map<std::string, double> metrics;
};
struct HeartbeatReply {
  VersionInfo newest;
  std::vector<GroupId> cancelled;  // leases that are no longer this worker's
  std::vector<std::string>
      reward_endpoints;  // reward workers now: a finished group goes to any of them when its lease's own does not answer
  bool finished = false;
};
struct GroupFailed {
  GroupId group;
  std::string worker, reason;
  bool final = false;  // false: lease it again elsewhere
};

// Header of a scored group: everything the coordinator plans with and records; the payload stays with the reward worker.
struct GroupScored {
  GroupId group;
  PromptRef prompt;
  StepId wave;
  std::string reward_worker, reward_endpoint;
  std::string hash;  // XXH3-128 of the spooled payload, hex
  uint64_t payload_bytes = 0;
  PolicyVersion oldest_version, newest_version;
  uint32_t prompt_tokens = 0, completion_tokens = 0, traces = 0;
  DropReason drop = DropReason::kNone;
  uint32_t correct = 0, wrong = 0, unknown = 0, format_ok = 0;
  // signal name -> encoded CalSketch of this group's labelled traces ("slot", "verbal", "answer_span", with the suffix "/greedy" for greedy
  // traces)
  std::map<std::string, std::string> sketches;
  std::map<std::string, double> sums;  // named sums over traces: "reward/<channel>", "tokens", "truncated", ... divide by `traces`
  std::vector<std::string> slices;
};

struct PlanRequest {
  StepId step;
  Incarnation incarnation;
  uint32_t ranks = 1;
};
struct PlannedGroup {
  GroupId group;
  std::string reward_endpoint, hash;
  uint32_t rank = 0, tokens = 0;
  DropReason drop = DropReason::kNone;  // IsFiltered: trains the slot only
  double slot_weight = 1.0;             // of its slots in their loss: 1 / the probability with which a random skip left its prompt in
};
struct StepPlan {
  PlanId plan;
  StepId step;
  std::vector<PlannedGroup> groups;  // in id order
  bool ready = false;
  std::string waiting_for;  // when not ready: what is missing, by name
  bool finished = false;    // no more steps
};
struct PlanVote {
  PlanId plan;
  StepId step;
  bool ok = false;
  std::vector<GroupId> bad_groups;  // could not be fetched or verified: their reward workers lost them
  std::string reason;
};
struct VersionAnnounce {
  VersionInfo info;
  StepId step;
};
struct StepDone {
  StepReport report;
  VersionInfo info;
};
struct CheckpointDone {
  StepId step;
  std::string path, manifest_hash;
  uint64_t ledger_sequence = 0;   // how many records the ledger held at its snapshot; 0 = not known
  uint64_t replayable_steps = 0;  // so many steps before `step` keep their groups, should this checkpoint turn out to be damaged
};
struct StatusRequest {
  bool books = false;  // trainer: the books as a checkpoint's manifest keeps them
};
struct StatusReply {
  std::string json;  // what /api/status serves
};
struct Ack {
  bool accepted = true;
  std::string reason;            // why not
  StepId spool_release_through;  // reward: groups of waves up to here may be deleted
  std::vector<GroupId> forget;   // reward: groups that no longer matter
  bool finished = false;
};

// --- to a reward worker
// ---------------------------------------------------------------------------------------------------------------------------------------------------

struct GroupSpooled {
  GroupId group;
  bool ok = true;
  std::string reason;
};
struct FetchGroup {
  GroupId group;
  std::string hash;
};

using MessageBody = std::variant<Hello, Welcome, LeaseRequest, LeaseGrant, WorkerHeartbeat, HeartbeatReply, GroupFailed, GroupScored,
                                 PlanRequest, StepPlan, PlanVote, VersionAnnounce, StepDone, CheckpointDone, StatusRequest, StatusReply,
                                 Ack, TraceGroup, GroupSpooled, FetchGroup, ScoredGroup, Error>;

struct Message {
  std::string run_id;
  uint64_t sequence = 0;  // a reply carries its request's
  std::string sender;
  MessageBody body;
};

std::string Encode(const Message& message);
// kVersionSkew names both versions; anything malformed is kInvalidInput.
Result<Message> Decode(const std::string& bytes);

// Payload codecs used by spool files as well: the same bytes give the same hash everywhere.
std::string EncodePayload(const ScoredGroup& group);
Result<ScoredGroup> DecodePayload(const std::string& bytes);

// One request/reply client over a MessageClient, with re-sends and a deadline; every role talks through it.
class MessageClient;
class Caller {
 public:
  Caller(MessageClient& client, std::string run_id, std::string sender, Clock& clock = SystemClock::Get())
      : client_(client), clock_(clock), run_id_(std::move(run_id)), sender_(std::move(sender)) {}
  // Sends, waits for the reply with the same sequence number, re-sends every resend_ms. An Error body comes back as the error. kUnavailable
  // after deadline_ms, naming `what`.
  Result<MessageBody> Call(MessageBody request, const std::string& what, int deadline_ms, int resend_ms = 1000);
  template <typename Reply, typename Request>
  Result<Reply> Ask(Request request, const std::string& what, int deadline_ms, int resend_ms = 1000) {
    CANDOR_ASSIGN(MessageBody body, Call(MessageBody(std::move(request)), what, deadline_ms, resend_ms));
    if (Reply* reply = std::get_if<Reply>(&body)) return std::move(*reply);
    return Fail(ErrorCode::kInvalidInput, "unexpected reply to " + what);
  }

 private:
  MessageClient& client_;
  Clock& clock_;
  std::string run_id_, sender_;
  uint64_t next_sequence_ = 1;
};

}  // namespace candor
