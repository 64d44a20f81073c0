#include "cli/memory_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/json_depth.h"

namespace candor::cli {

namespace {

constexpr double kProgramWithTorch = 300e6, kProgramWithout = 60e6;
constexpr double kHeadLogits = 64 << 20;  // the head works in chunks of about so many bytes of fp32 logits
constexpr double kHeadKept = 256 << 20;   // and keeps gradients of so many bytes from forward to backward

// Bytes of a number of the compute format.
double ComputeBytes(const Recipe& r) {
  if (r.run.dtype != "auto") return r.run.dtype == "fp32" ? 4 : 2;
  const bool gpu = r.run.device == "cuda" || (r.run.device == "auto" && FileExists("/dev/nvidiactl"));
  return gpu || MultipliesBf16("/proc/cpuinfo") ? 2 : 4;
}

// Bytes that a block keeps of one token for its backward pass (BlockSaved in model/decoder.h), c the bytes of the compute format.
double KeptPerToken(const ModelShape& m, double c) {
  const auto hidden = static_cast<double>(m.hidden), intermediate = static_cast<double>(m.intermediate);
  const auto query = static_cast<double>(m.heads * m.head_dim), kv = static_cast<double>(m.kv_heads * m.head_dim);
  return 2 * 4 * hidden              // the residual stream before both halves
         + c * (2 * hidden)          // the norms' results
         + c * (2 * query + 2 * kv)  // queries, keys, values, the attention's result
         + c * 3 * intermediate      // gate, up, and what SwiGLU made of them
         + 4 * static_cast<double>(m.heads + 2);
}

double Activations(const Recipe& r, const ModelShape& m, double c) {
  const auto tokens = static_cast<double>(r.trainer.tokens_per_microbatch), layers = static_cast<double>(m.layers);
  const auto hidden = static_cast<double>(m.hidden), intermediate = static_cast<double>(m.intermediate);
  const double in_flight = (4 + c) * 2 * intermediate + 2 * 4 * hidden;  // of the block at work
  const double per_token = r.trainer.recompute ? layers * 4 * hidden + KeptPerToken(m, c) : layers * KeptPerToken(m, c);
  const double head_panels = c == 2 ? 2 * c * hidden * static_cast<double>(m.vocab) : 0;  // laid out for both of its products
  const double head_kept = std::min(kHeadKept, tokens * c * static_cast<double>(m.vocab));
  return tokens * (per_token + in_flight) + kHeadLogits + head_kept + head_panels;
}

// The embedding or a block, whichever is larger: its gradient is whole before it is scattered.
double LargestUnit(const ModelShape& m) {
  const auto hidden = static_cast<double>(m.hidden);
  const double block = hidden * static_cast<double>(2 * m.heads * m.head_dim + 2 * m.kv_heads * m.head_dim + 3 * m.intermediate);
  return std::max(block, hidden * static_cast<double>(m.vocab));
}

TrainerMemory OfTrainer(const Recipe& r, const ModelShape& m) {
  const double c = ComputeBytes(r), ranks = static_cast<double>(r.trainer.ranks);
  const double slices = r.trainer.sharding == "none" ? 1 : ranks;
  TrainerMemory memory;
  memory.weights = m.parameters * c / (r.trainer.sharding == "zero3" ? ranks : 1);
  memory.optimizer = m.parameters * (12 + (r.trainer.ema_decay > 0 ? 4 : 0)) / slices;
  memory.checkpoint = memory.optimizer;
  memory.gradients = m.parameters * 4 / slices + (slices > 1 ? LargestUnit(m) * 4 : 0);
  memory.last_version = m.parameters * c / ranks;
  const bool preference = std::any_of(r.objectives.begin(), r.objectives.end(), [](const auto& o) { return o.loss == "preference"; });
  if (preference || r.trainer.correction.kl_weight > 0) memory.reference = m.parameters * c;
  memory.activations = Activations(r, m, c);
  return memory;
}

// A number of /proc or /sys; nothing where it is "max" or absent.
std::optional<double> NumberIn(const std::string& path) {
  std::ifstream file(path);
  double number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

}  // namespace

bool MultipliesBf16(const std::string& cpuinfo) {
  std::ifstream info(cpuinfo);
  for (std::string word; info >> word;)
    if (word == "avx512_bf16" || word == "amx_bf16") return true;
  return false;
}

Result<ModelShape> ReadModelShape(const std::string& folder) {
  ModelShape m;
  double bytes = 0;
  std::error_code error, unreadable;  // a link to nothing, say
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".safetensors")
      if (const auto size = entry.file_size(unreadable); !unreadable) bytes += static_cast<double>(size);
  if (error || bytes == 0)
    return Fail(ErrorCode::kNotFound, "there are no weights", folder, "run the recipe once, or its [prepare] command, to make the model");
  CANDOR_ASSIGN(const std::string text, ReadFile(folder + "/config.json"));
  const nlohmann::json config = BracketDepth(text) > kMaxJsonDepth ? nlohmann::json() : nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object()) return Fail(ErrorCode::kInvalidInput, "is not a JSON object", folder + "/config.json");
  const auto number = [&](const char* key, int64_t otherwise) {
    const auto at = config.find(key);
    return at != config.end() && at->is_number_integer() ? at->get<int64_t>() : otherwise;
  };
  const auto type = config.find(config.contains("dtype") ? "dtype" : "torch_dtype");
  m.parameters = bytes / (type != config.end() && *type == "float32" ? 4 : 2);
  m.hidden = number("hidden_size", 0), m.intermediate = number("intermediate_size", 0), m.layers = number("num_hidden_layers", 0);
  m.heads = number("num_attention_heads", 0), m.vocab = number("vocab_size", 0);
  m.kv_heads = number("num_key_value_heads", m.heads);
  m.head_dim = number("head_dim", m.heads > 0 ? m.hidden / m.heads : 0);
  return m;
}

