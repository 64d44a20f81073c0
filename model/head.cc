// Logits, statistics and log-probabilities of the LM head, in chunks of rows.
#include "model/head.h"

#include "core/check.h"
#include "model/large_pages.h"
#include "model/norm.h"
#include "model/parallel.h"
#include "model/portable/head.h"

namespace candor {
namespace {

// Rows whose fp32 logits fill about 60 MiB: weights are read once per chunk, and of rows that were not kept the head's gradient (V x D,
// fp32) is read and written once per chunk, so chunks must not be small.
int64_t ChunkRows(int64_t vocab_size) { return std::max<int64_t>(16, (int64_t{60} << 20) / (4 * vocab_size) / 32 * 32); }

void CheckIds(const std::vector<int32_t>& ids, int64_t vocab_size) {
  for (int32_t id : ids) CANDOR_CHECK(0 <= id && id < vocab_size, "a token id lies outside the vocabulary");
}

// The upstream gradients of the rows that have any, with the rows' numbers.
struct ActiveRows {
  std::vector<int64_t> rows;
  const float* dlog_probs = nullptr;
  const float* dselected = nullptr;
  int64_t extras = 0;
};

ActiveRows FindActive(int64_t rows, const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME) {
  ActiveRows active;
  if (dlog_probs_M.defined()) {
    CANDOR_CHECK(dlog_probs_M.is_contiguous() && dlog_probs_M.scalar_type() == at::kFloat && dlog_probs_M.numel() == rows);
    active.dlog_probs = dlog_probs_M.const_data_ptr<float>();
  }
  if (dselected_ME.defined()) {
    CANDOR_CHECK(dselected_ME.is_contiguous() && dselected_ME.scalar_type() == at::kFloat && dselected_ME.size(0) == rows);
    active.dselected = dselected_ME.const_data_ptr<float>();
    active.extras = dselected_ME.size(1);
  }
  for (int64_t row = 0; row < rows; ++row) {
    bool any = active.dlog_probs && active.dlog_probs[row] != 0.0f;
    for (int64_t e = 0; e < active.extras; ++e) any = any || active.dselected[row * active.extras + e] != 0.0f;
    if (any) active.rows.push_back(row);
  }
  return active;
}

at::Tensor SelectRows(const at::Tensor& x_MD, const int64_t* rows, int64_t count) {
  const int64_t bytes = x_MD.size(1) * x_MD.element_size();
  at::Tensor out = at::empty({count, x_MD.size(1)}, x_MD.options());
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(static_cast<const char*>(x_MD.const_data_ptr()) + rows[i] * bytes, bytes,
                static_cast<char*>(out.mutable_data_ptr()) + i * bytes);
  }
  return out;
}

int32_t Rank(const float* logits_V, int64_t vocab_size, int64_t target) {
  int32_t above = 0;
  for (int64_t v = 0; v < vocab_size; ++v) above += logits_V[v] > logits_V[target];
  return 1 + above;
}

void AddAt(const at::Tensor& x, int64_t index, float value) {
  if (x.scalar_type() == at::kBFloat16) {
    at::BFloat16& place = x.mutable_data_ptr<at::BFloat16>()[index];
    place = static_cast<float>(place) + value;
  } else {
    x.mutable_data_ptr<float>()[index] += value;
  }
}

}  // namespace

RowStats RowStatistics(const float* logits_V, int64_t vocab_size) {
  RowStats stats;
  GetKernels().row_statistics(logits_V, vocab_size, &stats.max, &stats.log_sum_exp, &stats.entropy);
  return stats;
}

at::Tensor Logits(const Linear& head, const at::Tensor& hidden_MD, const Numerics& numerics) {
  at::Tensor logits_MV = at::empty({hidden_MD.size(0), head.weight_OI.size(0)}, hidden_MD.options().dtype(at::kFloat));
  ApplyToFloat(head, hidden_MD, logits_MV, numerics);
  return logits_MV;
}

