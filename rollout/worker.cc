#include "rollout/worker.h"

#include <chrono>
#include <random>
#include <thread>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/log.h"
#include "core/thread.h"
#include "rollout/engine.h"
#include "rollout/link/rollout_link.h"
#include "rollout/reference_scorer.h"
#include "rollout/weight_loader.h"
#include "text/prompt.h"

namespace candor {
namespace {

constexpr int kIdleMs = 5;          // how soon a new lease is noticed while nothing runs
constexpr int64_t kReportMs = 250;  // how often progress is told to the link

// Owned by the engine's thread.
class RolloutWorker {
 public:
  RolloutWorker(const RolloutOptions& options, const RolloutSetup& setup, const Tokenizer& tokenizer, const PromptBuilder& prompts,
                EpisodeFactory episode, Engine& engine, LeaseBook& book, WeightLoader& loader, RolloutLink& link)
      : options_(options),
        setup_(setup),
        prompts_(prompts),
        reference_(tokenizer, prompts.format(), engine),
        episode_(std::move(episode)),
        engine_(engine),
        book_(book),
        loader_(loader),
        link_(link) {}

  Status Run(const std::atomic<bool>& link_ended) {
    while (!setup_.stop->load() && !link_.finished() && !link_ended) {
      for (GroupId group : book_.TakeCancelled()) engine_.Cancel(group);
      CANDOR_TRY(ObeyBook());
      LookAhead();
      CANDOR_ASSIGN(const bool stepped, Step());
      if (!stepped) std::this_thread::sleep_for(std::chrono::milliseconds(kIdleMs));
      Report();
    }
    return {};
  }

 private:
  // False: nothing to do, or a learner has the device.
  Result<bool> Step() {
    if (!engine_.busy()) return false;
    std::optional<Turn::Hold> hold;
    if (setup_.turn) {
      CANDOR_ASSIGN(std::optional<Turn::Hold> shared, setup_.turn->TryShare());
      if (!shared) return false;
      hold.emplace(std::move(*shared));
    }
    CANDOR_TRY(engine_.Step());
    FaultPoint("rollout.generate");
    for (TraceGroup& group : engine_.TakeFinished()) CANDOR_TRY(TakeFinished(std::move(group)));
    return true;
  }

  Status ObeyBook() {
    for (;;) {
      const EngineMove move = book_.Next(Loaded(), !engine_.busy());
      if (move.kind == EngineMove::Kind::kWait) return {};
      if (move.kind == EngineMove::Kind::kLoad) {
        if (!LoadVersion(move)) return {};
        continue;
      }
      if (const Status submitted = Submit(move.lease); !submitted)
        book_.Failed(move.lease.group, submitted.error().Message(), submitted.error().code == ErrorCode::kInvalidInput);
    }
  }

  std::optional<PolicyVersion> Loaded() const { return engine_.loaded() ? std::optional(engine_.version()) : std::nullopt; }

  // What the next leases will want is brought while the present ones are written. In deterministic mode only they say which version it is.
  void LookAhead() {
    const auto version = book_.Foreseen(Loaded());
    if (version && !(options_.engine.deterministic && book_.newest().version == *version && !book_.HasWaiting()))
      loader_.Prepare(*version, book_.newest());
  }

  // Swaps the version in when it is here; false: not yet. When it cannot be had the lease that asked for it is given back with the reason.
  bool LoadVersion(const EngineMove& move) {
    const PolicyVersion oldest =
        std::max(move.lease.min_version, engine_.loaded() ? PolicyVersion{engine_.version().value + 1} : PolicyVersion{0});
    auto prepared = loader_.Take(move.version, {oldest, move.lease.max_version}, book_.newest());
    if (!prepared) return false;
    const double start = SteadySeconds();
    Status swapped = *prepared ? engine_.Swap(std::move(**prepared)) : Status(Fail(prepared->error()));
    if (!swapped) {
      LogError(swapped.error(), "weights of version " + ToString(move.version));
      book_.Failed(move.lease.group, swapped.error().Message(), false);
      return true;
    }
    FaultPoint("rollout.loaded");
    spdlog::info("weights version={} pause_seconds={:.3f} running={}", engine_.version().value, SteadySeconds() - start,
                 engine_.stats().running);
    book_.Settle(move.lease.wave);
    last_report_ms_ = 0;
    return true;
  }

  Status Submit(const Lease& lease) {
    const auto set = setup_.data.find(lease.prompt.dataset);
    if (set == setup_.data.end() || lease.prompt.row >= set->second->rows.size())
      return Fail(ErrorCode::kInvalidInput,
                  "there is no row " + std::to_string(lease.prompt.row) + " in data set \"" + lease.prompt.dataset + "\"", "",
                  "every role must read the same data files");
    CANDOR_ASSIGN(PromptText prompt, prompts_.Build(set->second->rows[lease.prompt.row]));
    EngineRequest request;
    request.id = lease.group, request.prompt = lease.prompt, request.wave = lease.wave;
    request.prompt_tokens_P = std::move(prompt.ids_P);
    request.traces = static_cast<int32_t>(lease.traces), request.greedy_traces = static_cast<int32_t>(lease.greedy_traces);
    request.sampling = options_.sampling;
    request.seed = setup_.seed;
    request.episode = episode_;
    CANDOR_TRY(engine_.Submit(std::move(request)));
    book_.Started(lease.group);
    return {};
  }

