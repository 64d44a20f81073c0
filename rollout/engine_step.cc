// One step of the engine: the scheduler's plan becomes flat rows, the decoder runs over them, every row that is asked for logits gets its
// token, and episodes say what comes next. Legend: N rows of the step (decode rows first, then prompt chunks), M rows whose logits are
// wanted, V vocabulary.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"
#include "core/log.h"
#include "core/rng.h"
#include "rollout/engine_impl.h"
#include "rollout/signals.h"

namespace candor {

Status Engine::Impl::Step() {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const BatchScheduler::Plan plan = scheduler->Next();
  for (const BatchScheduler::PageCopy& copy : plan.copies) cache->Copy(copy);
  for (const auto& key : plan.joined) Live(key).stored = static_cast<int64_t>(groups.at(key.group).request.prompt_tokens_P.size());

  StepRows rows;
  std::vector<Decision> decisions;
  AddTraceRows(rows, plan, decisions);
  CANDOR_TRY(AddPromptRows(rows, plan, decisions));
  if (rows.ids_N.empty()) return {};
  const at::Tensor logits_MV = Forward(rows);
  for (const auto& key : plan.running) {
    LiveTrace& live = Live(key);
    live.stored += static_cast<int64_t>(live.pending.size());
    live.pending.clear();
  }
  std::vector<RowReading> readings_M(rows.logit_rows_M.size());
  CANDOR_TRY(Decide(logits_MV, decisions, readings_M));
  const int64_t left_before = scheduler->leaves();
  for (const Decision& decision : decisions) {
    CANDOR_TRY(
        Apply(decision, readings_M[static_cast<size_t>(decision.m)], logits_MV.const_data_ptr<float>() + decision.m * config.vocab_size));
    LiveTrace& live = Live(decision.key);
    if (live.done)
      CANDOR_TRY(EndTrace(decision.key, decision.joined));
    else if (!decision.joined)
      scheduler->Await(decision.key);
  }
  UpdateStats(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), rows);
  if (!plan.joined.empty() || scheduler->leaves() > left_before)
    spdlog::debug("batch joined={} left={} running={} pages_used={} pages_free={} pages_reused={}", plan.joined.size(),
                  scheduler->leaves() - left_before, scheduler->running(), scheduler->pool().used(), scheduler->pool().free(),
                  scheduler->pool().reused());
  return {};
}

// Rows for tokens ids[first, first + count) at consecutive positions of the sequence that holds `pages`.
void Engine::Impl::AddRows(StepRows& rows, const std::vector<int32_t>& ids, int64_t first, int64_t count, int64_t first_position,
                           const std::vector<int32_t>& pages) const {
  PagedStep& paged = rows.paged;
  paged.queries.push_back({static_cast<int64_t>(rows.ids_N.size()), count, first_position, static_cast<int64_t>(paged.block_table.size())});
  cache->AppendBlocks(pages, first_position + count, paged.block_table);
  for (int64_t i = 0; i < count; ++i) {
    rows.ids_N.push_back(ids[static_cast<size_t>(first + i)]);
    rows.positions_N.push_back(static_cast<int32_t>(first_position + i));
    paged.slots_N.push_back(cache->Slot(pages, first_position + i));
  }
}

void Engine::Impl::AddTraceRows(StepRows& rows, const BatchScheduler::Plan& plan, std::vector<Decision>& decisions) {
  for (const auto& key : plan.running) {
    LiveTrace& live = Live(key);
    const auto count = static_cast<int64_t>(live.pending.size());
    CANDOR_CHECK(count > 0, "a running trace has nothing to compute");
    AddRows(rows, live.pending, 0, count, live.stored, scheduler->Grow(key, live.stored + count));
    decisions.push_back({static_cast<int64_t>(rows.logit_rows_M.size()), key, true, 0});
    rows.logit_rows_M.push_back(static_cast<int64_t>(rows.ids_N.size()) - 1);
  }
}

// The row of a prompt's last token serves all traces of the group that sample at once; a trace that begins with forced tokens waits for a
// place first.
Status Engine::Impl::AddPromptRows(StepRows& rows, const BatchScheduler::Plan& plan, std::vector<Decision>& decisions) {
  for (const BatchScheduler::PrefillChunk& chunk : plan.prefill) {
    LiveGroup& group = groups.at(chunk.group);
    AddRows(rows, group.request.prompt_tokens_P, chunk.begin, chunk.rows, chunk.begin, scheduler->PromptPages(chunk.group));
    rows.prompt_rows += chunk.rows;
    if (!chunk.last) continue;
    stats.shared_tokens += group.request.prompt_tokens_P.size() * (group.traces.size() - 1);
    const auto m = static_cast<int64_t>(rows.logit_rows_M.size());
    bool wanted = false;
    for (int32_t i = 0; i < static_cast<int32_t>(group.traces.size()); ++i) {
      LiveTrace& live = group.traces[static_cast<size_t>(i)];
      CANDOR_TRY(Advance(live));
      CANDOR_CHECK(!live.done, "an episode ended before its first token");
      if (live.pending.empty())
        decisions.push_back({m, {chunk.group, i}, false, 0}), wanted = true;
      else
        scheduler->Await({chunk.group, i});
    }
    if (wanted) rows.logit_rows_M.push_back(static_cast<int64_t>(rows.ids_N.size()) - 1);
  }
  return {};
}

