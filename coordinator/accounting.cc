#include "coordinator/accounting.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace candor {

namespace {
constexpr size_t kViolationsShown = 100;
}

void Auditor::Complain(std::string what) {
  if (balance_.violations.size() < kViolationsShown) balance_.violations.push_back(std::move(what));
}

void Auditor::End(GroupId id, const std::string& how) {
  auto [at, fresh] = ends_.emplace(id, how);
  if (!fresh) Complain(fmt::format("group {} ended twice: {} and {}", id.value, at->second, how));
}

// Of an abandoned lineage: they are made and evaluated anew.
void Auditor::ForgetEvalsBehind(uint64_t version) {
  versions_.erase(versions_.upper_bound(version), versions_.end());
  std::erase_if(ends_, [&](const auto& end) { return IsEvalGroup(end.first) && EvalVersionOf(end.first).value > version; });
}

struct AuditStep {
  Auditor& a;

  void operator()(const GroupScored& r) const {
    if (a.ends_.count(r.group)) a.Complain(fmt::format("group {} was scored after its end", r.group.value));
    for (uint64_t v : {r.oldest_version.value, r.newest_version.value})
      if (!a.versions_.count(v)) a.Complain(fmt::format("group {} was written by version {}, which was not announced", r.group.value, v));
    if (IsEvalGroup(r.group)) return a.End(r.group, "evaluated");
    const uint64_t wave = WaveOf(r.group);
    if (r.oldest_version.value + 1 + a.plan_.staleness < wave)
      a.Complain(fmt::format("group {} is staler than the bound {}", r.group.value, a.plan_.staleness));
    if (!a.scored_.emplace(r.group, r).second) a.Complain(fmt::format("group {} was scored twice", r.group.value));
  }
  void operator()(const GroupDropped& r) const { a.End(r.group, Name(r.reason)); }
  void operator()(const GroupReopened& r) const {
    ++a.balance_.reopened;
    if (!a.scored_.erase(r.group)) a.Complain(fmt::format("group {} was reopened but not scored", r.group.value));
  }
  void operator()(const VersionAnnounce& r) const { a.versions_.insert(r.info.version.value); }
  void operator()(const PlanLogged& r) const {
    if (!a.plan_ids_.insert(r.plan.plan.value).second) a.Complain(fmt::format("plan id {} was used twice", r.plan.plan.value));
    std::set<GroupId> named;
    for (const PlannedGroup& group : r.plan.groups) {
      named.insert(group.group);
      auto scored = a.scored_.find(group.group);
      if (scored == a.scored_.end() || scored->second.hash != group.hash)
        a.Complain(fmt::format("plan {} names group {}, which is not scored so", r.plan.plan.value, group.group.value));
      if (a.ends_.count(group.group))
        a.Complain(fmt::format("plan {} names group {}, which has ended", r.plan.plan.value, group.group.value));
      if (WaveOf(group.group) != r.plan.step.value)
        a.Complain(fmt::format("plan {} takes group {} from another wave", r.plan.plan.value, group.group.value));
    }
    const auto extended = a.extended_.find(r.plan.step.value);
    const uint32_t size = a.plan_.prompts_per_step + (extended == a.extended_.end() ? 0 : extended->second);
    for (uint32_t position = 0; position < size; ++position) {
      const GroupId id = MakeGroupId(r.plan.step.value, position);
      if (!named.count(id) && !a.ends_.count(id))
        a.Complain(fmt::format("plan {} leaves out group {}, which has not ended", r.plan.plan.value, id.value));
    }
    a.plans_[r.plan.step.value] = r.plan;
  }
  void operator()(const PlanVoided& r) const {
    ++a.balance_.voided_plans;
    auto found = a.plans_.find(r.step.value);
    if (found == a.plans_.end() || found->second.plan != r.plan)
      a.Complain(fmt::format("plan {} was voided but is not the plan of step {}", r.plan.value, r.step.value));
    else
      a.plans_.erase(found);
  }
  // Steps from r.step on are undone.
  void operator()(const TrainerStarted& r) const {
    if (r.segment.value == a.segment_) return;
    a.segment_ = r.segment.value;
    ++a.balance_.segments;
    for (uint64_t step = r.step.value; step <= a.last_step_; ++step)
      for (const PlannedGroup& group : a.plans_[step].groups) {
        a.ends_.erase(group.group);
        if (step <= a.covered_) a.scored_.erase(group.group);  // its payload was let go: it is generated and scored again
      }
    if (r.step.value <= a.covered_) a.ForgetEvalsBehind(r.step.value - 1);
    a.last_step_ = r.step.value - 1;
    a.covered_ = std::min(a.covered_, a.last_step_), a.checkpointed_ = std::min(a.checkpointed_, a.last_step_);
  }
  void operator()(const StepDone& r) const {
    const uint64_t step = r.report.step.value;
    if (step != a.last_step_ + 1) a.Complain(fmt::format("step {} was done after step {}", step, a.last_step_));
    auto found = a.plans_.find(step);
    if (found == a.plans_.end() || found->second.plan != r.report.plan)
      return a.Complain(fmt::format("step {} was done without its plan", step));
    for (const PlannedGroup& group : found->second.groups) a.End(group.group, "trained");
    a.last_step_ = step;
    a.furthest_step_ = std::max(a.furthest_step_, step);
  }
  void operator()(const CheckpointDone& r) const {
    if (r.step.value > a.last_step_) a.Complain(fmt::format("a checkpoint of step {} before it was done", r.step.value));
    a.checkpointed_ = std::max(a.checkpointed_, r.step.value);
    a.covered_ = std::max(a.covered_, r.step.value - std::min(r.step.value, r.replayable_steps));
  }
  // Only the wave that the learner waits for, once all of it is scored or dropped.
  void operator()(const WaveExtended& r) const {
    uint32_t& added = a.extended_[r.wave.value];
    if (r.wave.value != a.last_step_ + 1) a.Complain(fmt::format("wave {} was extended after step {}", r.wave.value, a.last_step_));
    for (uint32_t position = 0; position < a.plan_.prompts_per_step + added; ++position) {
      const GroupId id = MakeGroupId(r.wave.value, position);
      if (!a.scored_.count(id) && !a.ends_.count(id))
        a.Complain(fmt::format("wave {} was extended before group {} was scored", r.wave.value, id.value));
    }
    added += r.groups;
  }
  void operator()(const RunFinished&) const {
    a.balance_.finished = true;
    if (a.last_step_ >= a.plan_.steps) a.covered_ = std::max(a.covered_, a.checkpointed_);
  }
};

