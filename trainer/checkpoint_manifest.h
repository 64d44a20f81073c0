// What is known of checkpoints without torch: the manifest, the folders and which of them are kept. RUN_DIR/checkpoints/step_<N>/ holds
// rank_<r>.safetensors for each slice and manifest.json, which is written last:
//   {"body": {format, step, updates, slices, ranks, average, units: [{name, count, slice}], files: [as in file_list.h], books},
//    "hash": XXH3-128 of the body as printed}
// A manifest must be byte for byte what this program would print for it, so that no damage of it goes unnoticed. `books` is what the
// coordinator knew at the snapshot: prompt cursor, spooled groups by hash, groups in flight, RNG coordinates, ledger sequence, record
// watermark; null when it could not be asked. Any thread.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/result.h"
#include "trainer/file_list.h"
#include "trainer/options.h"

namespace candor {

struct CheckpointUnit {
  std::string name;
  int64_t count = 0, slice = 0;  // elements of the unit, of one slice
};
struct CheckpointManifest {
  int64_t step = 0, updates = 0;
  int slices = 1, ranks = 1;
  bool average = false;
  std::vector<CheckpointUnit> units;
  std::vector<ListedFile> files;  // file r holds slice r
  std::string books;              // JSON text; "" = null
  std::string hash;               // XXH3-128 of the whole text, set by ParseCheckpointManifest
  uint64_t LedgerSequence() const;
};
std::string ManifestText(const CheckpointManifest& manifest);
// `where` names the text in errors. Never throws, whatever the text.
Result<CheckpointManifest> ParseCheckpointManifest(const std::string& text, const std::string& where);
Result<CheckpointManifest> ReadCheckpointManifest(const std::string& folder);

std::string CheckpointFolderName(int64_t step);
std::string SliceFileName(int slice);

struct CheckpointFolder {
  int64_t step = 0;
  std::string name;  // below the folder of checkpoints
};
// Folders that may be complete checkpoints, newest first. One that was moved aside while its successor took its name counts as long as
// there is no successor.
std::vector<CheckpointFolder> FindCheckpoints(const std::string& checkpoints);
// Everything that is wrong with a checkpoint, each with file and byte range; empty when it is whole. Reads all of it.
std::vector<Error> VerifyCheckpoint(const std::string& folder);
// Moves a damaged one out of the way, for people to look at: damaged_step_<N>.
Status SetDamagedAside(const std::string& checkpoints, const CheckpointFolder& folder);

// By step: the figure `metric` of the dev evaluations (mean over them), or where there are none of training, from the run's
// evals.jsonl and metrics.jsonl.
std::map<int64_t, double> ReadFigures(const std::string& run_dir, const std::string& metric);
bool LowerIsBetter(const std::string& metric);
// Which of `steps` go: all but the newest keep_last and the best keep_best_n. The newest never goes.
std::vector<int64_t> PlanRetention(std::vector<int64_t> steps, const std::map<int64_t, double>& figures, const CheckpointOptions& keep);
// The steps that keep_best holds on to, best first.
std::vector<int64_t> BestSteps(const std::vector<int64_t>& steps, const std::map<int64_t, double>& figures, const CheckpointOptions& keep);

}  // namespace candor
