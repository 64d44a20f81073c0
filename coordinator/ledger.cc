// Keys: "c" a complete clone; "p" the run plan; "l" + number: a record. Everything else ("s", "S", "m") belongs to the calibration record
// (record.h).
#include "coordinator/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/fault_point.h"

namespace candor {

namespace {

constexpr size_t kCloneBatchBytes = size_t{4} << 20;
const std::string kCompleteKey = "c", kPlanKey = "p", kRecordPrefix = "l";

std::string RecordKey(uint64_t number) {
  std::string key = kRecordPrefix;
  AppendBigEndian(key, number);
  return key;
}

std::string StoresOf(const std::string& run_dir) { return run_dir + "/ledger"; }
std::string StoreOf(const std::string& run_dir, uint64_t epoch) { return fmt::format("{}/{}", StoresOf(run_dir), epoch); }

// The newest store below `before` whose clone was finished.
Result<std::unique_ptr<Store>> NewestComplete(StoreHome& stores, const std::string& run_dir, uint64_t before, uint64_t& epoch) {
  std::vector<uint64_t> epochs = stores.Numbers(StoresOf(run_dir));
  for (auto at = epochs.rbegin(); at != epochs.rend(); ++at) {
    if (*at >= before) continue;
    Result<std::unique_ptr<Store>> store = stores.OpenAsReader(StoreOf(run_dir, *at));
    if (!store && store.error().code == ErrorCode::kNotFound) continue;  // its maker died before it made anything
    if (!store) return Fail(store.error());
    CANDOR_ASSIGN(auto complete, (*store)->Get(kCompleteKey));
    if (!complete) continue;
    epoch = *at;
    return std::move(*store);
  }
  return Fail(ErrorCode::kNotFound, "this run has no ledger yet", StoresOf(run_dir), "its coordinator has not started");
}

Status Clone(const Store& from, Store& to) {
  StoreBatch batch;
  size_t bytes = 0;
  Status written;
  auto flush = [&] {
    written = to.Write(batch);
    batch = {};
    bytes = 0;
    return written.has_value();
  };
  CANDOR_TRY(from.Scan("", "", [&](std::string_view key, std::string_view value) {
    if (key == kCompleteKey) return true;
    batch.puts.emplace_back(key, value);
    bytes += key.size() + value.size();
    return bytes < kCloneBatchBytes || flush();
  }));
  CANDOR_TRY(written);
  batch.puts.emplace_back(kCompleteKey, "1");
  return to.Write(batch);
}

Status VisitRecords(const Store& store, const std::function<Status(const LedgerRecord&)>& visit) {
  Status visited;
  uint64_t expected = 0;
  CANDOR_TRY(store.Scan(kRecordPrefix, AfterPrefix(kRecordPrefix), [&](std::string_view key, std::string_view value) {
    Result<LedgerRecord> record = DecodeRecord(std::string(value));
    if (!record)
      visited = Fail(record.error());
    else if (ReadBigEndian(key.substr(1)) != expected)
      visited = Fail(ErrorCode::kInvalidInput, fmt::format("ledger record {} is missing", expected), "ledger");
    else
      visited = visit(*record);
    ++expected;
    return visited.has_value();
  }));
  return visited;
}

// A resume may change how long and how fast, not what the group ids mean.
Status CheckSamePlan(const RunPlan& now, const std::string& stored) {
  CANDOR_ASSIGN(RunPlan before, PlanFromJson(stored));
  before.steps = now.steps;
  before.curriculum.fill_batches = now.curriculum.fill_batches;  // a run that could not fill a step may get more tries
  for (size_t i = 0; i < before.evals.size() && i < now.evals.size(); ++i) before.evals[i].every = now.evals[i].every;
  if (PlanToJson(before) == PlanToJson(now)) return {};
  return Fail(ErrorCode::kInvalidInput,
              "the run in this folder was started with another recipe: " + PlanToJson(before) + " was " + PlanToJson(now), "ledger",
              "resume with its own recipe, or give another --run-dir");
}

}  // namespace

Result<std::unique_ptr<Ledger>> Ledger::Open(const std::string& run_dir, const RunPlan& plan, const std::string& who, StoreHome& stores,
                                             Disk& disk) {
  CANDOR_TRY(CheckRunPlan(plan));
  CANDOR_TRY(disk.MakeFolders(StoresOf(run_dir)));
  CANDOR_ASSIGN(Epoch epoch, Epoch::Take(run_dir, who, "epoch.", disk));
  uint64_t source = 0;
  Result<std::unique_ptr<Store>> last = NewestComplete(stores, run_dir, epoch.number(), source);
  if (!last && last.error().code != ErrorCode::kNotFound) return Fail(last.error());
  CANDOR_ASSIGN(std::unique_ptr<Store> store, stores.OpenForWriting(StoreOf(run_dir, epoch.number())));
  if (last) {
    CANDOR_ASSIGN(auto stored, (*last)->Get(kPlanKey));
    CANDOR_TRY(CheckSamePlan(plan, stored.value_or("")));
    FaultPoint("coordinator.clone");
    CANDOR_TRY(Clone(**last, *store));
    FaultPoint("coordinator.cloned");
    last->reset();
    for (uint64_t old : stores.Numbers(StoresOf(run_dir)))
      if (old < source) CANDOR_TRY(stores.Remove(StoreOf(run_dir, old)));
  }
  StoreBatch first;
  first.puts = {{kPlanKey, PlanToJson(plan)}, {kCompleteKey, "1"}};
  CANDOR_TRY(store->Write(first));
  std::unique_ptr<Ledger> ledger(new Ledger(std::move(epoch), std::move(store)));
  CANDOR_TRY(VisitRecords(*ledger->store_, [&](const LedgerRecord&) -> Status {
    ++ledger->next_;
    return {};
  }));
  CANDOR_TRY(ledger->epoch_.CheckStillOurs());
  return ledger;
}

Status Ledger::ForEach(const std::function<Status(const LedgerRecord&)>& visit) const { return VisitRecords(*store_, visit); }

Status Ledger::Commit(const std::vector<LedgerRecord>& records, StoreBatch with) {
  if (records.empty() && with.empty()) return {};
  for (const LedgerRecord& record : records) with.puts.emplace_back(RecordKey(next_++), EncodeRecord(record));
  CANDOR_TRY(store_->Write(with));
  return epoch_.CheckStillOurs();
}

Status LedgerReader::ForEach(const std::function<Status(const LedgerRecord&)>& visit) const { return VisitRecords(*store, visit); }

Result<LedgerReader> OpenNewestLedger(const std::string& run_dir) {
  LedgerReader reader;
  CANDOR_ASSIGN(reader.store, NewestComplete(RocksStores(), run_dir, UINT64_MAX, reader.epoch));
  CANDOR_ASSIGN(auto text, reader.store->Get(kPlanKey));
  CANDOR_ASSIGN(reader.plan, PlanFromJson(text.value_or("")));
  return reader;
}

std::string PlanToJson(const RunPlan& plan) {
  nlohmann::json datasets = nlohmann::json::array(), evals = nlohmann::json::array();
  for (const DatasetPlan& d : plan.datasets) datasets.push_back({{"name", d.name}, {"rows", d.rows}, {"weight", d.weight}});
  for (const EvalPlan& e : plan.evals) evals.push_back({{"name", e.name}, {"rows", e.rows}, {"every", e.every}});
  nlohmann::json json{{"run_id", plan.run_id},
                      {"steps", plan.steps},
                      {"prompts_per_step", plan.prompts_per_step},
                      {"group_size", plan.group_size},
                      {"greedy_traces", plan.greedy_traces},
                      {"staleness", plan.staleness},
                      {"deterministic", plan.deterministic},
                      {"seed", plan.seed},
                      {"datasets", datasets},
                      {"evals", evals}};
  if (const CurriculumPlan& c = plan.curriculum; !(c == CurriculumPlan{}))  // ledgers without one stay as they were
    json["curriculum"] = {
        {"skip", c.skip}, {"retire_at", c.retire_at}, {"retired_share", c.retired_share}, {"fill_batches", c.fill_batches}};
  if (const MovingFilterPlan& m = plan.moving_filter; m.on)
    json["moving_filter"] = {{"beta", m.beta}, {"ema", m.ema}, {"average_from", m.average_from}, {"from", m.from}};
  return json.dump();
}

Result<RunPlan> PlanFromJson(const std::string& text) {
  try {
    nlohmann::json j = nlohmann::json::parse(text);
    RunPlan plan;
    j.at("run_id").get_to(plan.run_id);
    j.at("steps").get_to(plan.steps);
    j.at("prompts_per_step").get_to(plan.prompts_per_step);
    j.at("group_size").get_to(plan.group_size);
    j.at("greedy_traces").get_to(plan.greedy_traces);
    j.at("staleness").get_to(plan.staleness);
    j.at("deterministic").get_to(plan.deterministic);
    j.at("seed").get_to(plan.seed);
    for (const auto& d : j.at("datasets"))
      plan.datasets.push_back({d.at("name").get<std::string>(), d.at("rows").get<uint32_t>(), d.at("weight").get<double>()});
    for (const auto& e : j.at("evals"))
      plan.evals.push_back({e.at("name").get<std::string>(), e.at("rows").get<uint32_t>(), e.at("every").get<uint64_t>()});
    if (j.contains("curriculum")) {
      const auto& c = j.at("curriculum");
      plan.curriculum = {c.at("skip").get<bool>(), c.at("retire_at").get<double>(), c.at("retired_share").get<double>(),
                         c.at("fill_batches").get<uint32_t>()};
    }
    if (j.contains("moving_filter")) {
      const auto& m = j.at("moving_filter");
      plan.moving_filter = {true, m.at("beta").get<double>(), m.at("ema").get<double>(), m.at("average_from").get<uint64_t>(),
                            m.at("from").get<uint64_t>()};
    }
    return plan;
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorCode::kInvalidInput, fmt::format("the ledger's run plan cannot be read: {}", error.what()), "ledger");
  }
}

}  // namespace candor