MemoryEstimate EstimateMemory(const Recipe& r, const ModelShape& m) {
  const double c = ComputeBytes(r);
  MemoryEstimate all;
  all.trainer = OfTrainer(r, m);
  all.rollout.weights = 3 * m.parameters * c;
  all.rollout.cache = static_cast<double>(r.rollout.engine.kv_memory_mb) * 1e6;
  all.rollout.logits = static_cast<double>(r.rollout.engine.max_batch * m.vocab) * 4;
  all.on_one_machine = static_cast<double>(r.trainer.ranks) * (all.trainer.Total() + kProgramWithTorch) +
                       static_cast<double>(r.rollout.workers) * (all.rollout.Total() + kProgramWithTorch) +
                       static_cast<double>(r.reward.workers + 2) * kProgramWithout;
  return all;
}

std::optional<double> AvailableMemory() {
  std::ifstream info("/proc/meminfo");
  std::optional<double> available;
  for (std::string key; info >> key;) {
    double kilobytes = 0;
    if (key == "MemAvailable:" && info >> kilobytes) available = kilobytes * 1024;
    info.ignore(256, '\n');
  }
  const auto most = NumberIn("/sys/fs/cgroup/memory.max"), used = NumberIn("/sys/fs/cgroup/memory.current");
  if (most && used) available = std::min(available.value_or(*most), std::max(0.0, *most - *used));
  return available;
}

std::string MemoryWarning(const Recipe& recipe, std::optional<double> available) {
  const auto shape = ReadModelShape(recipe.run.model);
  if (!shape || !available) return "";
  const MemoryEstimate estimate = EstimateMemory(recipe, *shape);
  if (estimate.on_one_machine <= *available) return "";
  return fmt::format(
      "this run needs about {:.1f} GB of memory on one machine, and {:.1f} GB are free here: lower trainer.tokens_per_microbatch ({}){}, "
      "or "
      "rollout.kv_memory_mb ({}), before the system kills one of its processes",
      estimate.on_one_machine / 1e9, *available / 1e9, recipe.trainer.tokens_per_microbatch,
      recipe.trainer.recompute ? "" : ", set trainer.recompute = true", recipe.rollout.engine.kv_memory_mb);
}

}  // namespace candor::cli
