// Flat rows as grids: sequences of like size are padded into one batch, so that attention over all of them is a few batched products. A
// plan is made on the host once per batch of the learner or step of the engine and serves every layer. Legend: S sequences of one grid, Q
// queries and T keys that a sequence is padded to, N rows of the flat batch.
#pragma once
#include <functional>
#include <vector>

#include "model/aten.h"

namespace candor::portable {

// Rows [row_begin, row_begin + rows) of the flat batch; row i of them sees the first context + i + 1 keys of its sequence.
struct Sequence {
  int64_t row_begin = 0;
  int64_t rows = 0;
  int64_t context = 0;
  int64_t keys() const { return context + rows; }
};

struct SequenceGrid {
  int64_t sequences = 0, queries = 0, keys = 0;
  at::Tensor query_rows_SQ;  // [S * Q]: row of the flat batch; 0 in the padding
  at::Tensor padding_SQ;     // bool [S, Q]
  at::Tensor hidden_SQT;     // bool [S, Q, T]: the query does not see the key; in the padding, some keys are seen
  at::Tensor sources;        // what the caller gathers its keys by
};

struct SequencePlan {
  std::vector<SequenceGrid> grids;
  at::Tensor place_N;  // of every row: its place in the [S * Q] rows of all grids, one after the other
};

// Appends what the keys of one sequence, padded to `keys` of them, are gathered by.
using AppendSources = std::function<void(size_t sequence, int64_t keys, std::vector<int64_t>& sources)>;
// Every row of the flat batch belongs to exactly one sequence. T is a multiple of `key_multiple`.
SequencePlan PlanSequences(const std::vector<Sequence>& sequences, int64_t rows_N, int64_t key_multiple, const AppendSources& append,
                           const at::Device& device);

}  // namespace candor::portable
