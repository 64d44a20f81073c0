#include "rollout/weight_loader.h"

#include <chrono>

#include "core/clock.h"
#include "core/log.h"

namespace candor {

namespace {

constexpr int kTries = 4;  // a shared file system may show a new folder late
constexpr int kPauseMs = 500;

}  // namespace

Result<std::unique_ptr<WeightLoader>> WeightLoader::Start(WeightLoaderSetup setup) {
  std::unique_ptr<WeightLoader> loader(new WeightLoader(std::move(setup)));
  loader->setup_.fetch.stop = &loader->stop_;
  CANDOR_ASSIGN(loader->fetcher_, VersionFetcher::Start(loader->setup_.fetch));
  loader->thread_ = NamedThread("weights", [raw = loader.get()] { raw->Work(); });
  return loader;
}

WeightLoader::~WeightLoader() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.Join();
}

void WeightLoader::Prepare(PolicyVersion version, const VersionInfo& newest) {
  const std::scoped_lock lock(mutex_);
  const bool here = phase_ == Phase::kReady && version_ == version;
  if (phase_ == Phase::kAsked || here || newest.manifest.empty()) return;
  phase_ = Phase::kAsked, version_ = version, newest_ = newest;
  changed_.notify_all();
}

std::optional<Result<std::unique_ptr<PreparedWeights>>> WeightLoader::Take(PolicyVersion version, Range will_do,
                                                                           const VersionInfo& newest) {
  {
    const std::scoped_lock lock(mutex_);
    const bool does = result_ && will_do.oldest <= version_ && version_ <= will_do.newest;
    if (phase_ == Phase::kReady && (version_ == version || does)) {
      phase_ = Phase::kIdle;
      return std::move(result_);
    }
  }
  Prepare(version, newest);
  return std::nullopt;
}

void WeightLoader::Work() {
  for (;;) {
    PolicyVersion version;
    VersionInfo newest;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || phase_ == Phase::kAsked; });
      if (stop_) return;
      version = version_, newest = newest_;
      result_ = Fail(ErrorCode::kNotFound, "not brought yet");  // what nobody took goes before the next comes
    }
    auto brought = Bring(version, newest);
    const std::scoped_lock lock(mutex_);
    result_ = std::move(brought);
    phase_ = Phase::kReady;
  }
}

Result<std::unique_ptr<PreparedWeights>> WeightLoader::Bring(PolicyVersion version, const VersionInfo& newest) {
  auto brought = TryBring(version, newest);
  for (int i = 1; i < kTries && !brought; ++i) {
    LogError(brought.error(), "weights of version " + ToString(version));
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::milliseconds(kPauseMs), [&] { return stop_.load(); })) break;
    lock.unlock();
    brought = TryBring(version, newest);
  }
  if (!brought) LogError(brought.error(), "weights of version " + ToString(version));
  return brought;
}

Result<std::unique_ptr<PreparedWeights>> WeightLoader::TryBring(PolicyVersion version, const VersionInfo& newest) {
  CANDOR_ASSIGN(const auto image, fetcher_->Fetch(version, version == newest.version ? newest.hash : ""));
  const double fetched = SteadySeconds();
  CANDOR_ASSIGN(auto prepared, PrepareWeights(version, *image, setup_.dtype, setup_.device));
  const FetchStats& stats = fetcher_->last();
  spdlog::info("weights fetched version={} bytes={} blobs={} from_relays={} refused={} fetch_seconds={:.3f} prepare_seconds={:.3f}",
               version.value, stats.bytes, stats.blobs, stats.from_relays, stats.refused, stats.seconds, SteadySeconds() - fetched);
  return prepared;
}

}  // namespace candor
