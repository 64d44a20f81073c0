// `candor serve MODEL`: the engine behind an OpenAI-compatible HTTP endpoint, until Ctrl-C.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "cli/command_line.h"
#include "cli/stop_signals.h"
#include "cli/torch/commands.h"
#include "cli/torch/speaker.h"
#include "core/clock.h"
#include "core/secret.h"
#include "serve/http_api.h"

namespace candor::cli {
namespace {

constexpr const char* kServeExamples =
    R"(The base URL that it prints is what an OpenAI client takes: /v1/chat/completions, /v1/completions and /v1/models, with n, stop, seed,
temperature, top_p, max_tokens, logprobs and stream. Where the model was trained to say how sure it is, each choice has "confidence".

Examples:
  candor serve runs/cities                                     a run's policy on http://127.0.0.1:8000/v1
  candor serve runs/cities --abstain-below 0.6                 says "I don't know" where it is less sure
  candor serve MODEL --port 0 --name judge                     any free port; clients say "model": "judge"
  candor serve MODEL --host 0.0.0.0 --api-key-file key.txt     for other machines, who send Authorization: Bearer
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \
       -d '{"messages": [{"role": "user", "content": "Which country is the city of Lyon in?"}]}')";

struct ServeArguments {
  SpeakerOptions speaker;
  std::string system, name, key_file, key_env;
  double abstain_below = 0.0;
  EngineOptions engine;
  ApiOptions api;
  int64_t max_new_tokens = kDefaultBudget, port = 8000, connections = 64, requests = 256, body_mb = 4;
};

// The last part of the path: a run's name, or a model's.
std::string NameOf(const std::string& model) {
  std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  const std::string name = path.filename().string();
  return name.empty() || name == "." ? "candor" : name;
}

ServedModel Describe(const ServeArguments& a, const Speaker& speaker) {
  ServedModel model;
  model.name = a.name.empty() ? NameOf(a.speaker.model) : a.name;
  model.created_unix_s = SystemClock().WallMs() / 1000;
  model.tokenizer = &*speaker.tokenizer;
  model.tags = speaker.prompts->format();
  model.end_ids = speaker.prompts->stop_ids();
  model.positions = speaker.positions;
  model.chat_prompt = [&speaker](const std::string& messages_json) -> Result<std::vector<int32_t>> {
    DataRow row;
    row.messages_json = messages_json;
    CANDOR_ASSIGN(PromptText prompt, BuildPrompt(speaker, row));
    return std::move(prompt.ids_P);
  };
  model.format = [&speaker](const std::vector<std::string>& stop) { return FormatWithStops(speaker, stop); };
  model.confidence = [&speaker](const Trace& trace) { return ConfidenceOf(speaker, trace); };
  if (speaker.abstain_below) model.withholds = [&speaker](const Trace& trace) { return Withholds(speaker, trace); };
  model.abstain_text = speaker.abstain_text;
  model.budget = [&speaker](size_t prompt_tokens) { return BudgetBehind(speaker, prompt_tokens); };
  return model;
}

Status Serve(ServeArguments a) {
  CANDOR_ASSIGN(a.api.token, ReadSecret(a.key_file, a.key_env));
  a.api.port = static_cast<int>(a.port), a.api.connections = static_cast<int>(a.connections);
  a.api.body_bytes_max = static_cast<size_t>(a.body_mb) << 20;
  const CatchStopSignals signals;
  Speaker speaker;
  CANDOR_TRY(MakeSpeaker(a.speaker, speaker));
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(a.engine));
  CANDOR_TRY(engine->Load(PolicyVersion{0}, speaker.folder));
  const ServedModel model = Describe(a, speaker);
  std::random_device random;
  EngineLoop loop(*engine, static_cast<size_t>(a.requests), static_cast<uint64_t>(random()) << 32 | random());
  CANDOR_ASSIGN(const std::unique_ptr<ApiServer> server, ApiServer::Start(a.api, model, loop));
  std::printf("%s/v1 serves %s (%s on %s)\n", server->url().c_str(), model.name.c_str(), engine->dtype(), engine->device().c_str());
  std::fflush(stdout);
  while (CatchStopSignals::Caught() == 0 && !loop.state().broken) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const bool broken = loop.state().broken;
  loop.Stop();  // open requests end with an error, so that the server's threads come free
  if (broken) return Fail(ErrorCode::kInternal, "the engine broke, and the requests that were open have been told why");
  return {};
}

}  // namespace

