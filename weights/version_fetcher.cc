#include "weights/version_fetcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/thread.h"
#include "weights/delta.h"

namespace candor {

namespace {

constexpr int kConnectMs = 3000;
constexpr int64_t kSilentFirstMs = 30'000, kSilentLastMs = 600'000;  // a relay that does not answer is left alone for so long
constexpr uint64_t kSlowestBytesPerMs = 1024;                        // what a blob's size adds to the time for its answer

}  // namespace

// The versions to go through, ascending; the last is the wanted one. With a base the first is applied to our image.
struct VersionFetcher::Chain {
  bool base = false;
  std::vector<VersionPacking> links;
};

// The connections of one fetching thread.
class VersionFetcher::Lines {
 public:
  Result<BlobClient*> To(const FetcherSetup& setup, const RelayAddress& relay, Role role) {
    std::unique_ptr<BlobClient>& client = clients_[relay.endpoint];
    if (!client) {
      auto made = setup.encrypt ? ConnectToBlobsEncrypted(relay.endpoint, *setup.transport, Role::kRollout, role)
                                : ConnectToBlobsOverTcp(relay.endpoint, kConnectMs);
      if (!made) return Fail(made.error());
      client = std::move(*made);
    }
    return client.get();
  }
  void HangUp(const RelayAddress& relay) { clients_.erase(relay.endpoint); }

 private:
  std::map<std::string, std::unique_ptr<BlobClient>> clients_;
};

Result<std::unique_ptr<VersionFetcher>> VersionFetcher::Start(FetcherSetup setup) {
  std::unique_ptr<VersionFetcher> fetcher(new VersionFetcher(std::move(setup)));
  const FetcherSetup& s = fetcher->setup_;
  if (!s.relay) return fetcher;
  if (s.encrypt) {
    CANDOR_ASSIGN(fetcher->server_, ServeBlobsEncrypted(fetcher->store_, s.bind, *s.transport, Role::kRollout));
  } else {
    CANDOR_ASSIGN(fetcher->server_, ServeBlobsOverTcp(fetcher->store_, s.bind));
  }
  CANDOR_TRY(AnnounceRelay(s.weights, {s.self, fetcher->server_->endpoint()}));
  return fetcher;
}

VersionFetcher::~VersionFetcher() {
  if (server_) WithdrawRelay(setup_.weights, {setup_.self, server_->endpoint()});
}

bool VersionFetcher::HasBase(const VersionManifest& manifest) const {
  if (!image_ || image_->manifest.version >= manifest.version || image_->chunks.size() != manifest.chunks.size()) return false;
  return std::equal(manifest.chunks.begin(), manifest.chunks.end(), image_->manifest.chunks.begin(),
                    [](const ContentChunk& a, const ContentChunk& b) { return a.offset == b.offset && a.bytes == b.bytes; });
}

// Back from the wanted version to the one after our base, or to the newest with a full copy.
Result<VersionFetcher::Chain> VersionFetcher::PlanChain(const VersionManifest& manifest, bool with_base) const {
  Chain chain;
  chain.base = with_base;
  for (PolicyVersion version = manifest.version;; --version.value) {
    auto packing = ReadPacking(VersionFolder(setup_.weights, version), version);
    if (!packing) {
      Error error = packing.error();
      error.what = fmt::format("the chain to version {} has a gap at version {}: {}", manifest.version.value, version.value, error.what);
      return Fail(error);
    }
    if (packing->chunks.size() != manifest.chunks.size())
      return Fail(ErrorCode::kVersionSkew, fmt::format("version {} is cut into {} chunks, version {} into {}", version.value,
                                                       packing->chunks.size(), manifest.version.value, manifest.chunks.size()));
    chain.links.insert(chain.links.begin(), std::move(*packing));
    if (with_base && version.value == image_->manifest.version.value + 1) return chain;
    if (!with_base && chain.links.front().IsFull()) return chain;
    if (version.value == 0)
      return Fail(ErrorCode::kVersionSkew, fmt::format("no version up to {} has a full copy", manifest.version.value), setup_.weights,
                  "the trainer writes one when it starts and every trainer.full_every versions");
  }
}

Result<std::shared_ptr<const WeightImage>> VersionFetcher::Fetch(PolicyVersion version, const std::string& manifest_hash) {
  const double start = SteadySeconds();
  last_ = {};
  CANDOR_ASSIGN(const VersionManifest manifest, ReadVersionManifest(VersionFolder(setup_.weights, version), version, manifest_hash));
  FaultPoint("rollout.fetch");
  receivers_.clear(), trainers_.clear();
  if (setup_.relay)
    for (RelayAddress& relay : FindRelays(setup_.weights))
      (relay.name.starts_with("trainer-") ? trainers_ : receivers_).push_back(std::move(relay));
  AvoidSilent();
  self_index_ = 0;
  for (size_t i = 0; i < receivers_.size(); ++i)
    if (receivers_[i].name == setup_.self) self_index_ = i;
  Result<std::shared_ptr<const WeightImage>> built = Fail(ErrorCode::kNotFound, "");
  if (HasBase(manifest)) {
    Result<Chain> chain = PlanChain(manifest, true);
    built = chain ? Build(manifest, *chain) : Fail(chain.error());
    if (!built)
      LogError(built.error(), fmt::format("version {} on top of {}; now from a full copy", version.value, image_->manifest.version.value));
  }
  if (!built) {
    CANDOR_ASSIGN(const Chain chain, PlanChain(manifest, false));
    built = Build(manifest, chain);
  }
  if (!built) return built;
  image_ = *built;
  store_.DropBelow({version.value > 0 ? version.value - 1 : 0});
  last_.seconds = SteadySeconds() - start;
  return image_;
}

// Chunks in parallel: first those that the others expect from us.
Result<std::shared_ptr<const WeightImage>> VersionFetcher::Build(const VersionManifest& manifest, const Chain& chain) {
  auto image = std::make_shared<WeightImage>();
  image->manifest = manifest;
  image->chunks.resize(manifest.chunks.size());
  std::vector<size_t> order(manifest.chunks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t ring = std::max<size_t>(1, receivers_.size());
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return (a % ring + ring - self_index_) % ring < (b % ring + ring - self_index_) % ring; });
  std::atomic<size_t> next = 0;
  std::mutex failure_mutex;
  Status failure;
  const auto work = [&] {
    Lines lines;
    for (size_t i = 0; (i = next++) < order.size();) {
      Result<Bytes> built = setup_.stop && setup_.stop->load() ? Fail(ErrorCode::kCancelled, "stopped on request")
                                                               : BuildChunk(manifest, chain, order[i], lines);
      if (built) {
        image->chunks[order[i]] = std::move(*built);
        continue;
      }
      next = order.size();
      const std::scoped_lock lock(failure_mutex);
      if (failure) failure = Fail(built.error());
    }
  };
  {
    std::vector<NamedThread> threads;
    for (int i = 1; i < setup_.streams; ++i) threads.emplace_back("fetch-" + std::to_string(i), work);
    work();
  }
  CANDOR_TRY(failure);
  return image;
}

