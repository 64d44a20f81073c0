// Scored groups on disk until a durable checkpoint covers their step: RUN_DIR/spool/<worker>/<group>.group, one file a group. A group is on
// disk (fsync of file and folder) before anybody is told of it; a file that is torn, flipped or foreign is set aside when the spool is
// opened and never served.
//
//   file = "CNDSPL01" · u64 group · u64 wave · u64 payload bytes · XXH3-128 of the three numbers and the payload's hash · XXH3-128 of the
//   payload · the payload (EncodePayload)
// Numbers are little endian, hashes 32 hex digits.
// Thread rule: any thread; one lock.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/disk.h"
#include "core/ids.h"
#include "core/result.h"

namespace candor {

struct SpooledGroup {
  GroupId group;
  StepId wave;
  std::string hash;  // XXH3-128 of the payload, hex
  uint64_t payload_bytes = 0;
};

// The payload of one file, checked; for readers beside a worker that owns the spool (it may delete the file at any time).
Result<std::string> ReadSpooledFile(const std::string& path);

class Spool {
 public:
  // Makes the folder, removes unfinished writes, checks every file. `limit_bytes`: see Put.
  static Result<std::unique_ptr<Spool>> Open(const std::string& folder, uint64_t limit_bytes, Disk& disk = SystemDisk());

  // Durable when it returns. A group that is already there is kept as it is and returned: its hash may be in a plan. Errors: kUnavailable
  // when the limit is reached, kIo when the disk is full or broken; nothing is left behind.
  Result<SpooledGroup> Put(GroupId group, StepId wave, std::string_view payload);
  // The payload, checked against `hash` ("" = whatever is there). kNotFound; kInvalidInput when the hash differs; kIo when the file no
  // longer holds what was written: it is then set aside, so that the group can be written again.
  Result<std::string> Fetch(GroupId group, const std::string& hash);
  std::optional<SpooledGroup> Find(GroupId group) const;
  std::vector<SpooledGroup> List() const;  // in id order
  // Deletes training groups of waves up to and including `through`.
  void ReleaseThrough(StepId through);
  void Forget(std::span<const GroupId> groups);

  uint64_t bytes() const;
  uint64_t set_aside() const { return set_aside_; }  // bad files found

 private:
  Spool(Disk& disk, std::string folder, uint64_t limit_bytes) : disk_(disk), folder_(std::move(folder)), limit_bytes_(limit_bytes) {}
  std::string PathOf(GroupId group) const;
  Status Scan();
  Result<std::string> ReadPayload(const SpooledGroup& entry) const;
  void Remove(std::map<GroupId, SpooledGroup>::iterator entry);
  void SetAside(const std::string& path, const Error& error);

  Disk& disk_;
  const std::string folder_;
  const uint64_t limit_bytes_;
  uint64_t set_aside_ = 0;
  mutable std::mutex mutex_;
  std::map<GroupId, SpooledGroup> groups_;
  uint64_t bytes_ = 0;
};

}  // namespace candor
