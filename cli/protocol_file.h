// A protocol: which arms are compared, what each of them may try on dev, and from how many seeds the chosen ones run. Read by `candor
// sweep`.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"
#include "core/result.h"

namespace candor::cli {

struct ProtocolArm {
  std::string name, recipe;                 // the recipe's path: relative to the protocol's
  std::vector<std::string> settings;        // a.b=c, of all configurations
  std::vector<std::string> configurations;  // each: settings divided by blanks
};

struct ProtocolFile {
  std::string path, title, reference;
  std::string dev = "dev";
  int64_t tune_seed = 1, first_seed = 11, seeds = 3;
  std::vector<std::string> settings;  // a.b=c, of all arms
  int64_t readout_questions = 0, readout_samples = 3;
  std::vector<ProtocolArm> arms;
};

void Declare(OptionTable& table, ProtocolFile& protocol);
// Errors: file:line for what the file says; arms that do not fit together by name.
Result<ProtocolFile> ReadProtocol(const std::string& path);
// The words of a configuration: "trainer.lr=1e-5 objective.1.weight=2".
std::vector<std::string> SettingsOf(const std::string& configuration);

}  // namespace candor::cli