TokenScores ComputeTokenLogProbs(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const Numerics& numerics, int64_t keep_bytes, bool ranks) {
  const int64_t rows = hidden_MD.size(0), vocab_size = head.weight_OI.size(0), chunk = ChunkRows(vocab_size);
  const auto extras = static_cast<int64_t>(extra_ids_E.size());
  CANDOR_CHECK(rows == static_cast<int64_t>(targets_M.size()));
  CheckIds(targets_M, vocab_size);
  CheckIds(extra_ids_E, vocab_size);
  if (!hidden_MD.is_cpu()) return portable::ComputeTokenLogProbs(head, hidden_MD, targets_M, extra_ids_E, ranks);
  const auto fp32 = hidden_MD.options().dtype(at::kFloat);
  TokenScores scores{at::empty({rows}, fp32), at::empty({rows}, fp32), at::empty({rows}, fp32), {}};
  if (ranks) scores.ranks_M = at::empty({rows}, hidden_MD.options().dtype(at::kInt));
  int32_t* rank = ranks ? scores.ranks_M.mutable_data_ptr<int32_t>() : nullptr;
  if (extras > 0) scores.selected_ME = at::empty({rows, extras}, fp32);
  float *log_probs = scores.log_probs_M.mutable_data_ptr<float>(), *entropy = scores.entropy_M.mutable_data_ptr<float>();
  float *log_sum_exp = scores.log_sum_exp_M.mutable_data_ptr<float>(),
        *selected = extras > 0 ? scores.selected_ME.mutable_data_ptr<float>() : nullptr;
  const int64_t row_bytes = vocab_size * hidden_MD.element_size(), kept_rows = std::min(rows, keep_bytes / row_bytes),
                first_kept = rows - kept_rows;
  if (kept_rows > 0) scores.kept_KV = Room(kept_rows * vocab_size, hidden_MD.scalar_type()).view({kept_rows, vocab_size});
  char* kept = kept_rows > 0 ? static_cast<char*>(scores.kept_KV.mutable_data_ptr()) : nullptr;
  const TypedKernels& kernels = TypedKernelsOf(hidden_MD);
  const int64_t longest = std::min(chunk, rows);
  const at::Tensor buffer_CV = Room(longest * vocab_size, at::kFloat).view({longest, vocab_size});  // one for all chunks
  const Linear ready = ForChunks(head, true, false);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const at::Tensor logits_CV = buffer_CV.narrow(0, 0, count);
    ApplyToFloat(ready, hidden_MD.narrow(0, first, count), logits_CV, numerics);
    const float* logits = logits_CV.const_data_ptr<float>();
    ParallelRows(count, vocab_size, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* z = logits + i * vocab_size;
        const int64_t m = first + i, target = targets_M[static_cast<size_t>(m)];
        const RowStats stats = RowStatistics(z, vocab_size);
        log_probs[m] = z[target] - stats.log_sum_exp;
        entropy[m] = stats.entropy;
        log_sum_exp[m] = stats.log_sum_exp;
        if (ranks) rank[m] = Rank(z, vocab_size, target);
        for (int64_t e = 0; e < extras; ++e) selected[m * extras + e] = z[extra_ids_E[static_cast<size_t>(e)]];
        if (m >= first_kept)
          kernels.log_prob_gradient(z, vocab_size, stats.log_sum_exp, target, -1.0f, kept + (m - first_kept) * row_bytes);
      }
    });
  }
  return scores;
}

namespace {

// Gradients of the logits of the rows that were kept, in their own memory, which they fill from its beginning. Threads share columns: a
// row may move to where an earlier one was.
at::Tensor ScaleKept(const at::Tensor& kept_KV, const ActiveRows& active, const int64_t* rows_A, int64_t count, int64_t first_kept) {
  const int64_t vocab_size = kept_KV.size(1), size = kept_KV.element_size();
  const TypedKernels& kernels = TypedKernelsOf(kept_KV);
  char* memory = static_cast<char*>(kept_KV.mutable_data_ptr());
  at::parallel_for(0, vocab_size, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; ++i) {
      const float scale = active.dlog_probs ? -active.dlog_probs[rows_A[i]] : 0.0f;
      kernels.scale(memory + ((rows_A[i] - first_kept) * vocab_size + begin) * size, memory + (i * vocab_size + begin) * size, end - begin,
                    scale);
    }
  });
  return kept_KV.narrow(0, 0, count);
}

}  // namespace

