// A receiver of published versions: fetches the blobs of a version, from files or from relays, applies them to what it holds and verifies
// every chunk against the manifest before anybody sees it. The image of the version before stays whole until the new one is; a process
// killed in between has lost only memory.
//
// The chain has no gaps: a delta is applied only to the very bytes it was made from. Whoever lacks a link (a late joiner, a version that
// was made again) begins at the newest version with a full copy and applies the deltas after it. A blob with wrong bytes is fetched from
// somebody else, and the log names who sent it.
//
// No torch. Fetch belongs to one thread; the relay's own threads serve what was fetched.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "weights/blob_server.h"
#include "weights/manifest.h"
#include "weights/relay_list.h"

namespace candor {

struct WeightImage {
  VersionManifest manifest;
  std::vector<Bytes> chunks;  // as in the manifest
};

struct FetcherSetup {
  std::string weights;  // RUN_DIR/weights
  bool relay = false;   // blobs over the network, else from the files of the trainer's ranks
  // For relays:
  std::string self;                        // this process's name among the receivers: "rollout-0"
  std::string bind = "tcp://127.0.0.1:0";  // where it serves
  bool encrypt = false;                    // over `transport` instead of plain TCP
  Transport* transport = nullptr;
  bool files_as_last_resort = true;  // when nobody serves a blob: the trainer's file, which a shared file system shows
  int wait_ms = 3000;                // for a relay that does not have the blob yet
  int answer_ms = 10000;             // and beyond that for its answer
  int streams = 2;                   // blobs fetched at once
  const std::atomic<bool>* stop = nullptr;
};

struct FetchStats {
  uint64_t blobs = 0, bytes = 0;
  uint64_t refused = 0;      // blobs that came with wrong bytes
  uint64_t from_relays = 0;  // bytes
  double seconds = 0.0;
};

class VersionFetcher {
 public:
  // A relay begins to serve and announces itself.
  static Result<std::unique_ptr<VersionFetcher>> Start(FetcherSetup setup);
  ~VersionFetcher();
  // `manifest_hash`: what the coordinator said; "" for a version other than the newest, whose manifest is read without.
  Result<std::shared_ptr<const WeightImage>> Fetch(PolicyVersion version, const std::string& manifest_hash);
  const FetchStats& last() const { return last_; }                                // of the last Fetch
  const std::string& endpoint() const { return server_->endpoint(); }             // of a relay
  uint64_t relayed_bytes() const { return server_ ? server_->bytes_sent() : 0; }  // that this receiver sent to others

 private:
  struct Chain;
  class Lines;
  explicit VersionFetcher(FetcherSetup setup) : setup_(std::move(setup)) {}
  bool HasBase(const VersionManifest& manifest) const;
  Result<Chain> PlanChain(const VersionManifest& manifest, bool with_base) const;
  Result<std::shared_ptr<const WeightImage>> Build(const VersionManifest& manifest, const Chain& chain);
  Result<Bytes> BuildChunk(const VersionManifest& manifest, const Chain& chain, size_t chunk, Lines& lines);
  Result<Bytes> FetchBlob(PolicyVersion version, bool newest, size_t chunk, const Blob& blob, Lines& lines);
  Result<std::string> FetchFrom(const RelayAddress& relay, Role role, const Blob& blob, int wait_ms, Lines& lines);
  void Avoid(const std::string& name, const std::string& why);
  std::string WithEarlier(std::string tried);  // and what other streams have found out for this version
  void NoteSilence(const RelayAddress& relay, const Error& error);
  void AvoidSilent();
  bool Avoided(const std::string& name);

  const FetcherSetup setup_;
  std::shared_ptr<const WeightImage> image_;
  BlobStore store_;
  std::unique_ptr<BlobServer> server_;  // after the store, which it serves
  std::vector<RelayAddress> receivers_, trainers_;
  size_t self_index_ = 0;
  std::mutex mutex_;                          // of the three below
  std::map<std::string, std::string> avoid_;  // relays, while this version is fetched, and why
  struct Silence {
    int64_t pause_ms = 0, until_ms = 0;
  };
  std::map<std::string, Silence> silent_;  // relays' endpoints that gave no answer: not asked again before `until_ms`
  FetchStats last_;
};

// RUN_DIR/weights/v<N> as a Hugging Face folder (config.json, model.safetensors) at `folder`, which appears at once or not at all.
Status AssembleVersion(const std::string& weights, PolicyVersion version, const std::string& folder);
// The image as the bytes of model.safetensors.
std::string SafetensorsHeader(const VersionManifest& manifest);

}  // namespace candor
