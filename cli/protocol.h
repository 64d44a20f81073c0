// `candor sweep PROTOCOL`: a comparison that is fixed before it is run. Every arm is tuned on dev, its best configuration runs from several
// seeds, and the held-out answers are compared with each other and with baselines that need no RL. What will be done is written down first
// (protocol.md) and its hash printed and recorded; a folder that holds another protocol is refused.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "cli/protocol_file.h"
#include "cli/sweep_runner.h"

namespace candor::cli {

struct ProtocolArguments {
  std::string folder;  // "": runs/protocol-<file's name>
  bool dry_run = false, json = false, quiet = false, keep_checkpoints = false;
  std::vector<std::string> settings;  // of all arms, besides the file's
};

// The protocol among the arguments of a sweep; "" where there is none. An error where recipes stand beside it.
Result<std::string> ProtocolAmong(const std::vector<std::string>& arguments);
Status RunProtocol(const std::string& path, const ProtocolArguments& arguments);

// One configuration of one arm, tried on dev.
struct ProtocolTrial {
  PointRun run;
  SweepPoint point;
  std::vector<EvalSetOptions> evals;  // of the runs that are compared; this one asks dev alone
};
// What will be done, in words and with the hash of everything that decides it; its own hash is the protocol's. A file that is not there
// makes it `complete` = false: then only a dry run may show it.
struct ProtocolText {
  std::string text, hash;
  bool complete = true;
  std::map<std::string, std::string> recipes;  // by run: what the hashes of recipes in the text are of
};
// `trials_AK`: the K configurations of each arm. `folder`: a recipe that was written there when the protocol began, by a program that may
// have had fewer keys, keeps its text and hash where it means the same now.
ProtocolText DescribeProtocol(const ProtocolFile& protocol, const std::vector<std::vector<ProtocolTrial>>& trials_AK,
                              const std::string& folder);
std::string ProtocolRecipePath(const std::string& folder, const std::string& run);

}  // namespace candor::cli
