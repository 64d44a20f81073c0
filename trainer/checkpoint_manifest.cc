#include "trainer/checkpoint_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/fs.h"
#include "core/json_depth.h"

namespace candor {

namespace {

constexpr int kFormat = 2;
constexpr size_t kManifestMax = size_t{64} << 20;
constexpr int64_t kElementsMax = int64_t{1} << 50;  // no model has more; keeps products of what a manifest says from overflowing
constexpr int kSlicesMax = 1 << 20;
const std::string kReplaced = "replaced_", kDamaged = "damaged_";
using Json = nlohmann::json;

Json BodyOf(const CheckpointManifest& m) {
  Json units = Json::array(), files = Json::array();
  for (const CheckpointUnit& unit : m.units) units.push_back({{"name", unit.name}, {"count", unit.count}, {"slice", unit.slice}});
  for (const ListedFile& file : m.files) files.push_back(Json::parse(ToJsonText(file)));
  return {{"format", kFormat},  {"step", m.step},   {"updates", m.updates},
          {"slices", m.slices}, {"ranks", m.ranks}, {"average", m.average},
          {"units", units},     {"files", files},   {"books", m.books.empty() ? Json() : Json::parse(m.books)}};
}

std::string TextOf(const Json& body) { return Json{{"body", body}, {"hash", HashHex(body.dump())}}.dump(1) + "\n"; }

Status CheckShape(const CheckpointManifest& m, const std::string& where) {
  if (m.step < 0 || m.updates < 0 || m.slices < 1 || m.slices > kSlicesMax || m.ranks < m.slices)
    return Fail(ErrorCode::kInvalidInput, "has numbers out of range", where);
  if (static_cast<int>(m.files.size()) != m.slices) return Fail(ErrorCode::kInvalidInput, "does not list one file per slice", where);
  for (int r = 0; r < m.slices; ++r)
    if (m.files[static_cast<size_t>(r)].name != SliceFileName(r))
      return Fail(ErrorCode::kInvalidInput, fmt::format("lists {} as file of slice {}", m.files[static_cast<size_t>(r)].name, r), where);
  for (const CheckpointUnit& unit : m.units)
    if (unit.count < 1 || unit.slice < 1 || unit.count > kElementsMax || unit.slice > kElementsMax / m.slices ||
        unit.slice * m.slices < unit.count)
      return Fail(ErrorCode::kInvalidInput, "its slices do not cover unit " + unit.name, where);
  return {};
}

Result<CheckpointManifest> FromBody(const Json& body, const std::string& where) {
  CheckpointManifest m;
  body.at("step").get_to(m.step);
  body.at("updates").get_to(m.updates);
  body.at("slices").get_to(m.slices);
  body.at("ranks").get_to(m.ranks);
  body.at("average").get_to(m.average);
  for (const Json& unit : body.at("units"))
    m.units.push_back({unit.at("name").get<std::string>(), unit.at("count").get<int64_t>(), unit.at("slice").get<int64_t>()});
  for (const Json& file : body.at("files")) {
    CANDOR_ASSIGN(ListedFile listed, ListedFileFromJson(file.dump(), where));
    m.files.push_back(std::move(listed));
  }
  if (!body.at("books").is_null()) m.books = body.at("books").dump();
  return m;
}

}  // namespace

uint64_t CheckpointManifest::LedgerSequence() const {
  const Json json = Json::parse(books, nullptr, false);
  const auto found = json.is_object() ? json.find("ledger_sequence") : json.end();
  return json.is_object() && found != json.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::string ManifestText(const CheckpointManifest& manifest) { return TextOf(BodyOf(manifest)); }

Result<CheckpointManifest> ParseCheckpointManifest(const std::string& text, const std::string& where) {
  if (BracketDepth(text) > kMaxJsonDepth) return Fail(ErrorCode::kInvalidInput, "is nested too deeply for a manifest", where);
  try {
    const Json whole = Json::parse(text);
    const Json& body = whole.at("body");
    if (const Json& format = body.at("format"); format != kFormat)
      return Fail(ErrorCode::kVersionSkew, fmt::format("has format {}, this program reads {}", format.dump(), kFormat), where,
                  "go on with the program that wrote it");
    if (TextOf(body) != text) return Fail(ErrorCode::kInvalidInput, "is damaged: its hash or its form is not what was written", where);
    CANDOR_ASSIGN(CheckpointManifest manifest, FromBody(body, where));
    CANDOR_TRY(CheckShape(manifest, where));
    manifest.hash = HashHex(text);
    return manifest;
  } catch (const Json::exception& error) {
    return Fail(ErrorCode::kInvalidInput, std::string("is no manifest: ") + error.what(), where);
  }
}

Result<CheckpointManifest> ReadCheckpointManifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kManifestMax));
  return ParseCheckpointManifest(text, path);
}

// ---- folders

std::string CheckpointFolderName(int64_t step) { return fmt::format("step_{:08d}", step); }
std::string SliceFileName(int slice) { return fmt::format("rank_{}.safetensors", slice); }