at::Tensor Engine::Impl::Forward(const StepRows& rows) {
  const Attend attend = [&](int64_t layer, const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd) {
    StoreKeyValues(k_NKd, v_NKd, rows.paged, cache->keys(layer), cache->values(layer));
    return PagedAttention(q_NHd, cache->keys(layer), cache->values(layer), rows.paged);
  };
  at::Tensor x_ND = Embed(weights.embedding_VD, rows.ids_N);
  for (const BlockWeights& block : weights.blocks_L) x_ND = Block(config, block, x_ND, *rope, rows.positions_N, attend, numerics);
  const auto wanted = static_cast<int64_t>(rows.logit_rows_M.size());
  if (logits.size(0) < wanted) logits = HostBuffer({std::max<int64_t>(wanted, options.max_batch), config.vocab_size}, at::kFloat, device);
  at::Tensor logits_MV = logits.narrow(0, 0, wanted);
  if (wanted == 0) return logits_MV;
  const at::Tensor rows_M = ToDevice(rows.logit_rows_M, device);
  const at::Tensor hidden_MD = FinalNorm(config, weights.final_norm_D, x_ND.index_select(0, rows_M));
  if (device.is_cpu())
    ApplyToFloat(weights.head, hidden_MD, logits_MV, numerics);
  else
    logits_MV.copy_(Logits(weights.head, hidden_MD, numerics));  // all that a step brings back from a device
  return logits_MV;
}

// Reads every logits row and chooses its tokens while the row is in the cache. Nothing here depends on the order or number of rows;
// decisions come in the order of their rows.
Status Engine::Impl::Decide(const at::Tensor& logits_MV, std::vector<Decision>& decisions, std::vector<RowReading>& readings_M) {
  const int64_t vocab_size = config.vocab_size;
  const float* logits_data = logits_MV.const_data_ptr<float>();
  scratch.resize(static_cast<size_t>(std::max(1, at::get_num_threads())));
  at::parallel_for(0, static_cast<int64_t>(readings_M.size()), 1, [&](int64_t begin, int64_t end) {
    SamplerScratch& mine = scratch[static_cast<size_t>(at::get_thread_num())];
    auto decision = std::lower_bound(decisions.begin(), decisions.end(), begin, [](const Decision& d, int64_t m) { return d.m < m; });
    for (int64_t m = begin; m < end; ++m) {
      RowReading& reading = readings_M[static_cast<size_t>(m)];
      reading = ReadRow(logits_data + m * vocab_size, vocab_size, options.confidence_top_k, mine);
      for (; decision != decisions.end() && decision->m == m; ++decision)
        if (reading.finite) Choose(*decision, reading, logits_data + m * vocab_size, mine);
    }
  });
  for (const Decision& decision : decisions)
    if (!readings_M[static_cast<size_t>(decision.m)].finite)
      return Fail(ErrorCode::kInternal, "the logits of policy version " + ToString(version) + " are not finite",
                  "group " + ToString(groups.at(decision.key.group).request.id),
                  "the policy has diverged: lower the learning rate and resume from an earlier checkpoint");
  return {};
}

void Engine::Impl::Choose(Decision& decision, const RowReading& reading, const float* logits_V, SamplerScratch& mine) const {
  const LiveGroup& group = groups.at(decision.key.group);
  const LiveTrace& live = group.traces[static_cast<size_t>(decision.key.index)];
  if (live.action.kind != NextAction::Kind::kSample) return;
  const double u = RandomUnit(group.request.seed, RngStream::kSample, group.request.drawn_as.value_or(group.request.id).value,
                              static_cast<uint64_t>(live.trace.index), live.trace.tokens_T.size());
  decision.token = ChooseToken(logits_V, config.vocab_size, reading, live.sampling, u, mine);
}

