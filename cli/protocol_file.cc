#include "cli/protocol_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "core/fs.h"

namespace candor::cli {

namespace {

tl::unexpected<Error> BadProtocol(const std::string& what, const std::string& where, const std::string& fix) {
  return Fail(ErrorCode::kInvalidInput, what, where, fix);
}

Status CheckArm(const ProtocolArm& arm, const ProtocolFile& protocol) {
  if (!IsPlainFileName(arm.name) || arm.name.find('.') != std::string::npos)
    return BadProtocol("an arm's name becomes a folder's name", "arm.name = \"" + arm.name + "\"", "letters, digits, '-' and '_'");
  if (arm.configurations.size() != protocol.arms[0].configurations.size())
    return BadProtocol(fmt::format("{} configurations of {}, {} of {}: who may try more has an advantage", arm.configurations.size(),
                                   arm.name, protocol.arms[0].configurations.size(), protocol.arms[0].name),
                       "arm.configurations", "give each arm the same number");
  if (arm.configurations.empty())
    return BadProtocol("there is no configuration to try", arm.name + ": configurations", "write one: [\"\"] is the recipe as it stands");
  std::set<std::string> seen;
  for (const std::string& configuration : arm.configurations)
    if (!seen.insert(configuration).second)
      return BadProtocol("a configuration stands twice", arm.name + ": " + configuration, "each may be tried once");
  std::vector<std::string> all = arm.settings;
  for (const std::string& configuration : arm.configurations)
    for (std::string& setting : SettingsOf(configuration)) all.push_back(std::move(setting));
  for (const std::string& setting : all)
    if (setting.find('=') == std::string::npos || setting.starts_with("seed=") || setting.starts_with("eval"))
      return BadProtocol("an arm sets what the protocol sets, or nothing", arm.name + ": " + setting,
                         "a.b=c; seeds and evaluations are the protocol's");
  return {};
}

Status CheckProtocol(const ProtocolFile& protocol) {
  if (protocol.arms.empty()) return BadProtocol("there is no [[arm]]", protocol.path, "add one: name, recipe, configurations");
  std::set<std::string> names;
  for (const ProtocolArm& arm : protocol.arms) {
    CANDOR_TRY(CheckArm(arm, protocol));
    if (!names.insert(arm.name).second) return BadProtocol("two arms are called " + arm.name, protocol.path, "names must differ");
  }
  if (!names.contains(protocol.reference))
    return BadProtocol("no arm is called \"" + protocol.reference + "\"", protocol.path + ": reference",
                       "name the arm that others are compared with");
  if (protocol.first_seed <= protocol.tune_seed && protocol.tune_seed < protocol.first_seed + protocol.seeds)
    return BadProtocol(fmt::format("seed {} tunes and is one of the final ones", protocol.tune_seed), protocol.path + ": tune_seed",
                       "the chosen configuration runs from seeds that did not choose it");
  return {};
}

}  // namespace

std::vector<std::string> SettingsOf(const std::string& configuration) {
  std::istringstream words(configuration);
  std::vector<std::string> settings;
  for (std::string word; words >> word;) settings.push_back(word);
  return settings;
}

void Declare(OptionTable& t, ProtocolFile& o) {
  t.Section("", "");
  t.String("title", &o.title, {.help = "one line for people", .required = true});
  t.String("reference", &o.reference, {.help = "the arm that all others are compared with", .required = true});
  t.String("dev", &o.dev, {.help = "the [[eval]] of the recipes whose Brier score chooses a configuration"});
  t.Int("tune_seed", &o.tune_seed, {.min = 0, .help = "seed of the runs that are tried on dev"});
  t.Int("first_seed", &o.first_seed, {.min = 0, .help = "first seed of the runs that are compared"});
  t.Int("seeds", &o.seeds, {.min = 1, .max = 100, .unit = "seeds", .help = "how many: first_seed, first_seed + 1, .."});
  t.StringList("settings", &o.settings, {.help = "a.b=c, of all arms"});
  t.TableList<ProtocolArm>("arm", &o.arms,
                           [](OptionTable& e, ProtocolArm& arm) {
                             e.String("name", &arm.name, {.help = "as in tables and folders", .required = true});
                             e.String("recipe", &arm.recipe, {.help = "its recipe, relative to this file", .required = true});
                             e.StringList("settings", &arm.settings, {.help = "a.b=c, of all its configurations"});
                             e.StringList("configurations", &arm.configurations,
                                          {.help = "what is tried on dev: settings divided by blanks", .required = true});
                           },
                           {.help = "One thing to compare."});
  t.Section("frozen_readout", "A baseline: a linear reading of the hidden state of the policy that RL starts from.");
  t.Int("questions", &o.readout_questions,
        {.min = 0, .unit = "questions", .help = "training questions that it is fitted on; 0 = no such baseline"});
  t.Int("samples", &o.readout_samples, {.min = 0, .unit = "answers", .help = "sampled answers to each, besides the greedy one"});
}

Result<ProtocolFile> ReadProtocol(const std::string& path) {
  ProtocolFile protocol;
  RecipeSource source;
  CANDOR_TRY(source.AddFile(path));
  OptionTable table;
  Declare(table, protocol);
  CANDOR_TRY(source.Bind(table));
  protocol.path = path;
  CANDOR_TRY(CheckProtocol(protocol));
  for (ProtocolArm& arm : protocol.arms) arm.recipe = (std::filesystem::path(path).parent_path() / arm.recipe).lexically_normal().string();
  return protocol;
}

}  // namespace candor::cli
