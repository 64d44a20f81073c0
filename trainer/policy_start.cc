#include "trainer/policy_start.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "core/log.h"
#include "model/guarded.h"
#include "text/tags.h"
#include "trainer/exchange.h"
#include "trainer/staged_collective.h"

namespace candor {

namespace {

Result<at::Device> AgreeOnDevice(const std::string& name, bool deterministic, Collective& collective) {
  Result<at::Device> mine = OpenDevice(name, deterministic);
  CANDOR_TRY(AgreeOn(collective, mine ? Status{} : Status(Fail(mine.error()))));
  CANDOR_ASSIGN(std::vector<std::string> all, GatherTexts(collective, Name(*mine)));
  for (size_t r = 0; r < all.size(); ++r)
    if ((all[r] == "cpu") != (all[0] == "cpu"))
      return Fail(ErrorCode::kInvalidInput, "rank 0 computes on " + all[0] + ", rank " + std::to_string(r) + " on " + all[r], "device",
                  "give every rank a GPU, or use device = \"cpu\"");
  return *mine;
}

// Whether no two ranks compute on one GPU of one machine.
Result<bool> EachHasItsOwn(const at::Device& device, Collective& collective) {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  CANDOR_ASSIGN(const std::vector<std::string> all,
                GatherTexts(collective, std::string(host) + " " + (visible ? visible : "") + " " + Name(device)));
  return std::set<std::string>(all.begin(), all.end()).size() == all.size();
}

Result<DType> AgreeOnDType(const std::string& name, bool deterministic, const at::Device& device, Collective& collective) {
  CANDOR_ASSIGN(DType dtype, ParseDType(name));
  if (deterministic && dtype == DType::kBf16)
    return Fail(ErrorCode::kInvalidInput, "deterministic mode computes in fp32, but dtype is bf16", "dtype",
                "use dtype = \"fp32\" or \"auto\"");
  if (deterministic) return DType::kFp32;
  std::string resolved;
  if (collective.rank() == 0) resolved = Name(ResolveDType(dtype, device));
  CANDOR_ASSIGN(resolved, BroadcastText(collective, resolved, 0));
  return ParseDType(resolved);
}

}  // namespace

Result<Placement> PlaceLearner(const std::string& device, const std::string& dtype, bool deterministic, Collective& collective) {
  Placement placement;
  CANDOR_ASSIGN(placement.device, AgreeOnDevice(device, deterministic, collective));
  CANDOR_ASSIGN(placement.dtype, AgreeOnDType(dtype, deterministic, placement.device, collective));
  if (placement.device.is_cpu() || collective.size() == 1) return placement;
  CANDOR_ASSIGN(const bool apart, EachHasItsOwn(placement.device, collective));
  if (apart) {
    CANDOR_ASSIGN(placement.tensors, MakeNcclCollective(collective, placement.device.index()));
  } else {
    placement.tensors = MakeStagedCollective(collective, placement.device);
    if (collective.rank() == 0)
      spdlog::warn("ranks share a GPU, so their tensors travel through host memory; trainer.ranks = GPUs is faster");
  }
  return placement;
}

Result<std::unique_ptr<ShardedPolicy>> MakePolicy(const ModelConfig& config, Sharding sharding, bool average, const Placement& placement,
                                                  Collective& collective) {
  const ShardedPolicy::Options options{sharding, placement.dtype, average, placement.device, placement.tensors.get()};
  return Guarded("making room for the policy", "use more ranks with sharding = \"zero3\", or a smaller model",
                 [&]() -> Result<std::unique_ptr<ShardedPolicy>> { return std::make_unique<ShardedPolicy>(config, options, collective); });
}

Result<std::unique_ptr<Parameters>> LoadReference(const std::string& folder, const ShardedPolicy& policy, Collective& collective) {
  Result<Parameters> loaded =
      Guarded("making room for the reference policy", "use kl_weight = 0, or a smaller model", [&]() -> Result<Parameters> {
        CANDOR_ASSIGN(const Parameters host, LoadParameters(folder, policy.config(), ToScalarType(policy.dtype())));
        return host.To(policy.device());
      });
  CANDOR_TRY(AgreeOn(collective, loaded ? Status{} : Status(Fail(loaded.error()))));
  return std::make_unique<Parameters>(std::move(*loaded));
}

Result<std::optional<SlotTokens>> SlotOf(const FormatOptions& format, const Tokenizer& tokenizer) {
  if (format.confidence != "slot") return std::nullopt;
  CANDOR_ASSIGN(SlotTokens slot, FindSlotTokens(tokenizer, format));
  return slot;
}

ConfidenceSpec ConfidenceSpecOf(const FormatOptions& format, const SlotTokens& slot) {
  ConfidenceSpec spec;
  spec.high_id = slot.high, spec.low_id = slot.low;
  spec.high_token = format.slot_high, spec.low_token = format.slot_low;
  spec.after = std::string(kSlotPrefix);
  if (auto tags = TagFormat::From(format.tags, format.confidence)) {
    for (const PolicyTag tag : tags->tags)
      if (tag != PolicyTag::kConfidence) spec.reply_end = std::string(CloseTag(tag));  // the last tag that the policy writes itself
    spec.system_prompt = format.system_prompt == "auto" ? tags->Instructions() : format.system_prompt;
  }
  return spec;
}

namespace {

// All ranks share rank 0's clock reading: one incarnation for the job.
Result<Incarnation> AgreeOnIncarnation(Collective& collective) {
  std::string now = std::to_string(std::chrono::system_clock::now().time_since_epoch().count());
  CANDOR_ASSIGN(now, BroadcastText(collective, now, 0));
  return Incarnation{std::stoull(now)};
}

PolicyFolderOptions FolderOptionsOf(const TrainerSetup& setup, const std::optional<SlotTokens>& slot) {
  PolicyFolderOptions options;
  options.tokenizer_folder = setup.model_folder;
  if (slot) options.confidence = ConfidenceSpecOf(setup.format, *slot);
  options.card.name = setup.run_id;
  options.card.base_model = setup.base_model.empty() ? std::filesystem::path(setup.model_folder).filename().string() : setup.base_model;
  options.card.recipe_toml = setup.recipe_toml;
  return options;
}

}  // namespace

Result<StartedPolicy> StartPolicy(const TrainerSetup& setup, Collective& collective) {
  at::set_num_threads(static_cast<int>(setup.options.threads));
  StartedPolicy started;
  CANDOR_ASSIGN(ModelConfig config, ReadModelConfig(setup.model_folder));
  if (setup.format.confidence == "slot") {
    CANDOR_ASSIGN(Tokenizer tokenizer, Tokenizer::Load(setup.model_folder));
    CANDOR_ASSIGN(started.slot, SlotOf(setup.format, tokenizer));
  }
  CANDOR_ASSIGN(started.placement, PlaceLearner(setup.device, setup.dtype, setup.deterministic, collective));
  CANDOR_ASSIGN(Sharding sharding, ParseSharding(setup.options.sharding));
  CANDOR_ASSIGN(started.incarnation, AgreeOnIncarnation(collective));
  Result<std::unique_ptr<ShardedPolicy>> made = MakePolicy(config, sharding, setup.options.ema_decay > 0.0, started.placement, collective);
  CANDOR_TRY(AgreeOn(collective, made ? Status{} : Status(Fail(made.error()))));
  started.policy = std::move(*made);
  CANDOR_ASSIGN(started.checkpoint, LoadNewestCheckpoint(*started.policy, setup.run_dir + "/checkpoints"));
  if (started.checkpoint)
    started.step = started.checkpoint->step;
  else
    CANDOR_TRY(AgreeOn(collective, started.policy->LoadFolder(setup.model_folder)));
  started.folder_options = FolderOptionsOf(setup, started.slot);
  const MemoryUse& memory = started.policy->memory();
  spdlog::info("policy model={} device={} dtype={} sharding={} ranks={} step={} owned_mib={} from={}", setup.model_folder,
               Name(started.placement.device), Name(started.placement.dtype), Name(sharding), collective.size(), started.step,
               memory.owned_bytes >> 20, started.checkpoint ? started.checkpoint->path : setup.model_folder);
  return started;
}

}  // namespace candor
