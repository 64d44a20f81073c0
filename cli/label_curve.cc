// `candor label-curve RUN_DIR`: label efficiency. RL's evaluations on the way against Platt scaling and a frozen read-out that are fitted
// on as many labelled answers of the policy that RL starts from.
#include "eval/label_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "calibration/ranking.h"
#include "calibration/recalibration.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/frozen_readout.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/fs.h"
#include "eval/select.h"

namespace candor::cli {

namespace {

using nlohmann::json;
using Confidences = std::vector<std::optional<double>>;

constexpr size_t kScaledOf = 5;         // every fifth question scales the read-out that the others fit
constexpr int64_t kMostSamples = 1024;  // of one question, where the training rows are few

struct LabelCurveArguments {
  std::string folder, eval, html;
  int64_t points = 6;
  bool json = false, quiet = false;
};

std::vector<MetricsOfStep> ReadMetricLines(const std::string& path) {
  std::vector<MetricsOfStep> lines;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    const json object = json::parse(text, nullptr, false);
    if (!object.is_object()) continue;
    MetricsOfStep& line = lines.emplace_back();
    for (const auto& [key, value] : object.items())
      if (value.is_number()) line[key] = value.get<double>();
  }
  return lines;
}

// The policy that eval/before.jsonl was answered by: what the stages before RL made, short of the slot's warm-up.
Result<std::string> PolicyBefore(const RunDir& run, const Recipe& asked) {
  std::string model = asked.run.model;
  if (!FileExists(run.Stages())) return model;
  CANDOR_ASSIGN(const std::string text, ReadFile(run.Stages()));
  const json stages = json::parse(text, nullptr, false);
  if (!stages.is_array()) return Fail(ErrorCode::kInvalidInput, "not a JSON list", run.Stages(), "candor run writes it");
  for (const json& stage : stages)
    if (const std::string folder = stage.value("folder", "") + "/model"; stage.value("stage", "") == "sft") model = folder;
  if (!FileExists(model + "/config.json"))
    return Fail(ErrorCode::kNotFound, "the policy that RL started from is gone", model,
                "the stage cache was emptied: run the recipe again");
  return model;
}

// Answers in the order in which labels are spent: question by question.
struct LabelledAnswers {
  std::vector<AnswerRow> rows;
  std::vector<size_t> question;  // of each row, counted from 0
};

LabelledAnswers KnownAnswers(const std::vector<AnswerRow>& answers) {
  LabelledAnswers known;
  std::map<std::string, size_t> number;
  for (const AnswerRow& row : answers) {
    if (row.label == Label::kUnknown) continue;
    known.question.push_back(number.try_emplace(row.prompt, number.size()).first->second);
    known.rows.push_back(row);
  }
  return known;
}

std::vector<AnswerRow> FirstRows(const LabelledAnswers& labelled, size_t count) {
  return {labelled.rows.begin(), labelled.rows.begin() + static_cast<std::ptrdiff_t>(std::min(count, labelled.rows.size()))};
}

Confidences Scaled(const std::vector<AnswerRow>& fitted_on, const Confidences& stated, const Confidences& applied_to) {
  const auto platt = calibration::FitRecalibrator(calibration::RecalibratorKind::kPlatt, calibration::PointsOf(ToRows(fitted_on, stated)));
  Confidences scaled(applied_to.size());
  for (size_t i = 0; i < scaled.size(); ++i)
    if (platt && applied_to[i]) scaled[i] = platt->Apply(*applied_to[i]);
  return scaled;
}

LabelPoint PointOf(int64_t labels, const std::vector<AnswerRow>& answers, const Confidences& confidences) {
  const calibration::Points points = calibration::PointsOf(ToRows(answers, confidences));
  LabelPoint point{-1, labels, static_cast<double>(points.size()), NAN, NAN, NAN};
  if (points.empty()) return point;
  double right = 0, squares = 0;
  for (const calibration::Point& p : points) right += p.y, squares += (p.p - p.y) * (p.p - p.y);
  point.accuracy = right / point.n, point.brier = squares / point.n, point.auroc = calibration::Auroc(points);
  return point;
}

class LabelCurves {
 public:
  explicit LabelCurves(LabelCurveArguments arguments) : arguments_(std::move(arguments)), run_{arguments_.folder} {}
  Status Run();

 private:
  Status ReadRun();
  Status Label(int64_t labels);
  Result<Confidences> Readout(size_t labels);

