#include "tests/science/tabular.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "reward/channels.h"
#include "reward/filter.h"
#include "trainer/advantages.h"
#include "trainer/objectives.h"

namespace candor::science {

namespace {

double LevelOf(int level) { return static_cast<double>(level) / (kLevels - 1); }

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (double z : logits) p.push_back(std::exp(z - most)), sum += p.back();
  for (double& x : p) x /= sum;
  return p;
}

int Draw(const std::vector<double>& p, double u) {
  int i = 0;
  while (i + 1 < static_cast<int>(p.size()) && u >= p[i]) u -= p[i++];
  return i;
}

bool IsRight(const World& world, int question, int answer, double u) {
  const std::vector<double>& chance = world.chance_SA[question];
  if (!world.one_is_right) return u < chance[answer];
  double before = 0;
  for (int i = 0; i < answer; ++i) before += chance[i];
  return before <= u && u < before + chance[answer];
}

// A trace as the reward tier scores it, for each label and stated level.
class ScoredTraces {
 public:
  explicit ScoredTraces(const std::set<std::string>& wanted) {
    for (int label = 0; label < 2; ++label)
      for (int level = 0; level < kLevels; ++level) {
        ChannelInputs inputs;
        inputs.format_ok = true, inputs.wants_confidence = true;
        inputs.label = inputs.answer_label = label != 0 ? Label::kCorrect : Label::kWrong;
        inputs.soft_label = label;
        inputs.confidence = Confidence::From(LevelOf(level));
        ScoredTrace trace;
        trace.label = inputs.label, trace.soft_label = label, trace.confidence = inputs.confidence, trace.format_ok = true;
        trace.channels = ComputeChannels(inputs);
        AddWantedChannels(inputs, wanted, trace.channels);
        traces_[label][level] = std::move(trace);
      }
  }
  const ScoredTrace& Get(bool right, int level) const { return traces_[right ? 1 : 0][level]; }

 private:
  ScoredTrace traces_[2][kLevels];
};

struct Visit {
  int question = 0;
  std::vector<int> answer_G, level_G;
  ScoredGroup group;
  std::vector<std::vector<std::optional<double>>> values_OG;  // of each objective
};

class Learner {
 public:
  Learner(const World& world, const Lesson& lesson)
      : world_(world), lesson_(lesson), objectives_(CheckObjectives(lesson.objectives, lesson.steps).value()), traces_(Wanted(lesson)) {
    RewardOptions options;
    options.filter = lesson.filter;
    filter_ = FilterRules::From(options);
    const size_t questions = world.chance_SA.size(), answers = world.chance_SA[0].size();
    answer_logits_SA_.assign(questions, std::vector<double>(answers, 0.0));
    level_logits_SAL_.assign(questions, std::vector(answers, std::vector<double>(kLevels, 0.0)));
    slot_SA_.assign(questions, std::vector<double>(answers, 0.0));
  }

  void Step(int step) {
    step_ = step;
    std::vector<Visit> visits;
    std::vector<Moments> moments_O(objectives_.size());
    for (int g = 0; g < lesson_.groups; ++g) {
      visits.push_back(Generate(step, g));
      for (size_t o = 0; o < objectives_.size(); ++o)
        if (visits.back().group.drop == DropReason::kNone) AddCentred(visits.back().values_OG[o], moments_O[o]);
    }
    const auto answers_before = answer_logits_SA_;
    const auto levels_before = level_logits_SAL_;
    for (const Visit& visit : visits)
      for (size_t o = 0; o < objectives_.size(); ++o) {
        if (objectives_[o].TrainsSlot())
          TrainSlot(visit, o);
        else if (visit.group.drop == DropReason::kNone)
          TrainPolicy(visit, o, moments_O[o].Std(), answers_before, levels_before);
      }
  }

  Learned Read() const {
    Learned learned;
    for (size_t s = 0; s < world_.chance_SA.size(); ++s) {
      learned.answer_SA.push_back(Softmax(answer_logits_SA_[s]));
      const auto& p = learned.answer_SA.back();
      const auto said = std::max_element(p.begin(), p.end()) - p.begin();
      learned.said_S.push_back(static_cast<int>(said));
      learned.chance_S.push_back(world_.chance_SA[s][said]);
      double stated = 0;
      const std::vector<double> levels = Softmax(level_logits_SAL_[s][said]);
      for (int level = 0; level < kLevels; ++level) stated += levels[level] * LevelOf(level);
      learned.stated_S.push_back(stated);
      learned.slot_S.push_back(1 / (1 + std::exp(-slot_SA_[s][said])));
    }
    return learned;
  }

 private:
  using Logits = std::vector<std::vector<double>>;

  static std::set<std::string> Wanted(const Lesson& lesson) {
    std::set<std::string> wanted;
    for (const ObjectiveOptions& objective : lesson.objectives)
      for (const char* channel : {"log", "confidence"})
        if (objective.channel.find(channel) != std::string::npos) wanted.insert(channel);
    return wanted;
  }

