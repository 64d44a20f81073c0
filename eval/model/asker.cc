#include "eval/model/asker.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "reward/verifiers/verifier.h"
#include "rollout/engine.h"
#include "text/chat_template.h"
#include "text/prompt.h"
#include "text/tags.h"
#include "text/tokenizer.h"

namespace candor {

struct Asker::Impl {
  AskOptions options;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<PromptBuilder> prompts;
  std::shared_ptr<const TurnFormat> turn;  // shared with the episodes of every group
  std::unique_ptr<Verifier> verifier;
  std::unique_ptr<Engine> engine;
  std::string signal;

  AnswerRow Grade(const AskSet& set, const DataRow& row, const Trace& trace) const;
  Status SubmitRow(const AskSet& set, int64_t row);
};

Asker::Asker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Asker::~Asker() = default;

Result<std::unique_ptr<Asker>> Asker::Load(const std::string& model_folder, const AskOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  CANDOR_ASSIGN(impl->tokenizer, Tokenizer::Load(model_folder));
  CANDOR_ASSIGN(impl->chat_template, ChatTemplate::Load(model_folder));
  CANDOR_ASSIGN(impl->prompts, PromptBuilder::Make(&*impl->tokenizer, &*impl->chat_template, options.format));
  std::optional<SlotTokens> slot;
  const ConfidenceSource source = impl->prompts->format().confidence;
  if (source == ConfidenceSource::kSlot) {
    CANDOR_ASSIGN(slot, FindSlotTokens(*impl->tokenizer, options.format));
  }
  CANDOR_ASSIGN(impl->turn, MakeTurnFormat(*impl->tokenizer, impl->prompts->format(), impl->prompts->stop_ids(), options.stop, slot));
  CANDOR_ASSIGN(impl->verifier, MakeVerifiers(options.reward));
  CANDOR_ASSIGN(impl->engine, Engine::Create(options.engine));
  CANDOR_TRY(impl->engine->Load(PolicyVersion{0}, model_folder));
  impl->signal = !options.signal.empty()               ? options.signal
                 : source == ConfidenceSource::kSlot   ? "slot"
                 : source == ConfidenceSource::kVerbal ? "verbal"
                                                       : "answer_span";
  return std::unique_ptr<Asker>(new Asker(std::move(impl)));
}

namespace {

// What phrasings of one question share; "" where the row has none.
Result<std::string> ParaphraseOf(const DataRow& row) {
  constexpr const char* kField = "paraphrase_of";
  if (row.json.find(kField) == std::string::npos) return std::string();
  const nlohmann::json line = nlohmann::json::parse(row.json, nullptr, false);
  if (!line.is_object() || !line.contains(kField) || line[kField].is_null()) return std::string();
  if (!line[kField].is_string())
    return Fail(ErrorCode::kInvalidInput, "field \"paraphrase_of\" is no text", row.where,
                "give all phrasings of one question the same name, such as \"q17\"");
  return line[kField].get<std::string>();
}

}  // namespace

AnswerRow Asker::Impl::Grade(const AskSet& set, const DataRow& row, const Trace& trace) const {
  const ParsedTags parsed = ParseTags(prompts->format(), trace.text);
  GradeRequest request{fmt::format("{}/{}", row.id, trace.index), row.prompt, trace.text, parsed.answer, parsed.valid, &row, true};
  const Verdict verdict = verifier->Grade(request);
  AnswerRow answer;
  answer.dataset = set.name, answer.role = set.role, answer.prompt = row.id;
  answer.paraphrase_of = ParaphraseOf(row).value_or("");  // SubmitRow has refused a bad one
  answer.greedy = trace.greedy, answer.sample = trace.index;
  answer.question = row.prompt, answer.text = trace.text, answer.answer = parsed.answer, answer.accepted = row.answers;
  answer.label = verdict.label, answer.format_error = parsed.valid ? "" : parsed.error;
  answer.signals = trace.signals, answer.slices = row.slices;
  if (parsed.confidence) answer.signals["verbal"] = parsed.confidence->value();
  if (auto found = answer.signals.find(signal); found != answer.signals.end() && parsed.valid)
    if (auto confidence = Confidence::From(found->second)) answer.confidence = confidence->value();
  return answer;
}

Status Asker::Impl::SubmitRow(const AskSet& set, int64_t row) {
  CANDOR_TRY(ParaphraseOf(set.rows.rows[static_cast<size_t>(row)]));
  EngineRequest request;
  request.id = GroupId{static_cast<uint64_t>(row)};
  request.prompt = {set.name, static_cast<uint32_t>(row)};
  CANDOR_ASSIGN(PromptText prompt, prompts->Build(set.rows.rows[static_cast<size_t>(row)]));
  request.prompt_tokens_P = std::move(prompt.ids_P);
  request.traces = static_cast<int32_t>(set.samples);
  request.greedy_traces = set.greedy ? 1 : 0;
  request.sampling = options.sampling;
  request.seed = options.seed;
  request.episode = SingleTurn(turn);
  return engine->Submit(std::move(request));
}

Status Asker::AskEach(const AskSet& set, const std::function<void(const AskProgress&)>& progress, const TakeRow& take) {
  Engine& engine = *impl_->engine;
  const int64_t total = static_cast<int64_t>(set.rows.rows.size());
  std::map<size_t, std::vector<AnswerRow>> waiting;  // answered, behind a row that is not
  int64_t submitted = set.first_row, done = set.first_row;
  auto next = static_cast<size_t>(set.first_row);
  auto last_shown = std::chrono::steady_clock::now();
  while (done < total) {
    while (submitted < total && engine.open_traces() < 2 * impl_->options.engine.max_batch)  // enough to keep every place taken
      CANDOR_TRY(impl_->SubmitRow(set, submitted++));
    CANDOR_TRY(engine.Step());
    for (TraceGroup& group : engine.TakeFinished()) {
      const DataRow& row = set.rows.rows[group.prompt.row];
      std::vector<AnswerRow>& answers = waiting[group.prompt.row];
      for (const Trace& trace : group.traces_G) answers.push_back(impl_->Grade(set, row, trace));
      std::stable_sort(answers.begin(), answers.end(), [](const AnswerRow& a, const AnswerRow& b) { return a.greedy > b.greedy; });
      ++done;
    }
    for (auto ready = waiting.find(next); ready != waiting.end(); ready = waiting.find(++next)) {
      CANDOR_TRY(take(next, std::move(ready->second)));
      waiting.erase(ready);
    }
    const auto now = std::chrono::steady_clock::now();
    if (progress && (done == total || now - last_shown > std::chrono::milliseconds(500))) {
      last_shown = now;
      progress({done, total, engine.stats().tokens_per_second()});
    }
  }
  return {};
}

Result<std::vector<AnswerRow>> Asker::Ask(const AskSet& set, const std::function<void(const AskProgress&)>& progress) {
  std::vector<AnswerRow> all;
  CANDOR_TRY(AskEach(set, progress, [&](size_t, std::vector<AnswerRow> answers) -> Status {
    for (AnswerRow& answer : answers) all.push_back(std::move(answer));
    return {};
  }));
  return all;
}

}  // namespace candor
