// `candor generate MODEL "question"`: an answer with its confidence; `--prompts F.jsonl` answers a file, one JSON line each.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "cli/torch/trained_format.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/log.h"
#include "model/policy_folder.h"
#include "rollout/engine.h"
#include "text/prompt.h"

namespace candor::cli {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateArguments {
  std::string model, question, prompts, system, few_shot, confidence, slot_high, slot_low;
  std::vector<std::string> tags, stop;
  int64_t samples = 0;  // 0: one greedy answer
  uint64_t seed = 1;
  double temperature = -1.0;  // < 0: greedy for a single answer, else 1
  bool system_given = false, budget_given = false, json = false;
  EngineOptions engine;
  SamplingOptions sampling{.max_new_tokens = 256};
};

constexpr char kGenerateExamples[] = R"(Examples:
  candor generate runs/cities "Which country is the city of Lyon in?"   a run's policy, with its trained confidence
  candor generate MODEL "What is the capital of France?"               any Hugging Face folder of a llama, qwen2 or qwen3 model
  candor generate MODEL "How many moons has Mars?" --confidence verbal  asks for the answer and a number in tags
  candor generate MODEL "Name a prime number." --samples 5 --seed 7     five sampled answers
  candor generate MODEL --prompts questions.jsonl > answers.jsonl       one JSON line per answer; progress on stderr)";

// Everything between a question and its text: what must outlive the episodes.
struct Speaker {
  std::string folder;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<PromptBuilder> prompts;
  std::shared_ptr<const TurnFormat> format;
  std::optional<ConfidenceSpec::Recalibration> recalibration;
  std::vector<DataRow> examples;
  std::vector<std::string> stop;
  int64_t budget = 0;     // new tokens of an answer
  int64_t positions = 0;  // that the model has; 0: no limit
};

// Left for the slot and its prefix where the budget is cut to what the model can hold.
constexpr int64_t kSlotReserve = 16;

// The format: of the run's recipe, else plain text; then what the command line says.
Result<FormatOptions> FormatOf(const GenerateArguments& a, const std::optional<Recipe>& recipe, const std::optional<ConfidenceSpec>& spec) {
  FormatOptions format;
  format.tags = {}, format.confidence = "none", format.system_prompt = "";
  if (recipe) {
    format = recipe->format;
  } else if (spec && a.confidence.empty()) {
    format = FormatOfSpec(*spec);
  }
  if (!a.confidence.empty()) {
    format.confidence = a.confidence;
    if (a.confidence != "none" && format.tags.empty()) format.tags = {"answer", "confidence"}, format.system_prompt = "auto";
  }
  if (!a.tags.empty()) format.tags = a.tags, format.system_prompt = "auto";
  if (a.system_given) format.system_prompt = a.system;
  if (spec && format.slot_high.empty()) format.slot_high = spec->high_token, format.slot_low = spec->low_token;
  if (!a.slot_high.empty()) format.slot_high = a.slot_high;
  if (!a.slot_low.empty()) format.slot_low = a.slot_low;
  if (format.confidence == "slot" && (format.slot_high.empty() || format.slot_low.empty()))
    return Fail(ErrorCode::kInvalidInput, "this model has no confidence slot: there is no confidence.json", a.model,
                "use --confidence verbal, or name --slot-high and --slot-low");
  return format;
}

