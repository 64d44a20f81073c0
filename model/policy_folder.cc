// Writes a policy as a Hugging Face folder, and reads and writes confidence.json.
#include "model/policy_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/folder_lock.h"
#include "core/fs.h"
#include "core/json_depth.h"
#include "core/launch.h"
#include "model/family.h"
#include "model/read_confidence_script.h"

namespace candor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// What a tokenizer may consist of; whatever of it is there is copied byte for byte.
constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",  "vocab.json",
    "merges.txt",     "tokenizer.model",       "chat_template.jinja",     "chat_template.json", "LICENSE"};
constexpr char kMarker[] = "candor.json";

// A YAML scalar in double quotes (JSON strings are YAML strings).
std::string Quoted(const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string FrontMatter(const ModelCard& card, bool confidence) {
  std::string text = "---\nlibrary_name: transformers\npipeline_tag: text-generation\n";
  if (!card.license.empty()) text += "license: " + Quoted(card.license) + "\n";
  if (!card.base_model.empty()) text += "base_model: " + Quoted(card.base_model) + "\n";
  if (!card.datasets.empty()) {
    text += "datasets:\n";
    for (const std::string& dataset : card.datasets) text += "- " + Quoted(dataset) + "\n";
  }
  text += std::string("tags:\n- candor\n- calibration\n") + (confidence ? "- confidence\n" : "");
  if (!card.metrics.empty()) {
    text +=
        "model-index:\n- name: " + Quoted(card.name) +
        "\n  results:\n  - task:\n      type: text-generation\n    dataset:\n      type: held-out\n      name: held-out\n    metrics:\n";
    for (const auto& [name, value] : card.metrics) text += "    - type: " + Quoted(name) + "\n      value: " + Json(value).dump() + "\n";
  }
  return text + "---\n";
}

std::string CardText(const ModelCard& card, const ModelConfig& config, const std::optional<ConfidenceSpec>& confidence) {
  std::string text = FrontMatter(card, confidence.has_value()) + "\n# " + card.name + "\n\nA " + Name(config.family) + " model of " +
                     std::to_string(CountParameters(config)) +
                     " parameters, trained with Candor to say how likely its answers are to be right.\n";
  if (!card.base_model.empty()) text += "It started from " + card.base_model + ".\n";
  if (confidence) {
    text += "\n## Its confidence\n\nThe confidence is read, not written: after the reply up to `" + confidence->reply_end + "`, append `" +
            confidence->after + "` and read the raw logits of `" + confidence->high_token + "` (" + std::to_string(confidence->high_id) +
            ") and `" + confidence->low_token + "` (" + std::to_string(confidence->low_id) +
            ") at the next position: c = sigmoid(z_high - z_low). `confidence.json` holds these facts; `read_confidence.py` does it:\n\n" +
            "    python read_confidence.py \"your question\"\n";
  }
  if (!card.metrics.empty()) {
    text += "\n## Measured on held-out data\n\n| metric | value |\n|---|---|\n";
    for (const auto& [name, value] : card.metrics) text += "| " + name + " | " + Json(value).dump() + " |\n";
  }
  if (!card.recipe_toml.empty())
    text += "\n## Recipe\n\n```toml\n" + card.recipe_toml + (card.recipe_toml.ends_with('\n') ? "" : "\n") + "```\n";
  return text;
}

std::string GenerationJson(const ModelConfig& config) {
  Json json = Json::object();
  if (config.bos_id) json["bos_token_id"] = *config.bos_id;
  if (config.eos_ids.size() == 1) json["eos_token_id"] = config.eos_ids[0];
  if (config.eos_ids.size() > 1) json["eos_token_id"] = config.eos_ids;
  if (config.pad_id) json["pad_token_id"] = *config.pad_id;
  return json.dump(2) + "\n";
}

Status CopyTokenizer(const std::string& from, const std::string& to, const ModelConfig& config) {
  bool has_generation = false;
  if (!from.empty()) {
    if (!FileExists(from + "/tokenizer.json"))
      return Fail(ErrorCode::kNotFound, "no tokenizer.json to copy", from, "name a model folder that has its tokenizer");
    for (const char* name : kTokenizerFiles) {
      if (!FileExists(from + "/" + name)) continue;
      CANDOR_ASSIGN(const std::string bytes, ReadFile(from + "/" + name));
      CANDOR_TRY(WriteFileAtomic(to + "/" + name, bytes));
    }
    has_generation = FileExists(from + "/generation_config.json");
    if (has_generation) {
      CANDOR_ASSIGN(const std::string bytes, ReadFile(from + "/generation_config.json"));
      CANDOR_TRY(WriteFileAtomic(to + "/generation_config.json", bytes));
    }
  }
  return has_generation ? Status{} : WriteFileAtomic(to + "/generation_config.json", GenerationJson(config));
}

Status WriteFiles(const std::string& folder, const ModelConfig& config, const Parameters& parameters, const PolicyFolderOptions& options) {
  CANDOR_TRY(SaveParameters(parameters, folder, options.shard_bytes));
  CANDOR_TRY(CopyTokenizer(options.tokenizer_folder, folder, config));
  CANDOR_TRY(WriteFileAtomic(folder + "/config.json", ConfigJson(config, parameters.dtype() == at::kBFloat16 ? "bfloat16" : "float32")));
  if (options.confidence) {
    CANDOR_TRY(WriteFileAtomic(folder + "/confidence.json", ConfidenceJson(*options.confidence)));
    CANDOR_TRY(WriteFileAtomic(folder + "/read_confidence.py", kReadConfidenceScript));
  }
  CANDOR_TRY(WriteFileAtomic(folder + "/README.md", CardText(options.card, config, options.confidence)));
  return WriteFileAtomic(folder + "/" + kMarker, Json{{"made_by", "candor"}, {"format", 1}}.dump() + "\n");
}

// Only what Candor made, or nothing, may be replaced.
Status CheckTarget(const std::string& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) return {};
  if (!fs::is_directory(status))
    return Fail(ErrorCode::kInvalidInput, "there is a file where the policy folder should go", folder, "name another place");
  if (fs::is_empty(folder, error) || FileExists(folder + "/" + kMarker)) return {};
  return Fail(ErrorCode::kInvalidInput, "the folder holds files that Candor did not write, and would be replaced", folder,
              "name a new folder, or empty it yourself");
}