void Auditor::Add(const LedgerRecord& record) { std::visit(AuditStep{*this}, record); }

Balance Auditor::Result() const {
  Balance balance = balance_;
  const uint64_t waves = std::min(plan_.steps, furthest_step_ + 1 + plan_.staleness);
  balance.issued = waves * plan_.prompts_per_step;
  for (const auto& [wave, added] : extended_) balance.issued += added;
  for (uint64_t version : versions_)
    for (const EvalPlan& eval : plan_.evals)
      if (EvalIsDue(plan_, eval, {version})) balance.issued += eval.rows;
  for (const auto& [id, how] : ends_) {
    const bool eval = IsEvalGroup(id);
    if (eval && (EvalIndexOf(id) >= plan_.evals.size() || !versions_.count(EvalVersionOf(id).value)))
      balance.violations.push_back(fmt::format("evaluation group {} was never issued", id.value));
    else if (eval && !EvalIsDue(plan_, plan_.evals[EvalIndexOf(id)], EvalVersionOf(id)))
      ++balance.issued;  // it was due before a resume changed the schedule
    if (!eval && (WaveOf(id) == 0 || WaveOf(id) > waves)) balance.violations.push_back(fmt::format("group {} was never issued", id.value));
    if (how == "trained")
      ++balance.trained, ++balance.trained_by_step[WaveOf(id)];
    else if (how == "evaluated")
      ++balance.evaluated;
    else
      ++balance.dropped, ++balance.dropped_by_reason[how];
  }
  const uint64_t ended = balance.trained + balance.evaluated + balance.dropped;
  if (ended > balance.issued) balance.violations.push_back(fmt::format("{} groups ended but only {} were issued", ended, balance.issued));
  balance.in_flight = balance.issued - std::min(balance.issued, ended);
  balance.last_step = last_step_;
  balance.finished = balance_.finished && last_step_ >= plan_.steps;
  if (balance.finished && balance.in_flight > 0)
    balance.violations.push_back(fmt::format("the run is finished but {} groups have not ended", balance.in_flight));
  return balance;
}

bool Balance::Balances() const { return violations.empty() && issued == trained + evaluated + dropped + in_flight; }

std::string BalanceText(const Balance& b) {
  std::string text = fmt::format("issued     {:>8}\ntrained    {:>8}\nevaluated  {:>8}\n", b.issued, b.trained, b.evaluated);
  text += fmt::format("dropped    {:>8}", b.dropped);
  for (const auto& [reason, count] : b.dropped_by_reason) text += fmt::format("  {} {}", reason, count);
  text += fmt::format("\nin flight  {:>8}\n", b.in_flight);
  text += fmt::format("last step {}, segments {}, leased again {}, void plans {}{}\n", b.last_step, b.segments, b.reopened, b.voided_plans,
                      b.finished ? ", finished" : "");
  for (const std::string& violation : b.violations) text += "violation: " + violation + "\n";
  return text + (b.Balances() ? "the ledger balances\n" : "THE LEDGER DOES NOT BALANCE\n");
}

std::string BalanceJson(const Balance& b) {
  nlohmann::json steps = nlohmann::json::object();
  for (const auto& [step, count] : b.trained_by_step) steps[std::to_string(step)] = count;
  return nlohmann::json{{"issued", b.issued},         {"trained", b.trained},     {"evaluated", b.evaluated},
                        {"dropped", b.dropped},       {"in_flight", b.in_flight}, {"dropped_by_reason", b.dropped_by_reason},
                        {"trained_by_step", steps},   {"reopened", b.reopened},   {"voided_plans", b.voided_plans},
                        {"segments", b.segments},     {"last_step", b.last_step}, {"finished", b.finished},
                        {"violations", b.violations}, {"balances", b.Balances()}}
      .dump(2);
}

}  // namespace candor