  LabelCurveArguments arguments_;
  RunDir run_;
  Recipe recipe_;
  FrozenPolicy policy_;
  std::string work_;                 // RUN_DIR/label-curve
  std::vector<LabelPoint> rl_;       // all of the run's evaluations
  LabelledAnswers labelled_;         // of the policy before RL, to training questions
  std::vector<AnswerRow> held_out_;  // its greedy answers to the set
};

Status LabelCurves::ReadRun() {
  if (!FileExists(run_.Recipe()))
    return Fail(ErrorCode::kNotFound, "this is not a run: it has no recipe.toml", run_.path, "give the folder that `candor run` made");
  CANDOR_ASSIGN(recipe_, LoadSettings({run_.Recipe()}, {}));
  if (arguments_.eval.empty())
    for (const EvalSetOptions& eval : recipe_.evals)
      if (eval.every > 0 && (arguments_.eval.empty() || eval.role == "held_out")) arguments_.eval = eval.name;
  if (arguments_.eval.empty())
    return Fail(ErrorCode::kInvalidInput, "the run asked no [[eval]] on the way", run_.Recipe(),
                "run the recipe with eval.0.every=10, say: each evaluation is a point of the curve");
  LabelsSpent spent;
  const auto& stages = recipe_.run.stages;
  if (std::find(stages.begin(), stages.end(), "warm_up") != stages.end())
    spent.before_rl = recipe_.warm_up.questions * (recipe_.warm_up.samples + 1);
  spent.greedy_per_sampled = static_cast<double>(recipe_.rollout.greedy_traces) / static_cast<double>(recipe_.trainer.group_size);
  CANDOR_ASSIGN(const LabelCurve curve,
                CurveOfRun(ReadMetricLines(run_.Metrics()), ReadMetricLines(run_.path + "/evals.jsonl"), arguments_.eval, spent));
  rl_ = curve.points;
  CANDOR_ASSIGN(const std::vector<AnswerRow> before, ReadAnswers(run_.Answers("before")));
  held_out_ = Select(before, {.dataset = arguments_.eval, .greedy = true});
  if (held_out_.empty())
    return Fail(ErrorCode::kNotFound, "there are no answers to \"" + arguments_.eval + "\" before RL", run_.Answers("before"),
                "name another set: --eval");
  CANDOR_ASSIGN(policy_.model, PolicyBefore(run_, recipe_));
  policy_.recipe = run_.Recipe();
  work_ = run_.path + "/label-curve";
  return MakeFolders(work_);
}

// As many answers to a question as RL had, to as many questions as that needs; more of them where the training rows are too few.
Status LabelCurves::Label(int64_t labels) {
  CANDOR_ASSIGN(const DataSet rows, ReadDataSet(recipe_.data.train.front().path, recipe_.data.fields, {.answer = true}));
  const auto of_file = static_cast<int64_t>(rows.rows.size());
  int64_t answers = recipe_.trainer.group_size + recipe_.rollout.greedy_traces;
  answers = std::max({answers, int64_t{2}, std::min(kMostSamples, (labels + of_file - 1) / of_file)});
  const int64_t questions = std::min(of_file, (labels + answers - 1) / answers);
  const std::string out = fmt::format("{}/labelled-{}x{}.jsonl", work_, questions, answers);
  if (!arguments_.quiet)
    std::fprintf(stderr, "labelling %ld answers to each of %ld training questions\n", static_cast<long>(answers),
                 static_cast<long>(questions));
  CANDOR_TRY(LabelAnswers(policy_, recipe_.data.train.front().path, questions, answers - 1, out, arguments_.quiet));
  CANDOR_ASSIGN(const std::vector<AnswerRow> all, ReadAnswers(out));
  labelled_ = KnownAnswers(all);
  return {};
}

// All `labels` are spent: four fifths of the questions fit the reading, one fifth scales it. Readings are kept, the head is not: it is a
// copy of the policy.
Result<Confidences> LabelCurves::Readout(size_t labels) {
  std::vector<AnswerRow> fit, scale;
  for (size_t i = 0; i < std::min(labels, labelled_.rows.size()); ++i)
    (labelled_.question[i] % kScaledOf == kScaledOf - 1 ? scale : fit).push_back(labelled_.rows[i]);
  const std::string folder = fmt::format("{}/readout-{}", work_, labels), kept = folder + "/readings.json";
  const auto to_json = [](const Confidences& c) {
    json list = json::array();
    for (const auto& value : c) list.push_back(value ? json(*value) : json(nullptr));
    return list;
  };
  const auto from_json = [](const json& list) {
    Confidences c;
    for (const json& value : list) c.push_back(value.is_number() ? std::optional<double>(value.get<double>()) : std::nullopt);
    return c;
  };
  if (!FileExists(kept)) {
    CANDOR_TRY(MakeFolders(folder));
    CANDOR_TRY(FitReadout(policy_, fit, folder));
    CANDOR_ASSIGN(const Confidences of_scale, ReadReadout(folder, scale, "scale"));
    CANDOR_ASSIGN(const Confidences of_held_out, ReadReadout(folder, held_out_, "held_out"));
    CANDOR_TRY(WriteFileAtomic(kept, json{{"scale", to_json(of_scale)}, {"held_out", to_json(of_held_out)}}.dump()));
    CANDOR_TRY(RemoveTree(folder + "/head"));
  }
  CANDOR_ASSIGN(const std::string text, ReadFile(kept));
  const json readings = json::parse(text, nullptr, false);
  if (!readings.is_object() || readings["scale"].size() != scale.size() || readings["held_out"].size() != held_out_.size())
    return Fail(ErrorCode::kInvalidInput, "these are readings of other answers", kept, "delete the folder " + work_);
  const Confidences raw = from_json(readings["held_out"]);
  const Confidences scaled = Scaled(scale, from_json(readings["scale"]), raw);
  const bool fitted = std::any_of(scaled.begin(), scaled.end(), [](const auto& c) { return c.has_value(); });
  return fitted ? scaled : raw;  // too few labels, or all alike: as it reads
}

Status LabelCurves::Run() {
  CANDOR_TRY(ReadRun());
  const std::vector<LabelPoint> at = SpreadOver(rl_, static_cast<size_t>(arguments_.points));
  if (at.empty())
    return Fail(ErrorCode::kInvalidInput, "no evaluation of \"" + arguments_.eval + "\" came after a label", run_.path + "/evals.jsonl",
                "let the run get on");
  CANDOR_TRY(Label(at.back().labels));
  LabelCurve platt{"Platt", {}}, readout{"frozen read-out", {}};
  const Confidences prob = SignalOf(held_out_, "answer_prob");
  for (const LabelPoint& rl : at) {
    const std::vector<AnswerRow> spent = FirstRows(labelled_, static_cast<size_t>(rl.labels));
    const auto labels = static_cast<int64_t>(spent.size());
    platt.points.push_back(PointOf(labels, held_out_, Scaled(spent, SignalOf(spent, "answer_prob"), prob)));
    if (!arguments_.quiet) std::fprintf(stderr, "frozen read-out of %ld labels\n", static_cast<long>(labels));
    CANDOR_ASSIGN(const Confidences readings, Readout(static_cast<size_t>(labels)));
    readout.points.push_back(PointOf(labels, held_out_, readings));
  }
  const json all = LabelCurvesJson(arguments_.eval, {{"RL", rl_}, platt, readout});
  const std::string page = arguments_.html.empty() ? work_ + "/label-curve.html" : arguments_.html;
  CANDOR_TRY(WriteFileAtomic(work_ + "/label-curve.json", all.dump(1) + "\n"));
  CANDOR_TRY(WriteFileAtomic(page, LabelCurvesHtml(all)));
  std::printf("%s", arguments_.json ? (all.dump(1) + "\n").c_str() : (LabelCurvesText(all) + "\n  picture: " + page + "\n").c_str());
  return {};
}

}  // namespace

