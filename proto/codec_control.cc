// Control messages on the wire, in the order of messages.h. Numbers a plan is made of must be finite; a worker's metrics may be NaN and are
// judged by who records them.
#include "proto/codec_control.h"

namespace candor::proto {

namespace {

using proto::FromWire;  // overloads below must not hide those of wire.h
using proto::ToWire;

void ToWire(const std::vector<OpenLease>& from, google::protobuf::RepeatedPtrField<wire::OpenLease>* to) {
  for (const OpenLease& lease : from) {
    wire::OpenLease* entry = to->Add();
    entry->set_group(lease.group.value);
    entry->set_tokens_done(lease.tokens_done);
  }
}
std::vector<OpenLease> FromWire(const google::protobuf::RepeatedPtrField<wire::OpenLease>& from) {
  std::vector<OpenLease> to;
  for (const wire::OpenLease& lease : from) to.push_back({{lease.group()}, lease.tokens_done()});
  return to;
}

void ToWire(const std::vector<GroupId>& from, google::protobuf::RepeatedField<uint64_t>* to) {
  for (GroupId id : from) to->Add(id.value);
}
std::vector<GroupId> FromWire(const google::protobuf::RepeatedField<uint64_t>& from) {
  std::vector<GroupId> to;
  for (uint64_t id : from) to.push_back({id});
  return to;
}

void ToWire(const VersionInfo& from, wire::VersionInfo* to) {
  to->set_version(from.version.value);
  to->set_manifest(from.manifest);
  to->set_hash(from.hash);
}
VersionInfo FromWire(const wire::VersionInfo& from) { return {{from.version()}, from.manifest(), from.hash()}; }

void ToWire(const Lease& from, wire::Lease* to) {
  to->set_group(from.group.value);
  ToWire(from.prompt, to->mutable_prompt());
  to->set_wave(from.wave.value);
  to->set_traces(from.traces);
  to->set_greedy_traces(from.greedy_traces);
  to->set_min_version(from.min_version.value);
  to->set_max_version(from.max_version.value);
  to->set_reward_endpoint(from.reward_endpoint);
}
Lease FromWire(const wire::Lease& from, Checks& checks) {
  Lease to{{from.group()},       FromWire(from.prompt()), {from.wave()},        from.traces(),
           from.greedy_traces(), {from.min_version()},    {from.max_version()}, from.reward_endpoint()};
  constexpr uint32_t kMost = kMaxTracesPerGroup;
  checks.Require(to.traces <= kMost && to.greedy_traces <= kMost && to.traces + to.greedy_traces <= kMost,
                 "a lease asks for too many traces");
  checks.Require(to.min_version <= to.max_version, "a lease's oldest version is newer than its newest");
  return to;
}

void ToWire(const PlannedGroup& from, wire::PlannedGroup* to) {
  to->set_group(from.group.value);
  to->set_reward_endpoint(from.reward_endpoint);
  to->set_hash(from.hash);
  to->set_rank(from.rank);
  to->set_tokens(from.tokens);
  to->set_drop(static_cast<wire::DropReason>(from.drop));
  if (from.slot_weight != 1.0) to->set_slot_weight(from.slot_weight);  // 0, which is not sent, means 1
}
PlannedGroup FromWire(const wire::PlannedGroup& from, Checks& checks) {
  constexpr double kMost = 1e6;
  const double weight = from.slot_weight() == 0.0 ? 1.0 : from.slot_weight();
  checks.Require(1.0 <= weight && weight <= kMost, "a planned group's slot weight lies outside [1, 1e6]");
  return {{from.group()}, from.reward_endpoint(), from.hash(),
          from.rank(),    from.tokens(),          checks.Enum(from.drop(), kLastDropReason, "drop reason"),
          weight};
}

}  // namespace

void ToWire(const Hello& from, wire::Hello* to) {
  to->set_role(from.role);
  to->set_worker(from.worker);
  to->set_incarnation(from.incarnation.value);
  to->set_endpoint(from.endpoint);
  ToWire(from.open_leases, to->mutable_open_leases());
  ToWire(from.spooled, to->mutable_spooled());
  to->set_host(from.host);
}
Hello FromWire(const wire::Hello& from, Checks&) {
  return {from.role(), from.worker(), {from.incarnation()}, from.endpoint(), FromWire(from.open_leases()), FromWire(from.spooled()),
          from.host()};
}

void ToWire(const Welcome& from, wire::Welcome* to) {
  to->set_run_id(from.run_id);
  to->set_segment(from.segment.value);
  to->set_epoch(from.epoch);
  to->set_newest_version(from.newest_version.value);
  to->set_last_step(from.last_step.value);
  to->set_finished(from.finished);
}
Welcome FromWire(const wire::Welcome& from, Checks&) {
  return {from.run_id(), {from.segment()}, from.epoch(), {from.newest_version()}, {from.last_step()}, from.finished()};
}

void ToWire(const LeaseRequest& from, wire::LeaseRequest* to) {
  to->set_worker(from.worker);
  to->set_incarnation(from.incarnation.value);
  to->set_loaded_version(from.loaded_version.value);
  to->set_free_groups(from.free_groups);
}
LeaseRequest FromWire(const wire::LeaseRequest& from, Checks&) {
  return {from.worker(), {from.incarnation()}, {from.loaded_version()}, from.free_groups()};
}

void ToWire(const LeaseGrant& from, wire::LeaseGrant* to) {
  for (const Lease& lease : from.leases) ToWire(lease, to->add_leases());
  ToWire(from.newest, to->mutable_newest());
  to->set_waiting_for(from.waiting_for);
  to->set_finished(from.finished);
}
LeaseGrant FromWire(const wire::LeaseGrant& from, Checks& checks) {
  LeaseGrant to;
  for (const wire::Lease& lease : from.leases()) to.leases.push_back(FromWire(lease, checks));
  to.newest = FromWire(from.newest());
  to.waiting_for = from.waiting_for();
  to.finished = from.finished();
  return to;
}

void ToWire(const WorkerHeartbeat& from, wire::WorkerHeartbeat* to) {
  to->set_worker(from.worker);
  to->set_incarnation(from.incarnation.value);
  ToWire(from.open_leases, to->mutable_open_leases());
  NumbersToWire(from.metrics, to->mutable_metrics());
}
WorkerHeartbeat FromWire(const wire::WorkerHeartbeat& from, Checks& checks) {
  return {from.worker(),
          {from.incarnation()},
          FromWire(from.open_leases()),
          NamedFromWire<double>(from.metrics(), checks, "heartbeat metrics")};
}

void ToWire(const HeartbeatReply& from, wire::HeartbeatReply* to) {
  ToWire(from.newest, to->mutable_newest());
  ToWire(from.cancelled, to->mutable_cancelled());
  for (const std::string& endpoint : from.reward_endpoints) to->add_reward_endpoints(endpoint);
  to->set_finished(from.finished);
}
HeartbeatReply FromWire(const wire::HeartbeatReply& from, Checks&) {
  return {FromWire(from.newest()),
          FromWire(from.cancelled()),
          {from.reward_endpoints().begin(), from.reward_endpoints().end()},
          from.finished()};
}

void ToWire(const GroupFailed& from, wire::GroupFailed* to) {
  to->set_group(from.group.value);
  to->set_worker(from.worker);
  to->set_reason(from.reason);
  to->set_final(from.final);
}
GroupFailed FromWire(const wire::GroupFailed& from, Checks&) { return {{from.group()}, from.worker(), from.reason(), from.final()}; }

void ToWire(const GroupScored& from, wire::GroupScored* to) {
  to->set_group(from.group.value);
  ToWire(from.prompt, to->mutable_prompt());
  to->set_wave(from.wave.value);
  to->set_reward_worker(from.reward_worker);
  to->set_reward_endpoint(from.reward_endpoint);
  to->set_hash(from.hash);
  to->set_payload_bytes(from.payload_bytes);
  to->set_oldest_version(from.oldest_version.value);
  to->set_newest_version(from.newest_version.value);
  to->set_prompt_tokens(from.prompt_tokens);
  to->set_completion_tokens(from.completion_tokens);
  to->set_traces(from.traces);
  to->set_drop(static_cast<wire::DropReason>(from.drop));
  to->set_correct(from.correct);
  to->set_wrong(from.wrong);
  to->set_unknown(from.unknown);
  to->set_format_ok(from.format_ok);
  for (const auto& [name, bytes] : from.sketches) {
    wire::NamedBytes* entry = to->add_sketches();
    entry->set_name(name);
    entry->set_value(bytes);
  }
  NumbersToWire(from.sums, to->mutable_sums());
  for (const std::string& slice : from.slices) to->add_slices(slice);
}
GroupScored FromWire(const wire::GroupScored& from, Checks& checks) {
  GroupScored to;
  to.group = {from.group()};
  to.prompt = FromWire(from.prompt());
  to.wave = {from.wave()};
  to.reward_worker = from.reward_worker();
  to.reward_endpoint = from.reward_endpoint();
  to.hash = from.hash();
  to.payload_bytes = from.payload_bytes();
  to.oldest_version = {from.oldest_version()};
  to.newest_version = {from.newest_version()};
  to.prompt_tokens = from.prompt_tokens();
  to.completion_tokens = from.completion_tokens();
  to.traces = from.traces();
  to.drop = checks.Enum(from.drop(), kLastDropReason, "drop reason");
  to.correct = from.correct();
  to.wrong = from.wrong();
  to.unknown = from.unknown();
  to.format_ok = from.format_ok();
  to.sketches = NamedFromWire<std::string>(from.sketches(), checks, "sketches");
  to.sums = FiniteFromWire(from.sums(), checks, "a sum of a scored group");
  to.slices.assign(from.slices().begin(), from.slices().end());
  checks.Require(to.oldest_version <= to.newest_version, "a scored group's oldest version is newer than its newest");
  checks.Require(to.traces <= static_cast<uint32_t>(kMaxTracesPerGroup), "a scored group has too many traces");
  const uint64_t labels = uint64_t{to.correct} + to.wrong + to.unknown;
  checks.Require(labels <= to.traces && to.format_ok <= to.traces, "a scored group has more labels than traces");
  return to;
}

void ToWire(const PlanRequest& from, wire::PlanRequest* to) {
  to->set_step(from.step.value);
  to->set_incarnation(from.incarnation.value);
  to->set_ranks(from.ranks);
}
PlanRequest FromWire(const wire::PlanRequest& from, Checks& checks) {
  constexpr uint32_t kMaxRanks = 1u << 16;
  checks.Require(0 < from.ranks() && from.ranks() <= kMaxRanks, fmt::format("a plan for {} ranks", from.ranks()));
  return {{from.step()}, {from.incarnation()}, from.ranks()};
}

void ToWire(const StepPlan& from, wire::StepPlan* to) {
  to->set_plan(from.plan.value);
  to->set_step(from.step.value);
  for (const PlannedGroup& group : from.groups) ToWire(group, to->add_groups());
  to->set_ready(from.ready);
  to->set_waiting_for(from.waiting_for);
  to->set_finished(from.finished);
}
StepPlan FromWire(const wire::StepPlan& from, Checks& checks) {
  StepPlan to{{from.plan()}, {from.step()}, {}, from.ready(), from.waiting_for(), from.finished()};
  for (const wire::PlannedGroup& group : from.groups()) {
    to.groups.push_back(FromWire(group, checks));
    size_t n = to.groups.size();
    checks.Require(n < 2 || to.groups[n - 2].group < to.groups[n - 1].group, "a plan's groups are not in id order");
  }
  return to;
}

void ToWire(const PlanVote& from, wire::PlanVote* to) {
  to->set_plan(from.plan.value);
  to->set_step(from.step.value);
  to->set_ok(from.ok);
  ToWire(from.bad_groups, to->mutable_bad_groups());
  to->set_reason(from.reason);
}
PlanVote FromWire(const wire::PlanVote& from, Checks&) {
  return {{from.plan()}, {from.step()}, from.ok(), FromWire(from.bad_groups()), from.reason()};
}

void ToWire(const VersionAnnounce& from, wire::VersionAnnounce* to) {
  ToWire(from.info, to->mutable_info());
  to->set_step(from.step.value);
}
VersionAnnounce FromWire(const wire::VersionAnnounce& from, Checks&) { return {FromWire(from.info()), {from.step()}}; }

void ToWire(const StepDone& from, wire::StepDone* to) {
  wire::StepReport* report = to->mutable_report();
  report->set_step(from.report.step.value);
  report->set_plan(from.report.plan.value);
  report->set_version(from.report.version.value);
  NumbersToWire(from.report.metrics, report->mutable_metrics());
  ToWire(from.info, to->mutable_info());
}
StepDone FromWire(const wire::StepDone& from, Checks& checks) {
  const wire::StepReport& report = from.report();
  return {{{report.step()}, {report.plan()}, {report.version()}, NamedFromWire<double>(report.metrics(), checks, "step metrics")},
          FromWire(from.info())};
}

void ToWire(const CheckpointDone& from, wire::CheckpointDone* to) {
  to->set_step(from.step.value);
  to->set_path(from.path);
  to->set_manifest_hash(from.manifest_hash);
  to->set_ledger_sequence(from.ledger_sequence);
  to->set_replayable_steps(from.replayable_steps);
}
CheckpointDone FromWire(const wire::CheckpointDone& from, Checks&) {
  return {{from.step()}, from.path(), from.manifest_hash(), from.ledger_sequence(), from.replayable_steps()};
}

void ToWire(const StatusRequest& from, wire::StatusRequest* to) { to->set_books(from.books); }
StatusRequest FromWire(const wire::StatusRequest& from, Checks&) { return {from.books()}; }

void ToWire(const StatusReply& from, wire::StatusReply* to) { to->set_json(from.json); }
StatusReply FromWire(const wire::StatusReply& from, Checks&) { return {from.json()}; }

void ToWire(const Ack& from, wire::Ack* to) {
  to->set_accepted(from.accepted);
  to->set_reason(from.reason);
  to->set_spool_release_through(from.spool_release_through.value);
  ToWire(from.forget, to->mutable_forget());
  to->set_finished(from.finished);
}
Ack FromWire(const wire::Ack& from, Checks&) {
  return {from.accepted(), from.reason(), {from.spool_release_through()}, FromWire(from.forget()), from.finished()};
}

void ToWire(const GroupSpooled& from, wire::GroupSpooled* to) {
  to->set_group(from.group.value);
  to->set_ok(from.ok);
  to->set_reason(from.reason);
}
GroupSpooled FromWire(const wire::GroupSpooled& from, Checks&) { return {{from.group()}, from.ok(), from.reason()}; }

void ToWire(const FetchGroup& from, wire::FetchGroup* to) {
  to->set_group(from.group.value);
  to->set_hash(from.hash);
}
FetchGroup FromWire(const wire::FetchGroup& from, Checks&) { return {{from.group()}, from.hash()}; }

void ToWire(const Error& from, wire::Error* to) {
  to->set_code(static_cast<uint32_t>(from.code));
  to->set_what(from.what);
  to->set_where(from.where);
  to->set_fix(from.fix);
  to->set_retry(from.retry);
}
Error FromWire(const wire::Error& from, Checks& checks) {
  int code = from.code() <= 255 ? static_cast<int>(from.code()) : -1;
  return {checks.Enum(code, ErrorCode::kInternal, "error code"), from.what(), from.where(), from.fix(), from.retry()};
}

}  // namespace candor::proto