Status MakeSpeaker(const GenerateArguments& a, Speaker& speaker) {
  CANDOR_ASSIGN(speaker.folder, ModelFolderOf(a.model));
  CANDOR_ASSIGN(const std::optional<ConfidenceSpec> spec, ReadConfidenceSpec(speaker.folder));
  if (spec) speaker.recalibration = spec->recalibration;
  std::optional<Recipe> recipe;  // of a run: its answers are as long here as they were in training, and end where they ended
  if (FileExists(RunDir{a.model}.Resolved())) {
    CANDOR_ASSIGN(recipe, LoadResolvedRecipe(a.model));
  }
  CANDOR_ASSIGN(const FormatOptions format, FormatOf(a, recipe, spec));
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(speaker.folder));
  speaker.positions = config.max_positions;
  speaker.budget = recipe && !a.budget_given ? recipe->rollout.sampling.max_new_tokens : a.sampling.max_new_tokens;
  speaker.stop = a.stop.empty() && recipe ? recipe->rollout.stop : a.stop;
  CANDOR_ASSIGN(speaker.tokenizer, Tokenizer::Load(speaker.folder));
  CANDOR_ASSIGN(speaker.chat_template, ChatTemplate::Load(speaker.folder));
  if (speaker.chat_template->is_default()) std::fprintf(stderr, "candor: %s\n", speaker.chat_template->note().c_str());
  CANDOR_ASSIGN(speaker.prompts, PromptBuilder::Make(&*speaker.tokenizer, &*speaker.chat_template, format));
  const TagFormat& tags = speaker.prompts->format();
  const bool slot = tags.confidence == ConfidenceSource::kSlot;
  CANDOR_ASSIGN(speaker.format, MakeTurnFormat(*speaker.tokenizer, tags, speaker.prompts->stop_ids(), speaker.stop,
                                               slot ? std::optional<SlotTokens>(speaker.prompts->slot()) : std::nullopt));
  if (!a.few_shot.empty()) {
    CANDOR_ASSIGN(DataSet examples, ReadDataSet(a.few_shot, {}, {}));
    for (DataRow& row : examples.rows) {
      if (!row.has_completion && row.answers.empty())
        return Fail(ErrorCode::kInvalidInput, "an example needs an answer or a completion", row.where);
      if (!row.has_completion) row.completion = tags.Has(PolicyTag::kAnswer) ? "<answer>" + row.answers[0] + "</answer>" : row.answers[0];
      speaker.examples.push_back(std::move(row));
    }
  }
  return {};
}

// The row with the examples as earlier turns.
Result<PromptText> BuildPrompt(const Speaker& speaker, const DataRow& row) {
  if (speaker.examples.empty()) return speaker.prompts->Build(row);
  Json messages = Json::array();
  for (const DataRow& example : speaker.examples) {
    messages.push_back({{"role", "user"}, {"content", example.prompt}});
    messages.push_back({{"role", "assistant"}, {"content", example.completion}});
  }
  if (row.messages_json.empty())
    messages.push_back({{"role", "user"}, {"content", row.prompt}});
  else
    for (const Json& message : Json::parse(row.messages_json)) messages.push_back(message);
  DataRow with_examples = row;
  with_examples.messages_json = messages.dump();
  return speaker.prompts->Build(with_examples);
}

// The confidence that the format asks for, recalibrated as the model's confidence.json says.
std::optional<double> ConfidenceOf(const Speaker& speaker, const Trace& trace) {
  const ConfidenceSource source = speaker.prompts->format().confidence;
  const auto at = trace.signals.find(source == ConfidenceSource::kSlot ? "slot" : source == ConfidenceSource::kVerbal ? "verbal" : "");
  if (at == trace.signals.end()) return std::nullopt;
  if (source != ConfidenceSource::kSlot || !speaker.recalibration) return at->second;
  const double logit = std::log(at->second) - std::log1p(-at->second);
  return 1.0 / (1.0 + std::exp(-(speaker.recalibration->a * logit + speaker.recalibration->b)));
}

Json ToJson(const Speaker& speaker, const DataRow& row, const Trace& trace) {
  const ParsedTags parsed = ParseTags(speaker.prompts->format(), trace.text);
  Json line;
  line["id"] = row.id;
  line["sample"] = trace.index;
  line["prompt"] = row.prompt;
  line["text"] = trace.text;
  line["answer"] = parsed.answer;
  const std::optional<double> confidence = ConfidenceOf(speaker, trace);
  line["confidence"] = confidence ? Json(*confidence) : Json(nullptr);
  line["format_ok"] = parsed.valid;
  if (!parsed.valid) line["format_error"] = parsed.error;
  line["signals"] = trace.signals;
  line["tokens"] = trace.tokens_T.size();
  line["finish"] = Name(trace.finish);
  return line;
}

std::string Bar(double p) {
  std::string bar;
  for (int i = 0; i < 20; ++i) bar += p * 20 > i + 0.5 ? "█" : "·";
  return bar;
}

