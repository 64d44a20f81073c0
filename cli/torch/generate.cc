// `candor generate MODEL "question"`: an answer with its confidence; `--prompts F.jsonl` answers a file, one JSON line each.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/torch/commands.h"
#include "cli/torch/speaker.h"
#include "core/clock.h"
#include "core/log.h"
#include "rollout/engine.h"

namespace candor::cli {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateArguments {
  SpeakerOptions speaker;
  std::string question, prompts, system;
  int64_t samples = 0;  // 0: one greedy answer
  uint64_t seed = 1;
  double temperature = -1.0;  // < 0: greedy for a single answer, else 1
  double abstain_below = 0.0;
  bool json = false;
  EngineOptions engine;
  SamplingOptions sampling{.max_new_tokens = kDefaultBudget};
};

constexpr char kGenerateExamples[] = R"(Examples:
  candor generate runs/cities "Which country is the city of Lyon in?"   a run's policy, with its trained confidence
  candor generate MODEL "What is the capital of France?"               any Hugging Face folder of a llama, qwen2 or qwen3 model
  candor generate MODEL "How many moons has Mars?" --confidence verbal  asks for the answer and a number in tags
  candor generate MODEL "Name a prime number." --samples 5 --seed 7     five sampled answers
  candor generate runs/cities "Where is Xyzzyville?" --abstain-below 0.6  says "I don't know" where it is less sure
  candor generate MODEL --prompts questions.jsonl > answers.jsonl       one JSON line per answer; progress on stderr)";

Json ToJson(const Speaker& speaker, const DataRow& row, const Trace& trace) {
  const ParsedTags parsed = ParseTags(speaker.prompts->format(), trace.text);
  Json line;
  line["id"] = row.id;
  line["sample"] = trace.index;
  line["prompt"] = row.prompt;
  line["text"] = trace.text;
  const bool withheld = Withholds(speaker, trace);
  line["answer"] = withheld ? speaker.abstain_text : parsed.answer;
  if (speaker.abstain_below) line["abstained"] = withheld;
  if (withheld) line["withheld"] = parsed.answer;
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
  if (Withholds(speaker, trace))
    std::printf("%s\n  (abstained: not as sure as %.2f)\n", speaker.abstain_text.c_str(), *speaker.abstain_below);
  else
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
  request.sampling.max_new_tokens = BudgetBehind(speaker, request.prompt_tokens_P.size());
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
  CANDOR_TRY(MakeSpeaker(a.speaker, speaker));
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
  app.Add("MODEL", &a.speaker.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("QUESTION", &a.question, "what to ask");
  app.Add("--prompts", &a.prompts, "a JSONL file (or folder) of prompts; answers go to stdout, one JSON line each");
  app.Add("--confidence", &a.speaker.confidence, "where the confidence comes from (default: as the model was trained)")
      .OneOf({"slot", "verbal", "none"});
  app.Add("--tags", &a.speaker.tags, "tags to ask for, of think, answer, analysis, confidence").SeparatedBy(',');
  const Argument system = app.Add("--system", &a.system, "system prompt (default: instructions made from the tags)");
  app.Add("--few-shot", &a.speaker.few_shot, "JSONL of examples {\"prompt\", \"answer\"} shown before each question");
  app.Add("--samples", &a.samples, "sampled answers per prompt (default: one greedy answer)").Range(0, 65536);
  app.Add("--temperature", &a.temperature, "0 is greedy (default: 0 for one answer, 1 for --samples)").Range(0.0, 10.0);
  app.Add("--top-p", &a.sampling.top_p, "keep the most likely tokens that hold this much probability");
  app.Add("--top-k", &a.sampling.top_k, "keep this many most likely tokens");
  app.Add("--min-p", &a.sampling.min_p, "keep tokens at least this likely relative to the most likely one");
  app.Add("--seed", &a.seed, "of the samples");
  const Argument budget = app.Add("--max-new-tokens", &a.sampling.max_new_tokens,
                                  "tokens of an answer (default: as the run was trained, else 256, or what the model has room for)")
                              .Range(1, 1 << 20);
  app.Add("--stop", &a.speaker.stop, "a text that ends an answer (may be repeated)");
  const Argument abstain =
      app.Add("--abstain-below", &a.abstain_below,
              "answer --abstain-text where the confidence is lower, or missing (candor calibration --risk finds where)")
          .Range(0.0, 1.0);
  app.Add("--abstain-text", &a.speaker.abstain_text, "what an abstaining answer says").Needs(abstain).ShowDefault();
  app.Add("--slot-high", &a.speaker.slot_high, "token that says the answer is right");
  app.Add("--slot-low", &a.speaker.slot_low, "token that says it is wrong");
  app.Add("--device", &a.engine.device, "auto takes a GPU where one can be used").OneOf({"auto", "cpu", "cuda"}).ShowDefault();
  app.Add("--dtype", &a.engine.dtype, "number format").OneOf({"auto", "bf16", "fp32"}).ShowDefault();
  app.Add("--threads", &a.engine.threads, "threads").Range(1, 1024).ShowDefault();
  app.Add("--max-batch", &a.engine.max_batch, "answers written at once").Range(1, 65536).ShowDefault();
  app.Add("--kv-memory-mb", &a.engine.kv_memory_mb, "key-value cache at most").Range(1, 10000000).ShowDefault();
  app.AddFlag("--json", &a.json, "a JSON line for a single question as well");
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (system.Given()) a.speaker.system = a.system;
  if (budget.Given()) a.speaker.max_new_tokens = a.sampling.max_new_tokens;
  if (abstain.Given()) a.speaker.abstain_below = a.abstain_below;
  return ExitWith("generate", Generate(a));
}

}  // namespace candor::cli