at::Tensor TokenLogProbsBackward(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const TokenScores& scores, const at::Tensor& dlog_probs_M,
                                 const at::Tensor& dselected_ME, const Linear& grad_head, const Numerics& numerics) {
  const int64_t rows = hidden_MD.size(0), width = hidden_MD.size(1), vocab_size = head.weight_OI.size(0);
  const ActiveRows active = FindActive(rows, dlog_probs_M, dselected_ME);
  if (!hidden_MD.is_cpu())
    return portable::TokenLogProbsBackward(head, hidden_MD, targets_M, extra_ids_E, scores, dlog_probs_M, dselected_ME, active.rows,
                                           grad_head);
  const at::Tensor dhidden_MD = at::zeros({rows, width}, hidden_MD.options().dtype(at::kFloat));
  const int64_t first_kept = rows - (scores.kept_KV.defined() ? scores.kept_KV.size(0) : 0);
  const auto others = std::lower_bound(active.rows.begin(), active.rows.end(), first_kept) - active.rows.begin();
  const Linear ready = ForChunks(head, others > 0, true);
  // From the gradients of the log-probabilities of rows_C to those of everything else.
  const auto run = [&](const int64_t* rows_C, const at::Tensor& hidden_CD, const at::Tensor& dlogits_CV) {
    for (int64_t i = 0; i < dlogits_CV.size(0); ++i)
      for (int64_t e = 0; e < active.extras; ++e)
        AddAt(dlogits_CV, i * vocab_size + extra_ids_E[static_cast<size_t>(e)], active.dselected[rows_C[i] * active.extras + e]);
    AddWeightGradient(hidden_CD, dlogits_CV, grad_head, numerics);
    const at::Tensor dhidden_CD = InputGradientFloat(ready, dlogits_CV, numerics);
    for (int64_t i = 0; i < dlogits_CV.size(0); ++i)
      std::copy_n(dhidden_CD.const_data_ptr<float>() + i * width, width, dhidden_MD.mutable_data_ptr<float>() + rows_C[i] * width);
  };
  if (const auto count = static_cast<int64_t>(active.rows.size()) - others; count > 0) {
    const int64_t* rows_A = active.rows.data() + others;
    run(rows_A, SelectRows(hidden_MD, rows_A, count), ScaleKept(scores.kept_KV, active, rows_A, count, first_kept));
  }
  if (others == 0) return dhidden_MD;
  const int64_t chunk = std::min(ChunkRows(vocab_size), others);
  const at::Tensor logits_buffer_CV = Room(chunk * vocab_size, at::kFloat).view({chunk, vocab_size}),
                   dlogits_buffer_CV = Room(chunk * vocab_size, hidden_MD.scalar_type()).view({chunk, vocab_size});
  const float* log_sum_exp = scores.log_sum_exp_M.const_data_ptr<float>();
  const TypedKernels& kernels = TypedKernelsOf(hidden_MD);
  for (int64_t first = 0; first < others; first += chunk) {
    const int64_t count = std::min<int64_t>(chunk, others - first);
    const int64_t* rows_C = active.rows.data() + first;
    const at::Tensor hidden_CD = SelectRows(hidden_MD, rows_C, count), logits_CV = logits_buffer_CV.narrow(0, 0, count),
                     dlogits_CV = dlogits_buffer_CV.narrow(0, 0, count);
    ApplyToFloat(ready, hidden_CD, logits_CV, numerics);
    const float* logits = logits_CV.const_data_ptr<float>();
    ParallelRows(count, vocab_size, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t m = rows_C[i];
        kernels.log_prob_gradient(logits + i * vocab_size, vocab_size, log_sum_exp[m], targets_M[static_cast<size_t>(m)],
                                  active.dlog_probs ? active.dlog_probs[m] : 0.0f,
                                  static_cast<char*>(dlogits_CV.mutable_data_ptr()) + i * vocab_size * dlogits_CV.element_size());
      }
    });
    run(rows_C, hidden_CD, dlogits_CV);
  }
  return dhidden_MD;
}

}  // namespace candor