void PrintNicely(const Speaker& speaker, const Trace& trace) {
  const ParsedTags parsed = ParseTags(speaker.prompts->format(), trace.text);
  const bool tagged = !speaker.prompts->format().tags.empty();
  std::printf("%s\n", parsed.valid || !tagged ? parsed.answer.c_str() : trace.text.c_str());
  if (!parsed.valid) std::printf("  (not in the format asked for: %s)\n", parsed.error.c_str());
  if (trace.finish == FinishReason::kLength) std::printf("  (cut off: --max-new-tokens reached)\n");
  if (const auto confidence = ConfidenceOf(speaker, trace))
    std::printf("  confidence     %.2f  %s\n", *confidence, Bar(*confidence).c_str());
  const auto show = [&](const char* signal, const char* label, const char* meaning) {
    if (const auto at = trace.signals.find(signal); at != trace.signals.end())
      std::printf("  %-14s %.2f  %s\n", label, at->second, meaning);
  };
  show("answer_span", "token prob.", "geometric mean over the answer's tokens; not calibrated");
  show("answer_prob", "answer prob.", "of exactly these tokens");
  show("mean_log_prob", "mean log-prob.", "nats per token of the whole reply");
}

class Progress {
 public:
  explicit Progress(size_t total) : total_(total), terminal_(::isatty(STDERR_FILENO) != 0) {}
  void Show(size_t done, const EngineStats& stats, bool last) {
    const int64_t now = clock_.SteadyMs();
    if (!last && now - shown_ms_ < (terminal_ ? 500 : 10000)) return;
    shown_ms_ = now;
    const double seconds = static_cast<double>(now - start_ms_) / 1000.0;
    const double left = done > 0 ? seconds / static_cast<double>(done) * static_cast<double>(total_ - done) : 0.0;
    std::fprintf(stderr, "%s%zu/%zu prompts  %.0f tokens/s", terminal_ ? "\r\033[K" : "", done, total_,
                 static_cast<double>(stats.sampled_tokens) / std::max(seconds, 1e-3));
    if (done > 0 && !last) std::fprintf(stderr, "  about %.0f s left", left);
    std::fprintf(stderr, "%s", terminal_ && !last ? "" : "\n");
  }

 private:
  size_t total_;
  bool terminal_;
  SystemClock clock_;
  int64_t start_ms_ = clock_.SteadyMs(), shown_ms_ = start_ms_;
};

EngineRequest MakeRequest(const GenerateArguments& a, const Speaker& speaker, size_t index, PromptText prompt) {
  EngineRequest request;
  request.id = GroupId{index};
  request.prompt_tokens_P = std::move(prompt.ids_P);
  request.sampling = a.sampling;
  request.sampling.max_new_tokens = speaker.budget;
  const int64_t room = speaker.positions - static_cast<int64_t>(request.prompt_tokens_P.size()) - kSlotReserve;
  if (!a.budget_given && speaker.positions > 0) request.sampling.max_new_tokens = std::max<int64_t>(1, std::min(speaker.budget, room));
  const bool greedy = a.temperature < 0 ? a.samples == 0 : a.temperature == 0;
  request.sampling.temperature = greedy ? 0.0 : a.temperature < 0 ? 1.0 : a.temperature;
  request.traces = static_cast<int32_t>(std::max<int64_t>(1, a.samples));
  request.seed = a.seed;
  request.episode = SingleTurn(speaker.format);
  return request;
}