  Status TakeFinished(TraceGroup group) {
    if (setup_.score_reference && group.prompt.dataset == "train") CANDOR_TRY(ScoreReference(group));  // an evaluation is not rewarded
    group.worker = "rollout-" + std::to_string(setup_.index);
    spdlog::debug("group {} finished wave={} traces={}", group.id.value, group.wave.value, group.traces_G.size());
    book_.Finished(std::move(group));
    return {};
  }

  // By the version that wrote the group's last token: it is still loaded.
  Status ScoreReference(TraceGroup& group) {
    const std::vector<std::string>& answers = setup_.data.at(group.prompt.dataset)->rows[group.prompt.row].answers;
    return answers.empty() ? Status{} : reference_.Score(answers.front(), group);
  }

  void Report() {
    const int64_t now = clock_.SteadyMs();
    if (now - last_report_ms_ < kReportMs) return;
    const EngineStats stats = engine_.stats();
    const double seconds = static_cast<double>(now - last_report_ms_) / 1000.0;
    book_.Progress(engine_.Progress());
    std::map<std::string, double> metrics;
    // While nothing runs the rate is 0: what the run gets, not what the engine could do.
    metrics["tokens_per_second"] = last_report_ms_ == 0 ? 0.0 : static_cast<double>(stats.sampled_tokens - last_tokens_) / seconds;
    metrics["tokens"] = static_cast<double>(stats.sampled_tokens);
    metrics["running"] = static_cast<double>(stats.running);
    metrics["waiting_groups"] = static_cast<double>(stats.waiting_groups);
    metrics["pages_used"] = static_cast<double>(stats.pages_used);
    metrics["pages_free"] = static_cast<double>(stats.pages_free);
    metrics["unspooled"] = static_cast<double>(book_.unspooled());
    metrics["version"] = static_cast<double>(engine_.loaded() ? engine_.version().value : 0);
    link_.SetEngine(engine_.version(), std::move(metrics));
    last_report_ms_ = now;
    last_tokens_ = stats.sampled_tokens;
  }

  const RolloutOptions& options_;
  const RolloutSetup& setup_;
  const PromptBuilder& prompts_;
  const ReferenceScorer reference_;
  const EpisodeFactory episode_;
  Engine& engine_;
  LeaseBook& book_;
  WeightLoader& loader_;
  RolloutLink& link_;
  SystemClock clock_;
  int64_t last_report_ms_ = 0;
  uint64_t last_tokens_ = 0;
};

Incarnation NewIncarnation() {
  std::random_device random;
  return {static_cast<uint64_t>(random()) << 32 | random()};
}

}  // namespace

Status ServeRollout(const RolloutOptions& options, const RolloutSetup& setup) {
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(setup.tokenizer_folder));
  CANDOR_ASSIGN(const ChatTemplate chat_template, ChatTemplate::Load(setup.tokenizer_folder));
  CANDOR_ASSIGN(const PromptBuilder prompts, PromptBuilder::Make(&tokenizer, &chat_template, setup.format));
  const auto slot = prompts.format().confidence == ConfidenceSource::kSlot ? std::optional<SlotTokens>(prompts.slot()) : std::nullopt;
  CANDOR_ASSIGN(auto format, MakeTurnFormat(tokenizer, prompts.format(), prompts.stop_ids(), options.stop, slot));
  EngineOptions engine_options = options.engine;
  engine_options.worker = setup.index;
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  LeaseBookOptions book_options;
  book_options.max_batch = options.engine.max_batch;
  book_options.swap_in_flight = options.swap_in_flight && !options.engine.deterministic;
  book_options.resend_first_ms = 2 * setup.backoff_first_ms, book_options.resend_last_ms = 8 * setup.backoff_first_ms;
  LeaseBook book(book_options);
  WeightLoaderSetup weights;
  weights.fetch = setup.weights, weights.fetch.weights = setup.run_dir + "/weights";
  weights.fetch.self = "rollout-" + std::to_string(setup.index), weights.fetch.transport = setup.transport;
  weights.dtype = engine->dtype(), weights.device = engine->device();
  CANDOR_ASSIGN(const std::unique_ptr<WeightLoader> loader, WeightLoader::Start(weights));
  RolloutLinkSetup to_peers;
  to_peers.run_dir = setup.run_dir, to_peers.run_id = setup.run_id, to_peers.worker = "rollout-" + std::to_string(setup.index);
  to_peers.incarnation = NewIncarnation(), to_peers.transport = setup.transport, to_peers.stop = setup.stop;
  to_peers.steps = setup.steps, to_peers.backoff_first_ms = setup.backoff_first_ms;
  std::atomic<bool> engine_ended = false, link_ended = false;
  RolloutLink link(to_peers, book);
  RolloutWorker worker(options, setup, tokenizer, prompts, SingleTurn(std::move(format)), *engine, book, *loader, link);
  Status link_status, engine_status;
  {
    const NamedThread link_thread("rollout-link", [&] {
      link_status = link.Run(engine_ended);
      link_ended = true;
    });
    engine_status = worker.Run(link_ended);
    engine_ended = true;
  }
  const EngineStats stats = engine->stats();
  spdlog::info(
      "engine steps={} tokens={} tokens_per_second={:.0f} joins={} leaves={} running_max={} pages_used_max={} pages_reused={} "
      "prompt_tokens={} shared_tokens={} reused_tokens={}",
      stats.steps, stats.sampled_tokens, stats.tokens_per_second(), stats.joins, stats.leaves, stats.running_max, stats.pages_used_max,
      stats.pages_reused, stats.prompt_tokens, stats.shared_tokens, stats.reused_tokens);
  CANDOR_TRY(engine_status);
  return link_status;
}

}  // namespace candor
