// The trainer role: the loop of reinforcement learning, one step after the other, on all ranks together.
//
//   plan -> fetch and vote -> learn -> publish -> announce -> report -> (checkpoint)
//
// Starts from the newest whole checkpoint of the run, else from the model folder. No torch in this header.
#pragma once
#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "core/collective.h"
#include "core/epoch.h"
#include "core/transport.h"
#include "core/turn.h"
#include "text/data_options.h"
#include "trainer/options.h"

namespace candor {

struct TrainerSetup {
  std::string run_dir, run_id;
  std::string model_folder;     // where the policy starts, and where its tokenizer is
  std::string base_model;       // for the model card; "" = model_folder
  std::string recipe_toml;      // for the model card
  std::string device = "auto";  // auto | cpu | cuda
  std::string dtype = "auto";   // auto | bf16 | fp32
  bool deterministic = false;   // fp32 and fixed orders
  uint64_t seed = 1;            // of the learner's own random choices
  FormatOptions format;         // with a slot, its tokens are looked up in the model's tokenizer
  TrainerOptions options;
  std::vector<ObjectiveOptions> objectives;
  Transport* transport = nullptr;
  const Turn* turn = nullptr;  // taken for each step where rollouts use the same device; every rank has it, the first of a machine takes it
  const Epoch* fence = nullptr;             // rank 0's: asked before anything is published or kept; a newer incarnation ends this one
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: a checkpoint is written between two steps, then kCancelled
};

// Until the last step or a stop. RUN_DIR/weights/v<N> per version, RUN_DIR/checkpoints, and at the end RUN_DIR/weights/averaged: the final
// policy as a Hugging Face folder. kCollective: a rank or the network broke, start the job again; kUnavailable: the coordinator stayed away
// longer than options.peer_deadline_s.
Status ServeTrainer(const TrainerSetup& setup, Collective& collective);

}  // namespace candor
