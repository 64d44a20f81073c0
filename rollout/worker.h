// The rollout role: leases from the coordinator become prompts, the engine makes traces of them, reward workers get them.
//
//   engine thread (the caller)   prompts by row and chat template, weights by version, engine steps
//   link thread                  coordinator and reward workers (link/rollout_link.h)
//
// The two meet in the lease book (link/lease_book.h). Weights are verified (manifest and hashes) before they are loaded. No torch in this
// header.
#pragma once
#include <atomic>
#include <map>
#include <string>

#include "core/result.h"
#include "core/transport.h"
#include "core/turn.h"
#include "rollout/options.h"
#include "text/data_options.h"
#include "text/rows.h"
#include "weights/version_fetcher.h"

namespace candor {

struct RolloutSetup {
  std::string run_dir;
  std::string run_id;            // "": takes part in whatever run the coordinator serves
  uint64_t steps = 0;            // of the run; 0: only the coordinator can say that it is over
  int index = 0;                 // this worker is "rollout-<index>"
  uint64_t seed = 1;             // of the run: with group, sample and position it decides every random number
  std::string tokenizer_folder;  // model folder with tokenizer.json and the chat template
  FormatOptions format;
  std::map<std::string, const DataSet*> data;  // by PromptRef::dataset; must outlive the call
  bool score_reference = false;                // fill the log-probabilities of each row's reference answer (reference_scorer.h)
  FetcherSetup weights;                        // how published weights come here; its folder, name and transport are filled in
  Transport* transport = nullptr;
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: hand over what is finished, then return
  int backoff_first_ms = 1000;              // tests hurry
  const Turn* turn = nullptr;               // taken for each engine step where learners use the same device
};

// Until stop, or until the coordinator says that the run is finished. options.engine.dtype and .deterministic are the run's. Errors: a
// model or format that does not hold together, weights that cannot be loaded, an engine that broke, a coordinator that refuses this worker.
Status ServeRollout(const RolloutOptions& options, const RolloutSetup& setup);

}  // namespace candor