int RunServe(int argc, const char* const* argv) {
  ServeArguments a;
  CommandLine app{"Serves a model over HTTP as OpenAI's API does, with its confidence.", "candor serve"};
  app.AddFooter(kServeExamples);
  app.Add("MODEL", &a.speaker.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("--host", &a.api.host, "address to listen on; one that others reach needs a token").ShowDefault();
  app.Add("--port", &a.port, "0 takes any free one").Range(0, 65535).ShowDefault();
  app.Add("--name", &a.name, "what clients call the model (default: the folder's name)");
  const Argument key_file = app.Add("--api-key-file", &a.key_file, "file with the token that clients must send").ExistingFile();
  app.Add("--api-key-env", &a.key_env, "environment variable with that token").Excludes(key_file);
  app.Add("--confidence", &a.speaker.confidence, "where the confidence comes from (default: as the model was trained)")
      .OneOf({"slot", "verbal", "none"});
  app.Add("--tags", &a.speaker.tags, "tags to ask for, of think, answer, analysis, confidence").SeparatedBy(',');
  const Argument system = app.Add("--system", &a.system, "system prompt (default: instructions made from the tags)");
  app.Add("--few-shot", &a.speaker.few_shot, "JSONL of examples {\"prompt\", \"answer\"} shown before each chat");
  app.Add("--stop", &a.speaker.stop, "a text that ends every reply and stays in it (may be repeated)");
  const Argument budget =
      app.Add("--max-new-tokens", &a.max_new_tokens, "tokens of a chat's reply where the request names no max_tokens").Range(1, 1 << 20);
  app.Add("--slot-high", &a.speaker.slot_high, "token that says the answer is right");
  app.Add("--slot-low", &a.speaker.slot_low, "token that says it is wrong");
  const Argument abstain =
      app.Add("--abstain-below", &a.abstain_below,
              "reply with --abstain-text where the confidence is lower, or missing; streams then wait for the end of a reply")
          .Range(0.0, 1.0);
  app.Add("--abstain-text", &a.speaker.abstain_text, "what an abstaining reply says").Needs(abstain).ShowDefault();
  app.Add("--connections", &a.connections, "connections served at a time").Range(1, 4096).ShowDefault();
  app.Add("--max-requests", &a.requests, "open requests at most; beyond it clients get 429").Range(1, 1000000).ShowDefault();
  app.Add("--max-body-mb", &a.body_mb, "largest request").Range(1, 1024).ShowDefault();
  app.Add("--device", &a.engine.device, "auto takes a GPU where one can be used").OneOf({"auto", "cpu", "cuda"}).ShowDefault();
  app.Add("--dtype", &a.engine.dtype, "number format").OneOf({"auto", "bf16", "fp32"}).ShowDefault();
  app.Add("--threads", &a.engine.threads, "threads").Range(1, 1024).ShowDefault();
  app.Add("--max-batch", &a.engine.max_batch, "replies written at once").Range(1, 65536).ShowDefault();
  app.Add("--kv-memory-mb", &a.engine.kv_memory_mb, "key-value cache at most").Range(1, 10000000).ShowDefault();
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (system.Given()) a.speaker.system = a.system;
  if (budget.Given()) a.speaker.max_new_tokens = a.max_new_tokens;
  if (abstain.Given()) a.speaker.abstain_below = a.abstain_below;
  return ExitWith("serve", Serve(std::move(a)));
}

}  // namespace candor::cli
