#include "cli/sweep_arms.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cli/command_line.h"
#include "core/fs.h"
#include "core/options.h"

namespace candor::cli {

namespace {

constexpr int64_t kArmSeedsMax = 1000;

struct ArmOptions {
  std::string recipe, name;
  int64_t seeds = 0;  // 0: the file's
  std::vector<std::string> settings;
};
struct ArmsFile {
  std::string title;
  int64_t seeds = 5;
  std::vector<ArmOptions> arms;
};

void DeclareArms(OptionTable& t, ArmsFile& file) {
  t.Section("", "");
  t.String("title", &file.title, {.help = "one line for people"});
  t.Int("seeds", &file.seeds, {.min = 1, .max = kArmSeedsMax, .help = "runs of each arm, with the seeds 1, 2, ..."});
  t.TableList<ArmOptions>("arm", &file.arms, [](OptionTable& a, ArmOptions& o) {
    a.String("recipe", &o.recipe, {.help = "the arm's recipe, relative to this file", .required = true});
    a.String("name", &o.name, {.help = "empty: as the recipe's file"});
    a.Int("seeds", &o.seeds, {.min = 0, .max = kArmSeedsMax, .help = "0: as the file says"});
    a.StringList("settings", &o.settings, {.help = "settings of this arm, such as trainer.lr=5e-4"});
  });
}

bool HoldsArms(const std::string& path) {
  const auto text = ReadFile(path);
  return text && (text->starts_with("[[arm]]") || text->find("\n[[arm]]") != std::string::npos);
}

Result<ArmsFile> ReadArms(const std::string& path) {
  ArmsFile file;
  OptionTable table;
  DeclareArms(table, file);
  RecipeSource source;
  CANDOR_TRY(source.AddFile(path));
  CANDOR_TRY(source.Bind(table));
  std::set<std::string> names;
  for (size_t i = 0; i < file.arms.size(); ++i) {
    ArmOptions& arm = file.arms[i];
    if (arm.name.empty()) arm.name = std::filesystem::path(arm.recipe).stem().string();
    arm.recipe = (std::filesystem::path(path).parent_path() / arm.recipe).string();
    if (!IsPlainFileName(arm.name) || !names.insert(arm.name).second)
      return Fail(ErrorCode::kInvalidInput, "an arm's name must be a file's name and occur once: " + arm.name,
                  source.PlaceOf("arm[" + std::to_string(i) + "].name"), "give it another `name`");
  }
  return file;
}

SweepAxis SeedsUpTo(int64_t count) {
  SweepAxis axis{"seed", {}};
  for (int64_t seed = 1; seed <= count; ++seed) axis.values.push_back(std::to_string(seed));
  return axis;
}

Status KeepOnly(const std::vector<std::string>& only, SweepArms& arms) {
  if (only.empty()) return {};
  std::vector<std::string> known;
  for (const SweepArm& arm : arms.arms) known.push_back(arm.name);
  for (const std::string& name : only) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string nearest = NearestName(name, known);
    std::string hint = nearest.empty() ? fmt::format("known here: {}", fmt::join(known, ", ")) : "did you mean " + nearest + "?";
    if (name.find('=') != std::string::npos) hint = "settings stand before --only, which takes every word behind it for an arm";
    if (known.front().empty()) hint = "give a file of arms";
    return Fail(ErrorCode::kInvalidInput, "there is no arm " + name, "--only", hint);
  }
  std::erase_if(arms.arms, [&](const SweepArm& arm) { return std::find(only.begin(), only.end(), arm.name) == only.end(); });
  return {};
}

Result<SweepArms> ArmsOfFile(const std::string& path, const std::vector<std::string>& overrides) {
  CANDOR_ASSIGN(const ArmsFile file, ReadArms(path));
  SweepPlan common;
  std::vector<SweepAxis> seeds;
  for (const std::string& one : overrides) {
    CANDOR_ASSIGN(SweepAxis axis, ParseAxis(one));
    if (axis.key == "seed")
      seeds.push_back(std::move(axis));
    else if (axis.values.size() > 1)
      common.axes.push_back(std::move(axis));
    else
      common.overrides.push_back(one);
  }
  if (seeds.size() > 1) return Fail(ErrorCode::kInvalidInput, "the key occurs twice", "seed", "write all its values in one list");
  SweepArms arms{file.title, std::filesystem::path(path).stem().string(), {}};
  for (const ArmOptions& one : file.arms) {
    SweepArm arm{one.name, common};
    arm.plan.files = {one.recipe};
    arm.plan.overrides.insert(arm.plan.overrides.begin(), one.settings.begin(), one.settings.end());
    arm.plan.axes.push_back(seeds.empty() ? SeedsUpTo(one.seeds > 0 ? one.seeds : file.seeds) : seeds[0]);
    arms.arms.push_back(std::move(arm));
  }
  return arms;
}

}  // namespace

Result<SweepArms> PlanArms(const std::vector<std::string>& arguments, const std::vector<std::string>& only) {
  CANDOR_ASSIGN(const RecipeArguments split, SplitRecipeArguments(arguments));
  SweepArms arms;
  if (HoldsArms(split.files.front())) {
    if (split.files.size() > 1)
      return Fail(ErrorCode::kInvalidInput, "a file of arms names its recipes itself", split.files[1], "leave the other files out");
    CANDOR_ASSIGN(arms, ArmsOfFile(split.files.front(), split.overrides));
  } else {
    CANDOR_ASSIGN(SweepPlan plan, PlanSweep(arguments));
    arms.arms.push_back({"", std::move(plan)});
  }
  CANDOR_TRY(KeepOnly(only, arms));
  return arms;
}

Result<std::vector<SweepPoint>> PointsOf(const SweepArms& arms, const std::string& folder, std::vector<size_t>* arm) {
  std::vector<std::vector<SweepPoint>> by_arm;
  size_t rounds = 0;
  for (const SweepArm& one : arms.arms) {
    CANDOR_ASSIGN(std::vector<SweepPoint> points, PointsOf(one.plan, folder));
    for (SweepPoint& point : points) {
      if (!one.name.empty()) point.name = one.name + "_" + point.name;
      point.folder = folder + "/" + point.name;
    }
    rounds = std::max(rounds, points.size());
    by_arm.push_back(std::move(points));
  }
  std::vector<SweepPoint> points;
  for (size_t round = 0; round < rounds; ++round)
    for (size_t a = 0; a < by_arm.size(); ++a)
      if (round < by_arm[a].size()) points.push_back(std::move(by_arm[a][round])), arm->push_back(a);
  return points;
}

}  // namespace candor::cli