  double Random(int step, int g, int trace, int what) const {
    return RandomUnit(lesson_.seed, RngStream::kSynthetic, static_cast<uint64_t>(step), static_cast<uint64_t>(g),
                      static_cast<uint64_t>(trace), static_cast<uint64_t>(what));
  }

  Visit Generate(int step, int g) const {
    Visit visit;
    const size_t questions = world_.chance_SA.size();
    visit.question = std::min(static_cast<int>(questions) - 1, static_cast<int>(Random(step, g, 0, 0) * static_cast<double>(questions)));
    const std::vector<double> answers = Softmax(answer_logits_SA_[visit.question]);
    for (int i = 0; i < lesson_.group; ++i) {
      const int answer = Draw(answers, Random(step, g, i, 1));
      const int level = Draw(Softmax(level_logits_SAL_[visit.question][answer]), Random(step, g, i, 2));
      const bool right = IsRight(world_, visit.question, answer, Random(step, g, lesson_.own_draw ? i : 0, 3));
      visit.answer_G.push_back(answer), visit.level_G.push_back(level);
      visit.group.traces_G.push_back(traces_.Get(right, level));
    }
    visit.group.drop = FilterGroup(filter_, visit.group.traces_G);
    for (const Objective& objective : objectives_) visit.values_OG.push_back(ObjectiveValues(objective, visit.group));
    return visit;
  }

  // By the answers to one question in a step, so that a rate means the same in every world; it falls to 0, as a recipe's linear schedule.
  double Scale() const {
    return lesson_.rate * (1 - static_cast<double>(step_) / lesson_.steps) * static_cast<double>(world_.chance_SA.size()) /
           static_cast<double>(lesson_.groups * lesson_.group);
  }

  static void Push(const std::vector<double>& before, int chosen, double by, std::vector<double>& logits) {
    const std::vector<double> p = Softmax(before);
    for (size_t i = 0; i < p.size(); ++i) logits[i] += by * ((static_cast<int>(i) == chosen ? 1.0 : 0.0) - p[i]);
  }

  void TrainPolicy(const Visit& visit, size_t o, double batch_std, const Logits& answers, const std::vector<Logits>& levels) {
    const Objective& objective = objectives_[o];
    const auto advantages = ComputeAdvantages(objective, visit.values_OG[o], batch_std);
    for (size_t i = 0; i < advantages.size(); ++i) {
      if (!advantages[i]) continue;
      const int s = visit.question, a = visit.answer_G[i];
      const double by = *advantages[i] * objective.weight * Scale();
      if (objective.Reaches(Origin::kPolicy, Segment::kAnswer) && step_ >= lesson_.calibrated_first)
        Push(answers[s], a, by, answer_logits_SA_[s]);
      if (objective.Reaches(Origin::kPolicy, Segment::kConfidence)) Push(levels[s][a], visit.level_G[i], by, level_logits_SAL_[s][a]);
    }
  }

  void TrainSlot(const Visit& visit, size_t o) {
    const double mean = GroupMean(visit.values_OG[o]).value();
    for (size_t i = 0; i < visit.answer_G.size(); ++i) {
      double& z = slot_SA_[visit.question][visit.answer_G[i]];
      const double c = 1 / (1 + std::exp(-z)), target = objectives_[o].target * *visit.values_OG[o][i] + (1 - objectives_[o].target) * mean;
      z += objectives_[o].weight * Scale() * 2 * (target - c) * c * (1 - c);
    }
  }

  const World& world_;
  const Lesson& lesson_;
  int step_ = 0;
  std::vector<Objective> objectives_;
  ScoredTraces traces_;
  FilterRules filter_;
  Logits answer_logits_SA_, slot_SA_;
  std::vector<Logits> level_logits_SAL_;
};

}  // namespace

World Urns() {
  World world;
  for (int best = 0; best <= 9; ++best) world.chance_SA.push_back({best / 9.0, std::min(best, 9 - best) / 18.0, 0.0});
  return world;
}

World SeveralSolutions() { return {{{1, 1, 1, 1, 0, 0, 0, 0}}, false}; }

Learned Learn(const World& world, const Lesson& lesson) {
  Learner learner(world, lesson);
  for (int step = 0; step < lesson.steps; ++step) learner.Step(step);
  return learner.Read();
}

double SlopeOf(const Learned& learned) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t s = 0; s < learned.chance_S.size(); ++s) {
    const double p = learned.chance_S[s], c = std::clamp(learned.stated_S[s], 1e-3, 1 - 1e-3);
    if (!(0 < p && p < 1)) continue;
    const double a = std::log(p / (1 - p)), b = std::log(c / (1 - c));
    n += 1, x += a, y += b, xx += a * a, xy += a * b;
  }
  return (n * xy - x * y) / (n * xx - x * x);
}

}  // namespace candor::science