int RunLabelCurve(int argc, const char* const* argv) {
  LabelCurveArguments arguments;
  CommandLine app{
      "Label efficiency: accuracy, Brier score and AUROC of a run's evaluations on the way, by the labelled answers that it had used up, "
      "beside Platt scaling of the answer's probability and a linear reading of the hidden state, each fitted on as many labelled answers "
      "of the policy that RL starts from. A table here, label-curve.json and label-curve.html in RUN_DIR/label-curve.",
      "candor label-curve"};
  app.Add("RUN_DIR", &arguments.folder, "a run whose recipe asks an [[eval]] on the way (every = 10, say)").Required();
  app.Add("--eval", &arguments.eval, "which set (default: the held-out one that is asked on the way)");
  app.Add("--points", &arguments.points, "fits at most, spread over the run's evaluations").Range(2, 100).ShowDefault();
  app.Add("--html", &arguments.html, "write the page here instead");
  app.AddFlag("--json", &arguments.json, "print label-curve.json instead of the table");
  app.AddFlag("--quiet", &arguments.quiet, "no progress");
  app.AddFooter(
      "Example:\n  candor run recipes/cities.toml eval.0.every=10 --run-dir runs/curve && candor label-curve runs/curve\n"
      "Labels of the slot's warm-up count from the start; greedy answers of a group count as its sampled ones do.");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("label-curve", LabelCurves(std::move(arguments)).Run());
}

}  // namespace candor::cli
