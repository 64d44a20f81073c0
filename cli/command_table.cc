#include "cli/command_table.h"

#include <cstdio>

#include "cli/commands.h"
#include "core/collective_versions.h"
#include "proto/messages.h"

#ifndef CANDOR_VERSION
#define CANDOR_VERSION "0.0.0"
#endif
#ifndef CANDOR_COMMIT
#define CANDOR_COMMIT "unknown"
#endif

namespace candor::cli {

const std::vector<Command>& Commands() {
  static const std::vector<Command> commands = {
      {"init", Group::kStart, "a commented recipe, a verifier and a held-out split for your model and data", RunInit},
      {"run", Group::kStart, "run a recipe on this machine: its stages in order, live progress, report", RunRun},
      {"sweep", Group::kStart, "a recipe once for every combination of some settings; accuracy against Brier, Pareto points", RunSweep},
      {"submit", Group::kStart, "run a recipe on a Slurm cluster: coordinator, learners, rollouts and rewards as jobs", RunSubmit},
      {"join", Group::kStart, "add rollouts to a run that is under way, here or as one more Slurm array", RunJoin},
      {"check", Group::kStart, "explain what a recipe trains and refuse what is known to miscalibrate", RunCheck},
      {"data", Group::kStart, "the rows of published runs (HotpotQA, Big-Math) from public files that you have", RunData},
      {"sft", Group::kStart, "supervised fine-tuning of a model on prompt/completion rows", nullptr},
      {"generate", Group::kLook, "answer questions with a model, with its confidence", nullptr},
      {"serve", Group::kLook, "a model behind an OpenAI-compatible HTTP endpoint, with its confidence", nullptr},
      {"eval", Group::kLook, "accuracy and calibration of a model on a data set, with intervals", nullptr},
      {"calibration", Group::kLook, "calibration of anybody's rows of confidence and correctness, with a diagram", RunCalibration},
      {"compare", Group::kLook, "several runs side by side, with paired differences", RunCompare},
      {"label-curve", Group::kLook, "RL against fits without RL after as many labels, as a table and a picture", RunLabelCurve},
      {"report", Group::kLook, "a run as one self-contained HTML page", RunReport},
      {"status", Group::kLook, "who waits for whom and since when: every process of a run, live", RunStatus},
      {"dashboard", Group::kLook, "the address of a live run's page, and the ssh line that brings it to you", RunDashboard},
      {"ledger", Group::kLook, "what became of every group of a run, and whether the books balance", RunLedger},
      {"checkpoint", Group::kTools, "list, verify and export the checkpoints of a run", nullptr},
      {"export", Group::kTools, "write a policy as a folder that Hugging Face transformers loads", nullptr},
      {"baseline", Group::kTools, "stored answers of a reference policy, whose scores a run subtracts", nullptr},
      {"train-rm", Group::kTools, "a reward model: heads on a policy, from scored completions", nullptr},
      {"reward-model", Group::kTools, "serve a reward model to a reward worker, as a verifier program", nullptr},
      {"score", Group::kTools, "log-probabilities of given completions", nullptr},
      {"tokenize", Group::kTools, "token ids of texts or chats", RunTokenize},
      {"verifier", Group::kTools, "try a verifier on rows before it costs a run", RunVerifier},
      {"judge", Group::kTools, "try a judge on rows whose truth is known; its error rates, for de-biasing", RunJudge},
      {"bench", Group::kTools, "speed and exactness of engine and learner on this machine", nullptr},
      {"simulate", Group::kTools, "the control plane of a cluster in one process, from one seed, with faults", RunSimulate},
      {"doctor", Group::kTools, "open every library that a run may need and name what is missing", RunDoctor},
      {"job", Group::kRole, "what a Slurm job of a run does on its node", RunJob},
      {"coordinator", Group::kRole, "role: leases, ledger, calibration record of a run", RunCoordinatorRole},
      {"reward", Group::kRole, "role: a reward worker of a run", RunRewardRole},
      {"rollout", Group::kRole, "role: a rollout worker of a run", nullptr},
      {"trainer", Group::kRole, "role: one learner rank of a run", nullptr},
  };
  return commands;
}

const char* VersionText() { return CANDOR_VERSION; }

void PrintVersion() {
  std::printf("candor %s (%s), protocol %u\nbuilt for Open MPI %s, NCCL %s\n", CANDOR_VERSION, CANDOR_COMMIT, kProtocolVersion,
              OpenMpiVersion(), NcclVersion());
}

}  // namespace candor::cli
