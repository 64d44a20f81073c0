// Which sequences share a grid, and the index tensors of each grid.
#include "model/portable/sequences.h"

#include <algorithm>
#include <numeric>

#include "model/device.h"

namespace candor::portable {
namespace {

constexpr int64_t kCellsAlways = int64_t{1} << 18;  // grids up to this many (query, key) pairs are never split: a launch costs more
constexpr int64_t kCellsMost = int64_t{1} << 22;    // times the heads, in fp32: half a GiB at 32 heads; one long sequence may exceed it

int64_t RoundUp(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Sequences of like size together: at most half of a large grid is padding.
std::vector<std::vector<size_t>> Divide(const std::vector<Sequence>& sequences, int64_t key_multiple) {
  std::vector<size_t> order;
  for (size_t i = 0; i < sequences.size(); ++i)
    if (sequences[i].rows > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(sequences[a].rows, sequences[a].keys()) > std::pair(sequences[b].rows, sequences[b].keys());
  });
  std::vector<std::vector<size_t>> parts;
  int64_t queries = 0, keys = 0, real = 0;
  for (size_t i : order) {
    const Sequence& sequence = sequences[i];
    const int64_t q = std::max(queries, sequence.rows), t = std::max(keys, RoundUp(sequence.keys(), key_multiple));
    const int64_t more_real = real + sequence.rows * sequence.keys();
    const int64_t cells = parts.empty() ? 0 : static_cast<int64_t>(parts.back().size() + 1) * q * t;
    if (parts.empty() || cells > kCellsMost || (cells > kCellsAlways && cells > 2 * more_real)) {
      parts.emplace_back();
      queries = sequence.rows, keys = RoundUp(sequence.keys(), key_multiple), real = sequence.rows * sequence.keys();
    } else {
      queries = q, keys = t, real = more_real;
    }
    parts.back().push_back(i);
  }
  return parts;
}

SequenceGrid MakeGrid(const std::vector<Sequence>& sequences, const std::vector<size_t>& members, int64_t key_multiple,
                      const AppendSources& append, const at::Device& device) {
  SequenceGrid grid;
  grid.sequences = static_cast<int64_t>(members.size());
  for (size_t i : members) {
    grid.queries = std::max(grid.queries, sequences[i].rows);
    grid.keys = std::max(grid.keys, RoundUp(sequences[i].keys(), key_multiple));
  }
  std::vector<int64_t> query_rows, lengths, contexts, sources;
  for (size_t i : members) {
    const Sequence& sequence = sequences[i];
    for (int64_t q = 0; q < grid.queries; ++q) query_rows.push_back(q < sequence.rows ? sequence.row_begin + q : 0);
    lengths.push_back(sequence.rows), contexts.push_back(sequence.context);
    append(i, grid.keys, sources);
  }
  const auto index = at::TensorOptions(at::kLong).device(device);
  const at::Tensor query_1Q = at::arange(grid.queries, index).unsqueeze(0), key_T = at::arange(grid.keys, index);
  grid.query_rows_SQ = ToDevice(query_rows, device);
  grid.sources = ToDevice(sources, device);
  grid.padding_SQ = query_1Q >= ToDevice(lengths, device).unsqueeze(1);
  const at::Tensor last_SQ = query_1Q + ToDevice(contexts, device).unsqueeze(1);  // the last key that a query sees
  grid.hidden_SQT = key_T > last_SQ.unsqueeze(2);
  return grid;
}

}  // namespace

SequencePlan PlanSequences(const std::vector<Sequence>& sequences, int64_t rows_N, int64_t key_multiple, const AppendSources& append,
                           const at::Device& device) {
  SequencePlan plan;
  std::vector<int64_t> place_N(static_cast<size_t>(rows_N), 0);
  int64_t first = 0;
  for (const std::vector<size_t>& members : Divide(sequences, key_multiple)) {
    plan.grids.push_back(MakeGrid(sequences, members, key_multiple, append, device));
    for (size_t i : members) {
      std::iota(place_N.begin() + sequences[i].row_begin, place_N.begin() + sequences[i].row_begin + sequences[i].rows, first);
      first += plan.grids.back().queries;
    }
  }
  plan.place_N = ToDevice(place_N, device);
  return plan;
}

}  // namespace candor::portable
