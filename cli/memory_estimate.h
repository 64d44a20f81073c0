// How much memory a run's processes will take, from the recipe and the model's config.json: for `--dry-run`, and for a warning before a
// run begins on a machine that has less.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "cli/recipe.h"

namespace candor::cli {

// What memory depends on of a decoder; files that leave a field out mean what Hugging Face's do.
struct ModelShape {
  double parameters = 0;
  int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
};
// Parameters come from the size of the weights' files. kNotFound while the model is not there.
Result<ModelShape> ReadModelShape(const std::string& folder);

// Whether the processor of this /proc/cpuinfo multiplies bf16 itself: elsewhere `dtype = "auto"` nearly always times fp32 as the faster
// one.
bool MultipliesBf16(const std::string& cpuinfo);

// Bytes of one process each.
struct TrainerMemory {
  double weights = 0;       // in the compute format; zero3 holds a share
  double optimizer = 0;     // fp32 master weights, two moments, the average
  double checkpoint = 0;    // the copy of the optimizer's state that is written while training goes on
  double gradients = 0;     // fp32: the slice, and the largest unit's
  double last_version = 0;  // this rank's share of what was published last, for the next delta
  double reference = 0;     // the policy that RL starts from, where an objective or a distance asks for it
  double activations = 0;   // of one micro-batch, with the head's logits
  double Total() const { return weights + optimizer + checkpoint + gradients + last_version + reference + activations; }
};
struct RolloutMemory {
  double weights = 0;  // at the moment of a swap: the old, the packed and the fetched ones
  double cache = 0;    // keys and values, at most
  double logits = 0;
  double Total() const { return weights + cache + logits; }
};
struct MemoryEstimate {
  TrainerMemory trainer;
  RolloutMemory rollout;
  double on_one_machine = 0;  // all processes together, programs included
};
MemoryEstimate EstimateMemory(const Recipe& recipe, const ModelShape& model);

// Bytes that processes started now can have: free and reclaimable memory, or what is left below the container's limit; nothing where the
// system does not say.
std::optional<double> AvailableMemory();

// One line when the run, all on this machine, needs more than there is; empty otherwise and while the model is not there.
std::string MemoryWarning(const Recipe& recipe, std::optional<double> available);

}  // namespace candor::cli
