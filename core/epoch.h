// Epochs fence incarnations of a process that may run only once (the coordinator, the trainer, a Slurm job): each takes the next number
// with link(2) on <folder>/<prefix>N, which is atomic on shared file systems where locks are not. Whoever finds a newer epoch than its own
// has been replaced: whatever it wrote since then was never acknowledged, and it must end. Slurm can run one job twice, so this is no
// theory. Any thread.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/disk.h"
#include "core/result.h"

namespace candor {

class Epoch {
 public:
  // The next free number. `who` goes into the file, for people.
  static Result<Epoch> Take(const std::string& folder, const std::string& who, const std::string& prefix = "epoch.",
                            Disk& disk = SystemDisk());
  uint64_t number() const { return number_; }
  // kUnavailable once a newer epoch exists.
  Status CheckStillOurs() const;

 private:
  Epoch(Disk& disk, std::string folder, std::string prefix, uint64_t number)
      : disk_(&disk), folder_(std::move(folder)), prefix_(std::move(prefix)), number_(number) {}
  Disk* disk_;
  std::string folder_, prefix_;
  uint64_t number_;
};

// Numbers N of the entries `<prefix>N` in a folder, ascending.
std::vector<uint64_t> NumberedEntries(const std::string& folder, const std::string& prefix, Disk& disk = SystemDisk());

}  // namespace candor