// The folder that a policy is written into before it takes its place: TARGET.tmp.<node>.<pid>, locked as long as it is written.
class FolderBeside {
 public:
  explicit FolderBeside(const std::string& target)
      : common_(target + ".tmp." + NodeName() + "."), path_(common_ + std::to_string(::getpid())) {}
  const std::string& path() const { return path_; }

  Status Make() {
    CANDOR_TRY(RemoveTree(path_));  // of a process that had our number
    CANDOR_TRY(MakeFolders(path_));
    lock_.emplace(path_);
    return {};
  }

  // Those that killed writers of the same policy left here. One of another machine is not ours to judge; a process of this one that is in
  // another container is not seen, but it holds the lock.
  void RemoveLeft() const {
    const fs::path prefix(common_);
    std::error_code error;
    fs::directory_iterator entry(prefix.parent_path().empty() ? fs::path(".") : prefix.parent_path(), error), end;
    for (; !error && entry != end; entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (!name.starts_with(prefix.filename().string())) continue;
      const char *digits = name.data() + prefix.filename().string().size(), *last = name.data() + name.size();
      pid_t pid = 0;
      const auto [read, bad] = std::from_chars(digits, last, pid);
      if (bad != std::errc() || read != last || pid <= 0 || ::kill(pid, 0) == 0 || errno != ESRCH) continue;
      RemoveUnlocked(entry->path().string());
    }
  }

 private:
  const std::string common_, path_;
  std::optional<FolderLock> lock_;
};

Result<int32_t> ReadId(const Json& json, const char* name, const std::string& where) {
  if (!json.contains(name) || !json[name].is_number_integer())
    return Fail(ErrorCode::kInvalidInput, std::string("'") + name + "' must be a token id", where + ": " + name);
  const int64_t id = json[name].get<int64_t>();
  if (!(0 <= id && id <= INT32_MAX))
    return Fail(ErrorCode::kInvalidInput, std::string("'") + name + "' is out of range", where + ": " + name);
  return static_cast<int32_t>(id);
}

Result<std::string> ReadString(const Json& json, const char* name, const std::string& where, const std::string& fallback) {
  if (!json.contains(name)) return fallback;
  if (!json[name].is_string()) return Fail(ErrorCode::kInvalidInput, std::string("'") + name + "' must be a string", where + ": " + name);
  return json[name].get<std::string>();
}

