// Files that a run, a command or another program left: heads of a reward model, stored baselines, answers, chances, a sweep's sheet, done
// records, lists of Slurm jobs, what Slurm prints, status replies, a tokenizer's configuration, addresses.
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/hang_watch.h"
#include "cli/slurm_client.h"
#include "cli/slurm_plan.h"
#include "cli/sweep_points.h"
#include "core/fs.h"
#include "core/signed_record.h"
#include "eval/answers.h"
#include "eval/baseline_file.h"
#include "eval/sweep.h"
#include "eval/truth.h"
#include "reward/group_channels.h"
#include "reward/reward_heads.h"
#include "reward/verifiers/choice.h"
#include "tests/fuzz/targets.h"
#include "text/chat_template.h"
#include "text/rows.h"
#include "text/tokenizer.h"
#include "weights/tcp_socket.h"

namespace candor::fuzz {

namespace {

using Json = nlohmann::json;

void Refused(const Error& error) { Promise(!error.what.empty(), "a refusal says why"); }

void RunRewardHeads(std::string_view bytes) {
  const Result<RewardHeads> heads = ParseRewardHeads(std::string(bytes), "heads.json");
  if (!heads) return Refused(heads.error());
  const std::vector<float> features(heads->feature_mean.size(), 0.5f);
  (void)Robust(heads->Read(features));
  Promise(ParseRewardHeads(ToJson(*heads), "again").has_value(), "heads can be written and read again");
}
std::vector<std::string> RewardHeadSeeds() {
  const RewardHeads heads{{0.0, 1.0}, {1.0, 2.0}, 0.5, 2.0, {{{1.0, -1.0}, {0.0, 0.1}, 0.1, -1.0}, {{0.0, 0.5}, {0.2, 0.0}, 0.3, 0.0}}};
  return {ToJson(heads), ToJson({{0.0}, {1.0}, 0.0, 1.0, {{{1.0}, {1.0}, 0.0, 0.0}}})};
}

constexpr const char* kRow = R"({"id": "r0", "prompt": "p", "note": {"z": 1, "a": 2}})";
void RunBaselinePart(std::string_view bytes) {
  const std::string path = Folder() + "/baseline.jsonl";
  Write(path + ".part", bytes);
  DataSet rows;
  rows.rows.resize(2);
  for (size_t i = 0; i < 2; ++i) rows.rows[i].json = kRow, rows.rows[i].where = "rows.jsonl:" + std::to_string(i + 1);
  const Result<BaselineFile> file = BaselineFile::Open(path, {"scores", "m k=2"}, rows);
  if (!file) return Refused(file.error());
  Promise(file->done() <= 2 && file->rows_without_scores() <= file->done(), "no more lines than rows");
}
std::vector<std::string> BaselineSeeds() {
  const std::string line = R"({"id": "r0", "prompt": "p", "note": {"z": 1, "a": 2}, "scores": [1.0, 0], "baseline_by": "m k=2"})";
  return {line + "\n" + line + "\n", line + "\n" + line.substr(0, 30),
          R"({"scores": [], "baseline_by": {"a": 1}})"
          "\n",
          "{\"scores\": [], \"baseline_by\": " + DeepJson() + "}\n"};
}

void RunAnswers(std::string_view bytes) {
  const Result<AnswerRow> row = ParseAnswerRow(std::string(bytes), "answers.jsonl:1");
  if (!row) return Refused(row.error());
  if (row->confidence) Promise(0.0 <= *row->confidence && *row->confidence <= 1.0, "a confidence lies in [0, 1]");
  const Result<AnswerRow> again = ParseAnswerRow(ToJsonLine(*row), "again");
  Promise(again && ToJsonLine(*again) == ToJsonLine(*row), "an answer can be written and read again");
}
std::vector<std::string> AnswerSeeds() {
  AnswerRow row;
  row.dataset = "d", row.prompt = "p", row.question = "q", row.accepted = {"a"}, row.slices = {"s"}, row.signals = {{"verbal", 0.5}};
  row.confidence = 0.5, row.label = Label::kCorrect;
  return {ToJsonLine(row), R"({"dataset":"d","prompt":"p","greedy":true,"label":"unknown","confidence":null})"};
}

void RunChances(std::string_view bytes) {
  Write(Folder() + "/chances.jsonl", bytes);
  const Result<KnownChances> chances = ReadChances(Folder() + "/chances.jsonl");
  if (!chances) return Refused(chances.error());
  for (const auto& [id, of_row] : chances->by_row)
    for (const auto& [answer, chance] : of_row) Promise(0.0 <= chance && chance <= 1.0, "a chance lies in [0, 1]");
}
std::vector<std::string> ChanceSeeds() {
  return {"{\"id\": \"row-1\", \"chance\": {\"yes\": 0.7, \"no\": 0.3}}\n\n{\"id\": \"2\", \"chance\": {\"a\": 1}}\n"};
}

// One argument a line.
void RunSweepAxes(std::string_view bytes) {
  std::vector<std::string> arguments;
  for (size_t at = 0; at <= bytes.size() && arguments.size() < 8;) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    arguments.emplace_back(bytes.substr(at, end - at));
    at = end + 1;
  }
  const auto plan = cli::PlanSweep(arguments);
  if (!plan) return Refused(plan.error());
  const auto points = cli::PointsOf(*plan, "runs/s");
  if (!points) return Refused(points.error());
  std::set<std::string> names;
  for (const SweepPoint& point : *points) {
    Promise(IsPlainFileName(point.name) && names.insert(point.name).second, "each point has a folder of its own");
    Promise(point.settings.size() == plan->axes.size(), "a point has a value of every axis");
  }
  Promise(1 < points->size() && points->size() <= cli::kSweepPointsMax, "points are bounded");
}
std::vector<std::string> SweepSeeds() {
  return {"recipes/tiny.toml\ntrainer.lr=5e-4,1e-3\nseed=1,2", "m.toml\nformat.tags=['answer'],['think','answer']\nname=\"a,b\",\"c\"",
          "a=1,2\nb.a=1,2"};
}

void RunSweepSheet(std::string_view bytes) {
  const Json json = Json::parse(bytes, nullptr, false);
  std::vector<SweepPoint> points(1);
  points[0].name = "lr-1";
  ReadSeconds(json, points);
  ReadFigures(json, points[0]);
  MarkPareto(points);
  (void)SweepText(points);
  (void)SweepJson("title", points);
}
std::vector<std::string> SweepSheetSeeds() {
  return {
      R"({"title":"t","points":[{"name":"lr-1","seconds":3.5},{"name":"lr-2","seconds":1}]})",
      R"({"after":{"held_out":{"n":200,"accuracy":0.75,"accuracy_interval":[0.7,0.8],"brier":0.2,"auroc":null}},"before":{"held_out":{"n":1}}})",
      R"({"points":[3,{"name":3,"seconds":"x"}],"after":{"held_out":[]}})",
      R"({"points":{"a":{"name":"lr-1","seconds":null}},"before":{"held_out":{"n":"x"}}})"};
}

const RunKeys& Keys() {
  static const RunKeys keys = *MakeRunKeys();
  return keys;
}
void RunSignedRecord(std::string_view bytes) {
  const std::string path = Folder() + "/done.json";
  Write(path, bytes);
  const Result<std::string> body = ReadSignedRecord(path, "run done", Keys());
  if (!body) return Refused(body.error());
  Promise(*body == R"({"steps":60})", "only what was signed is believed");
}
std::vector<std::string> SignedSeeds() {
  const std::string path = Folder() + "/signed.json";
  Promise(WriteSignedRecord(path, "run done", R"({"steps":60})", Keys()).has_value(), "a record can be signed");
  return {*ReadFile(path), R"({"record":{"steps":60},"mac":"00"})", "{\"mac\":\"\",\"record\":{\"a\":" + DeepJson() + "}}"};
}

void RunSubmitted(std::string_view bytes) {
  const cli::RunDir run{Folder() + "/submitted"};
  std::error_code ignored;
  std::filesystem::create_directories(run.Jobs(), ignored);
  Write(run.Jobs() + "/submitted.json", bytes);
  const auto jobs = cli::ReadSubmitted(run);
  if (!jobs) return Refused(jobs.error());
  for (const cli::SubmittedJob& job : *jobs) (void)job.role.size();
}
std::vector<std::string> SubmittedSeeds() {
  return {R"([{"role":"learners","id":"12","file":"jobs/learners.sbatch"},{"role":"rollouts","id":"13","file":"f"}])",
          R"([{"role":3,"id":null}])"};
}

void RunSinfo(std::string_view bytes) {
  const cli::NodeSize node = cli::LargestNode(std::string(bytes));
  Promise(node.cpus >= 0 && node.gpus >= 0, "counts are not negative");
}
std::vector<std::string> SinfoSeeds() { return {"8 (null)\n96+ gpu:a100:8(S:0-1),mps:1\n", "4 gpu:2\n99999999999999999999 gpu:gpu:\n"}; }

void RunSilences(std::string_view bytes) {
  for (const auto& [name, member] : cli::ReadSilences(std::string(bytes)))
    Promise(member.silent_ms >= 0 && member.joined_ms_ago >= 0, "times are not negative");
}
std::vector<std::string> SilenceSeeds() {
  return {R"({"members":[{"name":"rollout-0","silent_s":0.5,"joined_s":20.25},{"name":"trainer-0"}]})",
          R"({"members":[{"name":"a","silent_s":"long","joined_s":1e308}]})"};
}

// A row as data sets hold it, and what the reward tier reads of its own fields.
void RunRowFields(std::string_view bytes) {
  if (!ParseRow(bytes, "rows.jsonl:1", {}, {})) return;
  if (const auto baseline = ReadBaseline(bytes, "scores")) Promise(!std::isnan(*baseline), "a baseline is a number");
  const auto choices = ReadChoices(std::string(bytes), "choices");
  if (!choices) return Refused(choices.error());
  Promise(choices->texts.size() <= 26, "choices have letters");
  for (const char* text : {"B", "(c) x", "2", ""})
    if (const auto choice = ResolveAcceptedChoice(text, *choices)) Promise(*choice < choices->texts.size(), "a choice is one of them");
}
std::vector<std::string> RowFieldSeeds() {
  return {R"({"prompt": "p", "answer": "B", "choices": ["Paris", "Lyon", 3], "scores": [0.5, 1]})",
          R"({"prompt": "p", "answer": 1, "choices": {"label": ["A", "B"], "text": ["x", {"y": 1}]}, "scores": 0.25})"};
}

constexpr const char* kTokenizer =
    R"({"version":"1.0","added_tokens":[{"id":3,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":null,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";
void RunTokenizerConfig(std::string_view bytes) {
  const std::string folder = Folder() + "/tokenizer";
  std::error_code ignored;
  if (std::filesystem::create_directories(folder, ignored)) Write(folder + "/tokenizer.json", kTokenizer);
  for (const char* name : {"/tokenizer_config.json", "/generation_config.json", "/special_tokens_map.json"}) Write(folder + name, bytes);
  const Result<Tokenizer> tokenizer = Tokenizer::Load(folder);
  if (!tokenizer) Refused(tokenizer.error());
  const Result<ChatTemplate> chat = ChatTemplate::Load(folder);
  if (!chat) return Refused(chat.error());
  (void)chat->Render(std::string_view(R"([{"role":"user","content":"a"}])"));
}
std::vector<std::string> TokenizerConfigSeeds() {
  std::string many = "{\"a\":0";  // in an object that keeps its keys' order, each key would be looked for among all before it
  for (int i = 0; i < 5000; ++i) many += ",\"k" + std::to_string(i) + "\":1";
  return {
      R"({"eos_token":{"content":"<s>"},"bos_token":"a","pad_token":null,"eos_token_id":[3],"chat_template":"{{ messages[0].content }}"})",
      R"({"eos_token_id":1,"chat_template":[{"name":"tool","template":""},{"name":"default","template":"{{ eos_token }}"}]})",
      "{\"eos_token_id\":" + DeepJson() + "}", "{\"chat_template\":[{\"template\":1,\"name\":" + DeepJson() + "}]}", many + "}"};
}

void RunRelay(std::string_view bytes) {
  const Result<HostPort> parsed = ParseEndpoint(std::string(bytes));
  if (!parsed) return Refused(parsed.error());
  Promise(!parsed->host.empty(), "an endpoint has a host");
}
std::vector<std::string> RelaySeeds() { return {"tcp://127.0.0.1:4000", "tcp://[::1]:1", "tcp://host:99999", "ipc:///x"}; }

}  // namespace

std::vector<Target> RecordTargets() {
  return {{"reward_heads", RunRewardHeads, RewardHeadSeeds, 20000},
          {"baseline_part", RunBaselinePart, BaselineSeeds, 2000},
          {"answer_row", RunAnswers, AnswerSeeds, 20000},
          {"known_chances", RunChances, ChanceSeeds, 3000},
          {"sweep_axes", RunSweepAxes, SweepSeeds, 10000},
          {"sweep_sheet", RunSweepSheet, SweepSheetSeeds, 20000},
          {"signed_record", RunSignedRecord, SignedSeeds, 2000},
          {"submitted_jobs", RunSubmitted, SubmittedSeeds, 3000},
          {"slurm_nodes", RunSinfo, SinfoSeeds, 20000},
          {"status_reply", RunSilences, SilenceSeeds, 20000},
          {"row_fields", RunRowFields, RowFieldSeeds, 20000},
          {"tokenizer_config", RunTokenizerConfig, TokenizerConfigSeeds, 600},
          {"relay_endpoint", RunRelay, RelaySeeds, 20000}};
}

}  // namespace candor::fuzz
