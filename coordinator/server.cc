#include "coordinator/server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "coordinator/books.h"
#include "coordinator/http.h"
#include "coordinator/ledger.h"
#include "coordinator/status.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/rendezvous.h"
#include "core/rng.h"

namespace candor {

namespace {

constexpr int kPollMs = 50;           // how soon a stop is noticed
constexpr int64_t kTickMs = 100;      // how soon a silent worker is noticed
constexpr int64_t kFenceMs = 1000;    // how soon a replaced coordinator that has nothing to commit ends
constexpr int64_t kSnapshotMs = 250;  // age of what HTTP shows
constexpr size_t kBatchMax = 256;     // messages under one sync of the log
const std::string kMetricsFile = "metrics.jsonl", kEvalsFile = "evals.jsonl";

// The group that a record brings to an end, scored or dropped.
std::optional<GroupId> EndedBy(const LedgerRecord& record) {
  if (auto* scored = std::get_if<GroupScored>(&record)) return scored->group;
  if (auto* dropped = std::get_if<GroupDropped>(&record)) return dropped->group;
  return std::nullopt;
}

struct PendingReply {
  std::string peer;
  std::string bytes;
};

// What HTTP threads may look at.
class Snapshot {
 public:
  void Set(std::string status, std::string prometheus) {
    std::scoped_lock lock(mutex_);
    status_ = std::move(status);
    prometheus_ = std::move(prometheus);
  }
  std::string status() const {
    std::scoped_lock lock(mutex_);
    return status_;
  }
  std::string prometheus() const {
    std::scoped_lock lock(mutex_);
    return prometheus_;
  }

 private:
  mutable std::mutex mutex_;
  std::string status_ = "{}", prometheus_;
};

class CoordinatorServer {
 public:
  CoordinatorServer(const RunPlan& plan, const CoordinatorOptions& options, std::string run_dir, const ServeHooks& hooks, Ledger& ledger)
      : options_(options),
        run_dir_(std::move(run_dir)),
        hooks_(hooks),
        ledger_(ledger),
        record_(ledger.store()),
        state_(plan, LimitsOf(options), ledger.epoch()) {}

  Status Recover();
  Status Open(Transport& transport, const std::string& token);
  Status Run();

 private:
  // One batch: messages in, records on disk, replies out.
  Status Turn();
  void Take(const IncomingMessage& incoming);
  void Answer(const IncomingMessage& incoming, uint64_t sequence, MessageBody body);
  void Gather(Actions actions);
  Status CommitBatch();
  Status WriteStepLine(StepId step, double seconds);
  Status WriteEvalLine(GroupId any);
  Status WriteLines();
  Status ForgetEvals(PolicyVersion behind);
  const std::string& EvalNameOf(GroupId any) const { return state_.plan().evals.at(EvalIndexOf(any)).name; }
  void Refresh(bool force);
  HttpSource SourceOf(const std::string& token);
  bool Stopping() const { return hooks_.stop && hooks_.stop->load(); }
  bool Over() const;

  const CoordinatorOptions options_;
  const std::string run_dir_;
  const ServeHooks hooks_;
  Ledger& ledger_;
  CalibrationRecord record_;
  CoordinatorState state_;
  Snapshot snapshot_;
  StatusExtras extras_;
  std::unique_ptr<MessageServer> socket_;
  std::unique_ptr<HttpServer> http_;