Result<Bytes> VersionFetcher::BuildChunk(const VersionManifest& manifest, const Chain& chain, size_t chunk, Lines& lines) {
  const ContentChunk& want = manifest.chunks[chunk];
  const auto in_chunk = [&](Error error) {
    error.what = fmt::format("chunk {} (bytes {} to {}) of version {}: {}", chunk, want.offset, want.offset + want.bytes,
                             manifest.version.value, error.what);
    return Fail(error);
  };
  const auto& links = chain.links;
  size_t first = 0;  // where this chunk begins
  bool from_base = chain.base;
  for (size_t i = links.size(); i-- > 0;) {
    const ChunkPacking& packed = links[i].chunks[chunk];
    const bool needs_full = !packed.delta && !packed.same;
    if (needs_full || (!chain.base && packed.full)) {
      first = i, from_base = false;
      break;
    }
  }
  Bytes content = from_base ? image_->chunks[chunk] : nullptr;
  std::string hash = from_base ? image_->manifest.chunks[chunk].hash : "";
  for (size_t i = first; i < links.size(); ++i) {
    const ChunkPacking& packed = links[i].chunks[chunk];
    if (content && packed.same) continue;
    const bool delta = content != nullptr;
    Result<Bytes> blob =
        FetchBlob(links[i].version, links[i].version == manifest.version, chunk, delta ? *packed.delta : *packed.full, lines);
    if (!blob) return in_chunk(blob.error());
    if (delta) {
      Result<std::string> applied = ApplyDelta(*content, hash, **blob);
      if (!applied) return in_chunk(applied.error());
      content = std::make_shared<const std::string>(std::move(*applied));
    } else {
      content = std::move(*blob);
    }
    hash = delta ? HashHex(*content) : packed.full->hash;
  }
  if (content->size() != want.bytes || hash != want.hash)
    return in_chunk({ErrorCode::kInvalidInput, "what came out does not have the hash of the manifest", "", "", false});
  return content;
}

void VersionFetcher::Avoid(const std::string& name, const std::string& why) {
  const std::scoped_lock lock(mutex_);
  avoid_.try_emplace(name, why);
}

std::string VersionFetcher::WithEarlier(std::string tried) {
  const std::scoped_lock lock(mutex_);
  for (const auto& [name, why] : avoid_)
    if (("; " + tried).find("; " + name + ": ") == std::string::npos)
      tried += (tried.empty() ? "" : "; ") + name + ": " + why + " (not asked again)";
  return tried;
}