Result<std::optional<ConfidenceSpec::Recalibration>> ReadRecalibration(const Json& json, const std::string& where) {
  if (!json.contains("recalibration") || json["recalibration"].is_null()) return std::nullopt;
  const Json& map = json["recalibration"];
  if (!map.is_object() || !map.contains("a") || !map.contains("b") || !map["a"].is_number() || !map["b"].is_number()) {
    return Fail(ErrorCode::kInvalidInput, "'recalibration' must be {\"a\": number, \"b\": number}", where + ": recalibration");
  }
  return ConfidenceSpec::Recalibration{map["a"].get<double>(), map["b"].get<double>()};
}

}  // namespace

std::string ConfidenceJson(const ConfidenceSpec& spec) {
  Json json = {{"kind", "slot"},
               {"high_id", spec.high_id},
               {"low_id", spec.low_id},
               {"high_token", spec.high_token},
               {"low_token", spec.low_token},
               {"reply_end", spec.reply_end},
               {"after", spec.after},
               {"system_prompt", spec.system_prompt},
               {"formula", "sigmoid(z_high - z_low)"}};
  json["recalibration"] = nullptr;
  if (spec.recalibration) {
    json["formula"] = "sigmoid(a * (z_high - z_low) + b)";
    json["recalibration"] = {{"a", spec.recalibration->a}, {"b", spec.recalibration->b}};
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<ConfidenceSpec> ParseConfidenceJson(const std::string& text, const std::string& where) {
  if (BracketDepth(text) > kMaxJsonDepth || MostKeys(text) > kMaxJsonKeys)
    return Fail(ErrorCode::kInvalidInput, "nested too deeply, or too many keys", where, "export the model again");
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Fail(ErrorCode::kInvalidInput, "not a JSON object", where, "export the model again");
  ConfidenceSpec spec;
  CANDOR_ASSIGN(spec.high_id, ReadId(json, "high_id", where));
  CANDOR_ASSIGN(spec.low_id, ReadId(json, "low_id", where));
  if (spec.high_id == spec.low_id)
    return Fail(ErrorCode::kInvalidInput, "'high_id' and 'low_id' are the same token", where, "export the model again");
  CANDOR_ASSIGN(spec.high_token, ReadString(json, "high_token", where, ""));
  CANDOR_ASSIGN(spec.low_token, ReadString(json, "low_token", where, ""));
  CANDOR_ASSIGN(spec.after, ReadString(json, "after", where, spec.after));
  CANDOR_ASSIGN(spec.reply_end, ReadString(json, "reply_end", where, spec.reply_end));
  CANDOR_ASSIGN(spec.system_prompt, ReadString(json, "system_prompt", where, ""));
  CANDOR_ASSIGN(spec.recalibration, ReadRecalibration(json, where));
  return spec;
}

Result<std::optional<ConfidenceSpec>> ReadConfidenceSpec(const std::string& folder) {
  const std::string path = folder + "/confidence.json";
  if (!FileExists(path)) return std::nullopt;
  CANDOR_ASSIGN(const std::string text, ReadFile(path, size_t{1} << 20));
  CANDOR_ASSIGN(ConfidenceSpec spec, ParseConfidenceJson(text, path));
  return spec;
}

Status WritePolicyFolder(const std::string& folder, const ModelConfig& config, const Parameters& parameters,
                         const PolicyFolderOptions& options) {
  CANDOR_TRY(CheckTarget(folder));
  std::string target = fs::path(folder).lexically_normal().string();
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  FolderBeside folder_beside(target);
  folder_beside.RemoveLeft();
  CANDOR_TRY(folder_beside.Make());
  const std::string& beside = folder_beside.path();
  if (auto written = WriteFiles(beside, config, parameters, options); !written) {
    (void)RemoveTree(beside);
    return written;
  }
  CANDOR_TRY(SyncFolder(beside));
  const fs::path parent = fs::path(target).parent_path();
  const std::string around = parent.empty() ? "." : parent.string();
  if (FileExists(target)) {  // exchanged in one step where the file system can: there is always one of the two
    if (::renameat2(AT_FDCWD, beside.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
      CANDOR_TRY(SyncFolder(around));
      return RemoveTree(beside);
    }
    CANDOR_TRY(RemoveTree(target));
  }
  std::error_code error;
  fs::rename(beside, target, error);
  if (error) {
    (void)RemoveTree(beside);
    return Fail(ErrorCode::kIo, "cannot put the policy folder in place: " + error.message(), folder);
  }
  return SyncFolder(around);
}

}  // namespace candor