Status Engine::Impl::Apply(const Decision& decision, const RowReading& reading, const float* logits_V) {
  LiveTrace& live = Live(decision.key);
  if (live.action.kind == NextAction::Kind::kReadSlot) {
    const float high = logits_V[live.action.slot.high], low = logits_V[live.action.slot.low];
    live.trace.signals["slot"] = SlotConfidence(static_cast<double>(high), static_cast<double>(low));
    CANDOR_TRY(AppendToken(live, high >= low ? live.action.slot.high : live.action.slot.low, Origin::kPolicy, nullptr));
    return Advance(live);
  }
  CANDOR_TRY(AppendToken(live, decision.token, Origin::kPolicy, &reading));
  live.trace.log_probs_T.back() = logits_V[decision.token] - reading.log_sum_exp;
  if (const EngineRequest& request = groups.at(decision.key.group).request; request.on_token)
    request.on_token({live.trace.index, decision.token, live.trace.log_probs_T.back(),
                      TopLogProbs(logits_V, config.vocab_size, reading, request.top_log_probs)});
  ++stats.sampled_tokens;
  const auto window = static_cast<size_t>(options.window);
  const size_t count = live.confidences.size();
  live.window_sum +=
      static_cast<double>(live.confidences.back()) - (count > window ? static_cast<double>(live.confidences[count - 1 - window]) : 0.0);
  if (live.sampling.stop_below_confidence > 0.0 && count >= window &&
      live.window_sum / static_cast<double>(window) < live.sampling.stop_below_confidence) {
    live.trace.finish = FinishReason::kBudget;
    live.done = true;
    return {};
  }
  return Advance(live);
}

// `reading` is null for tokens that were not sampled.
Status Engine::Impl::AppendToken(LiveTrace& live, int32_t id, Origin origin, const RowReading* reading) {
  live.trace.tokens_T.push_back(id);
  live.trace.log_probs_T.push_back(0.0f);
  live.trace.entropy_T.push_back(reading ? reading->entropy : 0.0f);
  live.trace.version_T.push_back(version.value);
  live.readings.self_certainty_T.push_back(reading ? reading->self_certainty : 0.0f);
  live.readings.token_confidence_T.push_back(reading ? reading->token_confidence : 0.0f);
  live.readings.margin_T.push_back(reading ? reading->margin : 0.0f);
  if (reading) live.confidences.push_back(reading->token_confidence);
  live.pending.push_back(id);
  return live.episode->Append(id, origin);
}

Status Engine::Impl::Advance(LiveTrace& live) {
  for (;;) {
    live.action = live.episode->Next();
    const auto room = live.token_limit - static_cast<int64_t>(live.trace.tokens_T.size());
    if (live.action.kind == NextAction::Kind::kFinish || room <= 0) {
      live.trace.finish = live.action.kind == NextAction::Kind::kFinish ? live.action.finish : FinishReason::kLength;
      live.done = true;
      return {};
    }
    if (live.action.kind != NextAction::Kind::kForce) return {};
    CANDOR_CHECK(!live.action.ids.empty() && static_cast<int64_t>(live.action.ids.size()) <= room,
                 "an episode forces more tokens than it said");
    const std::vector<int32_t> ids = std::move(live.action.ids);
    CANDOR_TRY(CheckTokenIds(ids, config.vocab_size, "an episode's forced text"));
    for (int32_t id : ids) CANDOR_TRY(AppendToken(live, id, Origin::kEnvironment, nullptr));
  }
}

Status Engine::Impl::EndTrace(BatchScheduler::TraceKey key, bool joined) {
  LiveGroup& group = groups.at(key.group);
  LiveTrace& live = group.traces[static_cast<size_t>(key.index)];
  double log_prob_sum = 0.0, certainty_sum = 0.0;
  for (float v : live.trace.log_probs_T) log_prob_sum += static_cast<double>(v);
  for (float v : live.readings.self_certainty_T) certainty_sum += static_cast<double>(v);
  if (const auto sampled = static_cast<double>(live.confidences.size()); sampled > 0) {
    live.trace.signals["mean_log_prob"] = log_prob_sum / sampled;
    live.trace.signals["self_certainty"] = certainty_sum / sampled;
    live.trace.signals["lowest_window"] = LowestWindow(live.confidences, options.window);
  }
  CANDOR_TRY(live.episode->Finish(live.trace, live.readings));
  live.episode.reset();
  if (joined)
    scheduler->Finish(key);
  else
    scheduler->Skip(key);
  if (--group.open == 0) CloseGroup(key.group);
  return {};
}

void Engine::Impl::CloseGroup(BatchScheduler::GroupKey key) {
  LiveGroup& group = groups.at(key);
  TraceGroup result;
  result.id = group.request.id, result.prompt = group.request.prompt, result.wave = group.request.wave;
  result.prompt_tokens_P = std::move(group.request.prompt_tokens_P);
  for (LiveTrace& live : group.traces) result.traces_G.push_back(std::move(live.trace));
  keys.erase(result.id);
  groups.erase(key);
  finished.push_back(std::move(result));
}

void Engine::Impl::UpdateStats(double seconds, const StepRows& rows) {
  ++stats.steps;
  stats.prompt_tokens += static_cast<uint64_t>(rows.prompt_rows);
  stats.step_seconds += seconds;
  stats.prefill_seconds += seconds * static_cast<double>(rows.prompt_rows) / static_cast<double>(rows.ids_N.size());
  stats.running_max = std::max(stats.running_max, scheduler->running());
  stats.pages_used_max = std::max(stats.pages_used_max, scheduler->pool().used());
}

}  // namespace candor