// A lost relay is left alone for a while: waiting for it anew would cost every version seconds.
void VersionFetcher::NoteSilence(const RelayAddress& relay, const Error& error) {
  const std::scoped_lock lock(mutex_);
  Silence& silence = silent_[relay.endpoint];
  if (SteadyMs() < silence.until_ms) return;  // the other streams have found it silent, too
  silence.pause_ms = std::clamp(2 * silence.pause_ms, kSilentFirstMs, kSilentLastMs);
  silence.until_ms = SteadyMs() + silence.pause_ms;
  spdlog::info("weights: {} at {} does not answer ({}); not asked again for {} s", relay.name, relay.endpoint, error.what,
               silence.pause_ms / 1000);
}

// A new version: whoever was silent a moment ago is stepped over, and those who have gone or moved are forgotten.
void VersionFetcher::AvoidSilent() {
  const std::scoped_lock lock(mutex_);
  avoid_.clear();
  std::erase_if(silent_, [&](const auto& one) {
    return std::none_of(receivers_.begin(), receivers_.end(), [&](const RelayAddress& relay) { return relay.endpoint == one.first; });
  });
  for (const RelayAddress& relay : receivers_)
    if (const auto found = silent_.find(relay.endpoint); found != silent_.end() && SteadyMs() < found->second.until_ms)
      avoid_.try_emplace(relay.name, "it did not answer a while ago");
}

bool VersionFetcher::Avoided(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  return avoid_.count(name) > 0;
}

Result<std::string> VersionFetcher::FetchFrom(const RelayAddress& relay, Role role, const Blob& blob, int wait_ms, Lines& lines) {
  CANDOR_ASSIGN(BlobClient * client, lines.To(setup_, relay, role));
  const int deadline_ms = wait_ms + setup_.answer_ms + static_cast<int>(blob.bytes / kSlowestBytesPerMs);
  Result<std::string> bytes = client->Fetch(blob.hash, blob.bytes, wait_ms, deadline_ms);
  if (!bytes && bytes.error().code != ErrorCode::kNotFound) lines.HangUp(relay);
  return bytes;
}

// From the relays whose turn it is, then from the trainer's rank, then from its file. Whoever fails is not asked again for this version.
Result<Bytes> VersionFetcher::FetchBlob(PolicyVersion version, bool newest, size_t chunk, const Blob& blob, Lines& lines) {
  std::string tried;
  const auto take = [&](std::string bytes, const RelayAddress* relay) -> Bytes {
    auto shared = std::make_shared<const std::string>(std::move(bytes));
    if (setup_.relay) store_.Put(blob.hash, version, {shared, nullptr, 0, shared->size()});
    const std::scoped_lock lock(mutex_);
    last_.bytes += shared->size(), last_.from_relays += relay ? shared->size() : 0;
    ++last_.blobs;
    if (relay) silent_.erase(relay->endpoint);
    return shared;
  };
  const auto failed = [&](const std::string& name, const Error& error) {
    tried += (tried.empty() ? "" : "; ") + name + ": " + error.what;
    if (error.code != ErrorCode::kInvalidInput) return;
    spdlog::warn("weights version={} chunk={}: {} ({}); fetched again from another source", version.value, chunk, error.what, name);
    const std::scoped_lock lock(mutex_);
    ++last_.refused;
  };
  std::vector<std::string> avoid;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [name, why] : avoid_) avoid.push_back(name);
  }
  for (const RelayAddress& relay : AskInTurn(receivers_, setup_.self, chunk, avoid)) {
    if (Avoided(relay.name)) continue;
    Result<std::string> bytes = FetchFrom(relay, Role::kRollout, blob, newest ? setup_.wait_ms : 0, lines);
    if (bytes) return take(std::move(*bytes), &relay);
    failed(relay.name, bytes.error());
    Avoid(relay.name, bytes.error().what);
    if (bytes.error().code == ErrorCode::kUnavailable) NoteSilence(relay, bytes.error());
  }
  const std::string source = "trainer-" + std::to_string(blob.rank);
  for (const RelayAddress& trainer : trainers_) {
    if (trainer.name != source || Avoided(source)) continue;
    Result<std::string> bytes = FetchFrom(trainer, Role::kTrainer, blob, 0, lines);
    if (bytes) return take(std::move(*bytes), nullptr);
    failed(source, bytes.error());
    if (bytes.error().code != ErrorCode::kNotFound) Avoid(source, bytes.error().what);
  }
  if (setup_.relay && !setup_.files_as_last_resort)
    return Fail(ErrorCode::kUnavailable, "no source has blob " + blob.hash + ": " + WithEarlier(tried));
  const std::string path = ChunkFile(VersionFolder(setup_.weights, version), blob.rank);
  Result<std::shared_ptr<const OpenFile>> file = OpenFile::Open(path);
  Result<std::string> bytes = file ? (*file)->Read(blob.at, blob.bytes) : Fail(file.error());
  if (bytes && HashHex(*bytes) != blob.hash) bytes = Fail(ErrorCode::kInvalidInput, "the file does not have the blob's hash there", path);
  if (bytes) return take(std::move(*bytes), nullptr);
  failed(path, bytes.error());
  return Fail(bytes.error().code, "no source has blob " + blob.hash + ": " + WithEarlier(tried));
}

}  // namespace candor
