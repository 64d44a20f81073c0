// Brings policy versions into this worker while the engine goes on generating: one thread fetches and verifies a version and prepares its
// parameters in the engine's number format; the engine only swaps them in. Asked for by the engine's thread, which never waits here.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/thread.h"
#include "proto/messages.h"
#include "rollout/engine.h"
#include "weights/version_fetcher.h"

namespace candor {

struct WeightLoaderSetup {
  FetcherSetup fetch;
  std::string dtype;   // the engine's: "bf16" or "fp32"
  std::string device;  // the engine's: "cpu", "cuda:0"
};

class WeightLoader {
 public:
  static Result<std::unique_ptr<WeightLoader>> Start(WeightLoaderSetup setup);
  ~WeightLoader();

  // Begins to bring `version` (of which `newest` tells the place), unless it is here, or on its way, or another one is.
  void Prepare(PolicyVersion version, const VersionInfo& newest);
  // What is ready, if it is `version` or another one that will do; an error when `version` could not be brought after several tries;
  // nullopt while it is on its way (which Take begins when nothing else is under way).
  struct Range {
    PolicyVersion oldest, newest;
  };
  std::optional<Result<std::unique_ptr<PreparedWeights>>> Take(PolicyVersion version, Range will_do, const VersionInfo& newest);

 private:
  enum class Phase { kIdle, kAsked, kReady };
  explicit WeightLoader(WeightLoaderSetup setup) : setup_(std::move(setup)) {}
  void Work();
  Result<std::unique_ptr<PreparedWeights>> Bring(PolicyVersion version, const VersionInfo& newest);
  Result<std::unique_ptr<PreparedWeights>> TryBring(PolicyVersion version, const VersionInfo& newest);

  WeightLoaderSetup setup_;
  std::unique_ptr<VersionFetcher> fetcher_;  // the thread's
  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::kIdle;
  PolicyVersion version_;
  VersionInfo newest_;
  Result<std::unique_ptr<PreparedWeights>> result_ = Fail(ErrorCode::kNotFound, "nothing was asked for");
  std::atomic<bool> stop_ = false;
  NamedThread thread_;
};

}  // namespace candor