  std::vector<LedgerRecord> records_;
  StoreBatch with_;
  std::vector<PendingReply> replies_;
  std::vector<StepId> steps_done_;
  std::vector<GroupId> evals_done_;
  bool eval_lines_dropped_ = false;
  uint64_t refused_ = 0;  // messages that were none
  int64_t next_tick_ms_ = 0, next_fence_ms_ = 0, next_snapshot_ms_ = 0, last_step_ms_ = -1, last_heard_ms_ = 0;
};

// The state from the ledger, and the lines that a crash kept from being written.
Status CoordinatorServer::Recover() {
  std::vector<StepId> done;
  std::map<uint64_t, GroupId> asked;  // one group of each evaluation
  CANDOR_TRY(ledger_.ForEach([&](const LedgerRecord& record) {
    if (auto* step = std::get_if<StepDone>(&record)) done.push_back(step->report.step);
    if (const std::optional<GroupId> ended = EndedBy(record); ended && IsEvalGroup(*ended)) asked.emplace(ended->value >> 32, *ended);
    return state_.Replay(record);
  }));
  extras_.started_ms = last_heard_ms_ = hooks_.clock->SteadyMs();
  if (ledger_.records() > 0) state_.HoldLeasesUntil(hooks_.clock->SteadyMs() + static_cast<int64_t>(options_.restart_grace_s * 1000));
  CANDOR_ASSIGN(std::vector<std::string> lines, ReadLines(ledger_.store(), kMetricsFile, 0));
  if (lines.size() < done.size() && state_.last_done().value > 0)
    CANDOR_TRY(WriteStepLine(state_.last_done(), -1));  // a step and its line are two commits: at most one lacks
  for (const auto& [eval, any] : asked) {               // the same of an evaluation and its line
    CANDOR_ASSIGN(const bool there, HasLine(ledger_.store(), kEvalsFile, 0, EvalVersionOf(any).value, EvalNameOf(any)));
    if (!there && state_.StandOf(any) && state_.OpenInEval(any) == 0) CANDOR_TRY(WriteEvalLine(any));
  }
  CANDOR_TRY(ProjectLines(ledger_.store(), kMetricsFile, run_dir_ + "/" + kMetricsFile, *hooks_.disk));
  CANDOR_TRY(ProjectLines(ledger_.store(), kEvalsFile, run_dir_ + "/" + kEvalsFile, *hooks_.disk));
  spdlog::info("ledger of {} records: step {} of {}, version {}, segment {}", ledger_.records(), state_.last_done().value,
               state_.plan().steps, state_.newest_version().value, state_.segment().value);
  return {};
}

HttpSource CoordinatorServer::SourceOf(const std::string& token) {
  HttpSource source;
  source.token = token;
  source.status_json = [this] { return snapshot_.status(); };
  source.prometheus = [this] { return snapshot_.prometheus(); };
  source.metric_lines = [this](uint64_t from) { return ReadLines(ledger_.store(), kMetricsFile, from); };
  source.calibration_json = [this](const HttpSource::CalibrationQuery& q) -> Result<std::string> {
    nlohmann::json out = nlohmann::json::array();
    CANDOR_ASSIGN(std::vector<SeriesKey> all, record_.List());
    for (const SeriesKey& series : all) {
      if (series.stream != q.stream || series.slice != q.slice || (!q.signal.empty() && series.signal != q.signal)) continue;
      CANDOR_ASSIGN(calibration::CalSketch sum, record_.Query(series, {q.from}, {q.to}));
      MetricLine numbers;
      AddSketchMetrics(sum, "", numbers);
      nlohmann::json bins = nlohmann::json::array();
      for (const auto& [cell, sums] : sum.cells())
        bins.push_back({{"cell", cell},
                        {"n", sums.n},
                        {"labels", static_cast<double>(sums.y) * 1e-9},
                        {"confidences", static_cast<double>(sums.p) * 1e-9}});
      out.push_back({{"stream", series.stream}, {"signal", series.signal}, {"slice", series.slice}, {"metrics", numbers}, {"cells", bins}});
    }
    if (out.empty())
      return Fail(ErrorCode::kNotFound, "nothing is recorded under this stream, signal and slice",
                  q.stream + " " + q.signal + " " + q.slice);
    return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  return source;
}

Status CoordinatorServer::Open(Transport& transport, const std::string& token) {
  CANDOR_ASSIGN(socket_, transport.Listen(options_.listen, Role::kCoordinator, kMaxControlBytes));
  extras_.endpoint = socket_->endpoint();
  if (hooks_.http) {
    CANDOR_ASSIGN(http_, HttpServer::Start(options_.http_host, static_cast<int>(options_.http_port),
                                           static_cast<int>(options_.http_threads), SourceOf(token)));
    extras_.http = http_->url();
  }
  Refresh(true);
  CANDOR_TRY(AnnounceCoordinator(run_dir_, {ledger_.epoch(), extras_.endpoint}, extras_.http, *hooks_.disk));
  spdlog::info("coordinator ready: epoch {} at {}, {}", ledger_.epoch(), extras_.endpoint, extras_.http);
  return {};
}

void CoordinatorServer::Answer(const IncomingMessage& incoming, uint64_t sequence, MessageBody body) {
  replies_.push_back({incoming.peer, Encode({state_.plan().run_id, sequence, "coordinator", std::move(body)})});
}

void CoordinatorServer::Take(const IncomingMessage& incoming) {
  if (incoming.role != Role::kObserver) last_heard_ms_ = hooks_.clock->SteadyMs();
  Result<Message> message = Decode(incoming.body);
  if (!message) {
    if (++refused_ <= 10 || refused_ % 100 == 0)  // a broken peer repeats itself
      spdlog::warn("a {} sent a message that is refused, the {}. so far: {}", Name(incoming.role), refused_, message.error().Message());
    return Answer(incoming, 0, message.error());
  }
  if (message->run_id != state_.plan().run_id)
    return Answer(incoming, message->sequence,
                  Error{ErrorCode::kUnauthorized, fmt::format("this is run {}, not {}", state_.plan().run_id, message->run_id),
                        "coordinator", "", false});
  const uint64_t recorded = ledger_.records() + records_.size();
  if (auto* asked = std::get_if<StatusRequest>(&message->body); asked && asked->books)
    return Answer(incoming, message->sequence, StatusReply{BooksJson(state_, recorded)});
  if (auto* done = std::get_if<CheckpointDone>(&message->body); done && done->ledger_sequence > recorded)
    return Answer(incoming, message->sequence,
                  Error{ErrorCode::kInvalidInput,
                        fmt::format("the checkpoint of step {} knows a ledger of {} records, this one has {}", done->step.value,
                                    done->ledger_sequence, recorded),
                        run_dir_, "the ledger is an older copy than the checkpoints: bring both from the same moment", false});
  extras_.wall_ms = hooks_.clock->WallMs();
  if (std::holds_alternative<StatusRequest>(message->body))
    return Answer(incoming, message->sequence, StatusReply{StatusJson(state_, extras_, hooks_.clock->SteadyMs())});
  const uint64_t request_id = SplitMix64(std::hash<std::string>{}(incoming.peer)) ^ message->sequence;
  Actions actions = state_.Receive(incoming.role, request_id, message->body, hooks_.clock->SteadyMs());
  if (actions.reply) Answer(incoming, message->sequence, std::move(*actions.reply));
  Gather(std::move(actions));
}

void CoordinatorServer::Gather(Actions actions) {
  for (const std::string& event : actions.events) spdlog::info("{}", event);
  if (actions.evals_forgotten_behind)
    if (Status forgotten = ForgetEvals(*actions.evals_forgotten_behind); !forgotten)
      LogError(forgotten.error(), "drop evaluations of versions that were abandoned");
  std::vector<std::string> complaints;
  for (const GroupScored& scored : actions.observed) PutObservations(state_.plan(), scored, with_, complaints);
  for (const std::string& complaint : complaints) spdlog::warn("{}", complaint);
  std::vector<std::pair<StepId, GroupId>> taken_back;
  for (LedgerRecord& record : actions.records) {
    if (const std::optional<GroupId> ended = EndedBy(record); ended && IsEvalGroup(*ended) && state_.OpenInEval(*ended) == 0)
      evals_done_.push_back(*ended);
    if (auto* reopened = std::get_if<GroupReopened>(&record))
      taken_back.emplace_back(state_.groups().at(reopened->group).wave, reopened->group);
    const bool checkpoint = std::holds_alternative<CheckpointDone>(record);
    if (checkpoint) extras_.covered_ms = hooks_.clock->SteadyMs();
    if (checkpoint || std::holds_alternative<RunFinished>(record))  // both may let groups go, which are scored anew after that
      if (Status dropped_keys = record_.DropCovered("train", state_.covered(), with_); !dropped_keys)
        LogError(dropped_keys.error(), "drop covered observations");
    records_.push_back(std::move(record));
  }
  if (Status dropped_keys = record_.DropGroups("train", taken_back, with_); !dropped_keys)
    LogError(dropped_keys.error(), "drop observations that were taken back");
  steps_done_.insert(steps_done_.end(), actions.steps_done.begin(), actions.steps_done.end());
}

// Observations and lines of evaluations of newer versions: those versions are made anew.
Status CoordinatorServer::ForgetEvals(PolicyVersion behind) {
  const StepId from{behind.value + 1};
  std::erase_if(evals_done_, [&](GroupId any) { return EvalVersionOf(any) > behind; });
  DropLines(kEvalsFile, 0, from.value, with_);
  eval_lines_dropped_ = true;
  for (const EvalPlan& eval : state_.plan().evals) CANDOR_TRY(record_.DropFrom("eval/" + eval.name, from, with_));
  return {};
}

Status CoordinatorServer::CommitBatch() {
  if (!records_.empty()) FaultPoint("coordinator.commit");
  CANDOR_TRY(ledger_.Commit(records_, std::move(with_)));
  if (!records_.empty()) FaultPoint("coordinator.committed");
  records_.clear();
  with_ = {};
  return {};
}

Status CoordinatorServer::WriteStepLine(StepId step, double seconds) {
  FaultPoint("coordinator.line");
  CANDOR_ASSIGN(auto merged, record_.MergeStep("train", step));
  MetricLine line = StepLine(state_, step, merged, seconds, hooks_.clock->WallMs());
  StoreBatch batch;
  CalibrationRecord::PutMerged(merged, step, state_.segment(), batch);
  if (state_.segment().value > 1) CANDOR_TRY(record_.PutEmptied("train", merged, step, state_.segment(), batch));
  const std::string json = ToJsonLine(line);
  PutLine(kMetricsFile, state_.segment().value, step.value, "", json, batch);
  CANDOR_TRY(ledger_.Commit({}, std::move(batch)));
  extras_.last_line = line;
  extras_.last_step_seconds = seconds;
  return hooks_.disk->Append(run_dir_ + "/" + kMetricsFile, json + "\n");
}

Status CoordinatorServer::WriteEvalLine(GroupId any) {
  const std::string& name = EvalNameOf(any);
  CANDOR_ASSIGN(auto merged, record_.MergeStep("eval/" + name, {EvalVersionOf(any).value}));
  StoreBatch batch;
  const std::string json = ToJsonLine(EvalLine(name, EvalVersionOf(any), merged, hooks_.clock->WallMs()));
  PutLine(kEvalsFile, 0, EvalVersionOf(any).value, name, json, batch);
  CANDOR_TRY(ledger_.Commit({}, std::move(batch)));
  return hooks_.disk->Append(run_dir_ + "/" + kEvalsFile, json + "\n");
}

Status CoordinatorServer::WriteLines() {
  const int64_t now = hooks_.clock->SteadyMs();
  for (StepId step : steps_done_) {
    const double seconds = last_step_ms_ < 0 ? -1 : static_cast<double>(now - last_step_ms_) / 1000.0;
    CANDOR_TRY(WriteStepLine(step, seconds));
    last_step_ms_ = now;
  }
  if (std::exchange(eval_lines_dropped_, false))
    CANDOR_TRY(ProjectLines(ledger_.store(), kEvalsFile, run_dir_ + "/" + kEvalsFile, *hooks_.disk));
  for (GroupId any : evals_done_) CANDOR_TRY(WriteEvalLine(any));
  steps_done_.clear();
  evals_done_.clear();
  return {};
}

Status CoordinatorServer::Turn() {
  for (size_t taken = 0; taken < kBatchMax; ++taken) {
    CANDOR_ASSIGN(auto incoming, socket_->Receive(taken == 0 ? kPollMs : 0));
    if (!incoming) break;
    Take(*incoming);
    if (!steps_done_.empty()) break;  // its line shows the state of this moment
  }
  if (int64_t now = hooks_.clock->SteadyMs(); now >= next_tick_ms_) {
    Gather(state_.Tick(now));
    next_tick_ms_ = now + kTickMs;
  }
  if (int64_t now = hooks_.clock->SteadyMs(); now >= next_fence_ms_) {  // one that has nothing to commit must hear of its end too
    CANDOR_TRY(ledger_.CheckStillOurs());
    next_fence_ms_ = now + kFenceMs;
  }
  CANDOR_TRY(CommitBatch());
  if (hooks_.observe) hooks_.observe(state_);
  CANDOR_TRY(WriteLines());
  if (!replies_.empty()) FaultPoint("coordinator.reply");
  for (PendingReply& reply : replies_)
    if (Status sent = socket_->Send(reply.peer, std::move(reply.bytes)); !sent)
      spdlog::debug("a reply found nobody: {}", sent.error().Message());
  replies_.clear();
  Refresh(false);
  return {};
}

void CoordinatorServer::Refresh(bool force) {
  const int64_t now = hooks_.clock->SteadyMs();
  if (!hooks_.http || (!force && now < next_snapshot_ms_)) return;
  snapshot_.Set(StatusJson(state_, extras_, now), PrometheusText(state_, extras_, now));
  // Of ten thousand workers it is long: at most a twentieth of the time goes into it.
  next_snapshot_ms_ = now + std::max(kSnapshotMs, 20 * (hooks_.clock->SteadyMs() - now));
}

// Workers leave once they hear of the end, and the learner may still have a checkpoint to report: when nobody speaks any more, it is over.
bool CoordinatorServer::Over() const {
  if (!state_.finished()) return false;
  const double silent_s = static_cast<double>(hooks_.clock->SteadyMs() - last_heard_ms_) / 1000.0;
  return silent_s >= options_.linger_s;
}

Status CoordinatorServer::Run() {
  while (!Stopping() && !Over()) CANDOR_TRY(Turn());
  if (state_.finished()) CANDOR_TRY(RecordRunFinished(run_dir_, state_.plan().steps, *hooks_.disk));
  spdlog::info(state_.finished() ? "coordinator ends: the run is finished" : "coordinator stops on request; the run can go on later");
  return {};
}

}  // namespace

Status ServeCoordinator(const RunPlan& plan, const CoordinatorOptions& options, const std::string& run_dir, const ServeHooks& hooks) {
  RunKeys keys;
  if (!hooks.transport || hooks.http) {
    CANDOR_ASSIGN(keys, ReadRunKeys(run_dir));
  }
  std::unique_ptr<Transport> own;
  if (!hooks.transport) {
    CANDOR_ASSIGN(own, MakeZmqTransport(keys));
  }
  CANDOR_ASSIGN(std::unique_ptr<Ledger> ledger, Ledger::Open(hooks.state_dir.empty() ? run_dir : hooks.state_dir, plan,
                                                             fmt::format("pid {}\n", ::getpid()), *hooks.stores, *hooks.disk));
  CoordinatorServer server(plan, options, run_dir, hooks, *ledger);
  CANDOR_TRY(server.Recover());
  CANDOR_TRY(server.Open(hooks.transport ? *hooks.transport : *own, keys.run_token));
  return server.Run();
}

}  // namespace candor
