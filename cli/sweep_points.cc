#include "cli/sweep_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/command_line.h"
#include "cli/done_record.h"
#include "cli/run_dir.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

// A value as part of a folder's name.
std::string InAName(const std::string& value) {
  std::string name;
  for (const char c : value) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '+' || c == '-';
    if (plain)
      name += c;
    else if (!name.empty() && name.back() != '.' && c != '"' && c != '\'')
      name += '.';
  }
  return name.empty() ? "none" : name;
}

// "trainer.lr" -> "lr"; the whole key where two axes end alike.
std::string ShortKey(const std::string& key, const std::vector<SweepAxis>& axes) {
  const auto last = [](const std::string& whole) { return whole.substr(whole.rfind('.') + 1); };
  const auto alike = std::count_if(axes.begin(), axes.end(), [&](const SweepAxis& other) { return last(other.key) == last(key); });
  return alike == 1 ? last(key) : key;
}

}  // namespace

std::string FirstDifference(const std::string& now, const std::string& then) {
  std::istringstream a(now), b(then);
  for (std::string line, other;;) {
    const bool more = static_cast<bool>(std::getline(a, line)), more_then = static_cast<bool>(std::getline(b, other));
    if (!more && !more_then) return "";
    if (line != other || more != more_then)
      return fmt::format("now `{}`, then `{}`", more ? line : "nothing", more_then ? other : "nothing");
  }
}

Result<SweepAxis> ParseAxis(const std::string& text) {
  const size_t equals = text.find('=');
  SweepAxis axis{text.substr(0, equals), {""}};
  int depth = 0;
  char quote = 0;
  for (const char c : text.substr(equals + 1)) {
    if (quote != 0)
      quote = c == quote ? 0 : quote;
    else if (c == '"' || c == '\'')
      quote = c;
    else if (c == '[' || c == '{')
      ++depth;
    else if (c == ']' || c == '}')
      --depth;
    if (c == ',' && depth == 0 && quote == 0)
      axis.values.emplace_back();
    else
      axis.values.back() += c;
  }
  std::set<std::string> seen;
  for (const std::string& value : axis.values) {
    if (value.empty() && axis.values.size() > 1)
      return Fail(ErrorCode::kInvalidInput, "an empty value", text, "key=v1,v2,v3 without a comma at the end");
    if (!seen.insert(value).second) return Fail(ErrorCode::kInvalidInput, "the value " + value + " occurs twice", text, "name it once");
  }
  return axis;
}

Result<SweepPlan> PlanSweep(const std::vector<std::string>& arguments) {
  CANDOR_ASSIGN(RecipeArguments split, SplitRecipeArguments(arguments));
  SweepPlan plan{std::move(split.files), {}, {}};
  for (const std::string& override_text : split.overrides) {
    CANDOR_ASSIGN(SweepAxis axis, ParseAxis(override_text));
    for (const SweepAxis& other : plan.axes)
      if (other.key == axis.key)
        return Fail(ErrorCode::kInvalidInput, "the key occurs twice", axis.key, "write all its values in one list");
    if (axis.values.size() > 1)
      plan.axes.push_back(std::move(axis));
    else
      plan.overrides.push_back(override_text);
  }
  if (plan.axes.empty())
    return Fail(ErrorCode::kInvalidInput, "nothing varies", "", "give at least one list, such as trainer.lr=1e-5,2e-5,4e-5");
  return plan;
}

Result<std::vector<SweepPoint>> PointsOf(const SweepPlan& plan, const std::string& folder) {
  size_t count = 1;
  for (const SweepAxis& axis : plan.axes) {
    count *= axis.values.size();
    if (count > kSweepPointsMax)
      return Fail(ErrorCode::kInvalidInput, fmt::format("more than {} points", kSweepPointsMax), axis.key, "sweep fewer keys or values");
  }
  std::vector<SweepPoint> points(count);
  std::set<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    size_t rest = i;
    for (size_t a = plan.axes.size(); a-- > 0;) {
      const SweepAxis& axis = plan.axes[a];
      points[i].settings.insert(points[i].settings.begin(), {axis.key, axis.values[rest % axis.values.size()]});
      rest /= axis.values.size();
    }
    for (const auto& [key, value] : points[i].settings)
      points[i].name += (points[i].name.empty() ? "" : "_") + ShortKey(key, plan.axes) + "-" + InAName(value);
    points[i].folder = folder + "/" + points[i].name;
    if (!IsPlainFileName(points[i].name) || !names.insert(points[i].name).second)
      return Fail(ErrorCode::kInvalidInput, "two points, or one too long, cannot be told apart by a folder's name", points[i].name,
                  "values that differ in letters, digits, '.', '+' or '-'");
  }
  return points;
}

std::vector<std::string> OverridesOf(const SweepPlan& plan, const SweepPoint& point, const std::string& recipe_name) {
  std::vector<std::string> overrides = plan.overrides;
  for (const auto& [key, value] : point.settings) overrides.push_back(key + "=" + value);
  overrides.push_back("name=\"" + recipe_name + "." + point.name + "\"");
  return overrides;
}

Status LookAtPoint(Recipe& recipe, SweepPoint& point) {
  const RunDir run{point.folder};
  if (!FileExists(run.Recipe())) return {};
  CANDOR_ASSIGN(const std::string then, ReadFile(run.Recipe()));
  if (const std::string difference = FirstDifference(ResolvedText(recipe), AsWrittenNow(then)); !difference.empty())
    return Fail(ErrorCode::kInvalidInput, "this point was begun with another recipe: " + difference, point.folder,
                "choose another folder with --dir, or remove this one to run it again");
  point.state = IsRunDone(run) ? PointState::kFinished : PointState::kInterrupted;
  if (point.state != PointState::kFinished || !FileExists(run.Summary())) return {};
  CANDOR_ASSIGN(const std::string text, ReadFile(run.Summary()));
  const nlohmann::json summary = nlohmann::json::parse(text, nullptr, false);
  if (summary.is_object()) ReadFigures(summary, point);
  return {};
}

}  // namespace candor::cli
