// Published weights: RUN_DIR/weights/v<N>/ (weights/manifest.h). Every rank cuts its own slices of the policy into chunks and writes them
// to a file of its own, as a delta against the version before where that is smaller, so no rank ever holds or sends more than its share.
// The manifest is written last and the folder gets its name by one rename. With transfer = "relay" every rank serves its file to the
// rollouts. Collective calls; one thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "model/policy_folder.h"
#include "proto/messages.h"
#include "trainer/sharded_policy.h"
#include "weights/blob_server.h"
#include "weights/manifest.h"

namespace candor {

struct PublishOptions {
  std::string run_dir;
  int64_t keep = 3;        // the newest versions that stay, and what is needed to build them
  int64_t full_every = 8;  // versions between full copies
  uint64_t chunk_bytes = uint64_t{4} << 20;
  bool relay = false;  // serve the chunks
  std::string bind = "tcp://127.0.0.1:0";
  bool encrypt = false;  // over `transport`
  Transport* transport = nullptr;
};

struct PublishStats {
  uint64_t content_bytes = 0, delta_bytes = 0, full_bytes = 0;  // of all ranks: the weights, and blobs written for this version
  double encode_seconds = 0.0;                                  // this rank: comparing, packing and hashing
};

class WeightPublisher {
 public:
  // The policy outlives the publisher.
  WeightPublisher(ShardedPolicy& policy, PublishOptions options);
  // Writes version `version` and removes versions that nobody needs any more. The same answer on every rank.
  Result<VersionInfo> Publish(int64_t version);
  const PublishStats& last() const { return last_; }
  uint64_t bytes_sent() const { return server_ ? server_->bytes_sent() : 0; }  // by this rank to rollouts

 private:
  // A range of the image that this rank publishes.
  struct Piece {
    size_t unit = 0;
    uint64_t unit_offset = 0;  // bytes from the start of this rank's slice
    uint64_t image_offset = 0, bytes = 0;
    std::string before, hash;  // as published last
  };
  void PlanPieces();
  Status StartServer();
  Status WriteChunks(const std::string& path, bool full, std::string& lines);
  Status Complete(const std::string& part, int64_t version, const std::vector<std::string>& lines, std::string& hash);
  Status Serve(const std::string& folder, int64_t version);
  void RemoveOldVersions(int64_t newest) const;

  ShardedPolicy& policy_;
  const PublishOptions options_;
  const std::string weights_;
  std::vector<Piece> pieces_;
  int64_t published_ = -1, full_ = -1;  // versions of this life
  PublishStats last_;
  BlobStore store_;
  std::unique_ptr<BlobServer> server_;  // after the store
  std::vector<Blob> mine_;              // blobs of this rank in the version being published
};

// A complete Hugging Face folder with tokenizer, model card and, where `confidence` is set, confidence.json: the averaged weights when
// there are any, else the present ones. Rank 0 holds the whole policy for it, in the compute format.
Status WriteFinalPolicy(ShardedPolicy& policy, const std::string& folder, const PolicyFolderOptions& options);

}  // namespace candor