std::vector<CheckpointFolder> FindCheckpoints(const std::string& checkpoints) {
  std::map<int64_t, std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool replaced = name.starts_with(kReplaced);
    const std::string plain = replaced ? name.substr(kReplaced.size()) : name;
    int64_t step = 0;
    if (!plain.starts_with("step_")) continue;
    const auto [end, bad] = std::from_chars(plain.data() + 5, plain.data() + plain.size(), step);
    if (bad != std::errc() || end != plain.data() + plain.size()) continue;
    if (!replaced || !found.count(step)) found[step] = name;
  }
  std::vector<CheckpointFolder> folders;
  for (auto at = found.rbegin(); at != found.rend(); ++at) folders.push_back({at->first, at->second});
  return folders;
}

std::vector<Error> VerifyCheckpoint(const std::string& folder) {
  std::vector<Error> problems;
  const Result<CheckpointManifest> manifest = ReadCheckpointManifest(folder);
  if (!manifest) return {manifest.error()};
  std::set<std::string> expected{"manifest.json"};
  for (const ListedFile& file : manifest->files) {
    expected.insert(file.name);
    if (Status whole = VerifyListedFile(folder, file); !whole) problems.push_back(whole.error());
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (!expected.count(entry.path().filename().string()))
      problems.push_back({ErrorCode::kInvalidInput, "is not listed in the manifest", entry.path().string(), "remove it", false});
  if (const std::string name = std::filesystem::path(folder).filename().string();
      name.starts_with("step_") && name != CheckpointFolderName(manifest->step))
    problems.push_back({ErrorCode::kInvalidInput, fmt::format("holds the checkpoint of step {}", manifest->step), folder, "", false});
  return problems;
}

Status SetDamagedAside(const std::string& checkpoints, const CheckpointFolder& folder) {
  const std::string aside = checkpoints + "/" + kDamaged + folder.name;
  CANDOR_TRY(RemoveTree(aside));
  std::error_code error;
  std::filesystem::rename(checkpoints + "/" + folder.name, aside, error);
  if (error) return Fail(ErrorCode::kIo, "cannot move the damaged checkpoint aside: " + error.message(), aside);
  return SyncFolder(checkpoints);
}

// ---- which are kept

bool LowerIsBetter(const std::string& metric) { return metric != "auroc" && metric != "accuracy"; }

namespace {

// "calibration/<stream>/<metric>" of each line, by step; mean over streams.
std::map<int64_t, double> FiguresOf(const std::string& path, const std::string& metric) {
  std::map<int64_t, std::pair<double, int>> sums;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const Json row = Json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) continue;
    std::pair<double, int> sum;
    for (const auto& [key, value] : row.items())
      if (value.is_number() && key.starts_with("calibration/") && key.ends_with("/" + metric) &&
          std::count(key.begin(), key.end(), '/') == 2)
        sum.first += value.get<double>(), ++sum.second;
    if (sum.second > 0) sums[row["step"].get<int64_t>()] = sum;  // of a step that was done again the last line counts
  }
  std::map<int64_t, double> figures;
  for (const auto& [step, sum] : sums) figures[step] = sum.first / sum.second;
  return figures;
}

}  // namespace

std::map<int64_t, double> ReadFigures(const std::string& run_dir, const std::string& metric) {
  if (metric == "none") return {};
  std::map<int64_t, double> figures = FiguresOf(run_dir + "/evals.jsonl", metric);
  return figures.empty() ? FiguresOf(run_dir + "/metrics.jsonl", metric) : figures;
}

std::vector<int64_t> BestSteps(const std::vector<int64_t>& steps, const std::map<int64_t, double>& figures, const CheckpointOptions& keep) {
  std::vector<int64_t> best;
  if (keep.keep_best == "none") return best;
  for (int64_t step : steps)
    if (figures.count(step)) best.push_back(step);
  std::sort(best.begin(), best.end(), [&](int64_t a, int64_t b) {
    const double x = figures.at(a), y = figures.at(b);
    if (x != y) return LowerIsBetter(keep.keep_best) ? x < y : x > y;
    return a > b;
  });
  if (best.size() > static_cast<size_t>(keep.keep_best_n)) best.resize(static_cast<size_t>(keep.keep_best_n));
  return best;
}

std::vector<int64_t> PlanRetention(std::vector<int64_t> steps, const std::map<int64_t, double>& figures, const CheckpointOptions& keep) {
  std::sort(steps.rbegin(), steps.rend());
  const std::vector<int64_t> best = BestSteps(steps, figures, keep);
  std::vector<int64_t> gone;
  for (size_t i = static_cast<size_t>(std::max<int64_t>(1, keep.keep_last)); i < steps.size(); ++i)
    if (std::find(best.begin(), best.end(), steps[i]) == best.end()) gone.push_back(steps[i]);
  return gone;
}

}  // namespace candor
