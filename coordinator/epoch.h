// Epochs fence incarnations of the coordinator: each takes the next number with link(2) on RUN_DIR/epoch.N, which is atomic on shared file
// systems where locks are not. Whoever finds a newer epoch than its own has been replaced: whatever it wrote since then was never
// acknowledged, and it must end.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

class Epoch {
 public:
  // The next free number. `who` goes into the file, for people.
  static Result<Epoch> Take(const std::string& run_dir, const std::string& who);
  uint64_t number() const { return number_; }
  // kUnavailable once a newer epoch exists.
  Status CheckStillOurs() const;

 private:
  Epoch(std::string run_dir, uint64_t number) : run_dir_(std::move(run_dir)), number_(number) {}
  std::string run_dir_;
  uint64_t number_;
};

// Numbers N of the entries `<prefix>N` in a folder, ascending.
std::vector<uint64_t> NumberedEntries(const std::string& folder, const std::string& prefix);

}  // namespace candor