Status Generate(const GenerateArguments& a) {
  const bool file = !a.prompts.empty();
  if (file == !a.question.empty())
    return Fail(ErrorCode::kInvalidInput, file ? "both a question and --prompts were given" : "there is no question", "",
                "candor generate MODEL \"question\", or --prompts F.jsonl");
  CANDOR_TRY(CheckSamplingOptions(a.sampling));
  DataSet rows;
  if (file) {
    CANDOR_ASSIGN(rows, ReadDataSet(a.prompts, {}, {}));
  } else {
    rows.rows.emplace_back();
    rows.rows[0].prompt = a.question;
    rows.rows[0].id = "question";
  }
  Speaker speaker;
  CANDOR_TRY(MakeSpeaker(a, speaker));
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(a.engine));
  CANDOR_TRY(engine->Load(PolicyVersion{0}, speaker.folder));
  Progress progress(rows.rows.size());
  size_t next = 0, done = 0;
  while (done < rows.rows.size()) {
    // A few more than run at once: enough to keep the batch full, few enough to begin at once.
    for (; next < rows.rows.size() && engine->open_traces() < 2 * a.engine.max_batch; ++next) {
      auto prompt = BuildPrompt(speaker, rows.rows[next]);
      if (!prompt) return Fail(prompt.error());
      if (Status submitted = engine->Submit(MakeRequest(a, speaker, next, std::move(*prompt))); !submitted) {
        Error error = submitted.error();
        error.what = error.what.substr(error.what.starts_with("group ") ? error.what.find(": ") + 2 : 0);  // one prompt is one group here
        if (!rows.rows[next].where.empty()) error.where = rows.rows[next].where;
        return Fail(std::move(error));
      }
    }
    CANDOR_TRY(engine->Step());
    for (const TraceGroup& group : engine->TakeFinished()) {
      const DataRow& row = rows.rows[group.id.value];
      for (const Trace& trace : group.traces_G) {
        if (!file && !a.json)
          PrintNicely(speaker, trace);
        else
          std::printf("%s\n", ToJson(speaker, row, trace).dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
      }
      std::fflush(stdout);
      ++done;
    }
    if (file) progress.Show(done, engine->stats(), done == rows.rows.size());
  }
  const EngineStats stats = engine->stats();
  if (!file && !a.json)
    std::fprintf(stderr, "  %lu tokens, %.0f tokens/s, %s on %s\n", static_cast<unsigned long>(stats.sampled_tokens),
                 stats.tokens_per_second(), engine->dtype(), engine->device().c_str());
  return {};
}

}  // namespace

int RunGenerate(int argc, const char* const* argv) {
  GenerateArguments a;
  CommandLine app{"Answers a question with a model, and says how confident it is.", "candor generate"};
  app.AddFooter(kGenerateExamples);
  app.Add("MODEL", &a.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("QUESTION", &a.question, "what to ask");
  app.Add("--prompts", &a.prompts, "a JSONL file (or folder) of prompts; answers go to stdout, one JSON line each");
  app.Add("--confidence", &a.confidence, "where the confidence comes from (default: as the model was trained)")
      .OneOf({"slot", "verbal", "none"});
  app.Add("--tags", &a.tags, "tags to ask for, of think, answer, analysis, confidence").SeparatedBy(',');
  const Argument system = app.Add("--system", &a.system, "system prompt (default: instructions made from the tags)");
  app.Add("--few-shot", &a.few_shot, "JSONL of examples {\"prompt\", \"answer\"} shown before each question");
  app.Add("--samples", &a.samples, "sampled answers per prompt (default: one greedy answer)").Range(0, 65536);
  app.Add("--temperature", &a.temperature, "0 is greedy (default: 0 for one answer, 1 for --samples)").Range(0.0, 10.0);
  app.Add("--top-p", &a.sampling.top_p, "keep the most likely tokens that hold this much probability");
  app.Add("--top-k", &a.sampling.top_k, "keep this many most likely tokens");
  app.Add("--min-p", &a.sampling.min_p, "keep tokens at least this likely relative to the most likely one");
  app.Add("--seed", &a.seed, "of the samples");
  const Argument budget = app.Add("--max-new-tokens", &a.sampling.max_new_tokens,
                                  "tokens of an answer (default: as the run was trained, else 256, or what the model has room for)")
                              .Range(1, 1 << 20);
  app.Add("--stop", &a.stop, "a text that ends an answer (may be repeated)");
  app.Add("--slot-high", &a.slot_high, "token that says the answer is right");
  app.Add("--slot-low", &a.slot_low, "token that says it is wrong");
  app.Add("--device", &a.engine.device, "auto takes a GPU where one can be used").OneOf({"auto", "cpu", "cuda"}).ShowDefault();
  app.Add("--dtype", &a.engine.dtype, "number format").OneOf({"auto", "bf16", "fp32"}).ShowDefault();
  app.Add("--threads", &a.engine.threads, "threads").Range(1, 1024).ShowDefault();
  app.Add("--max-batch", &a.engine.max_batch, "answers written at once").Range(1, 65536).ShowDefault();
  app.Add("--kv-memory-mb", &a.engine.kv_memory_mb, "key-value cache at most").Range(1, 10000000).ShowDefault();
  app.AddFlag("--json", &a.json, "a JSON line for a single question as well");
  if (const auto code = app.Parse(argc, argv)) return *code;
  a.system_given = system.Given();
  a.budget_given = budget.Given();
  return ExitWith("generate", Generate(a));
}

}  // namespace candor::cli
