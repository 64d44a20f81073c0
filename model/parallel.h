// Rows over threads: at::parallel_for with a grain in elements.
#pragma once
#include <algorithm>

#include "model/aten.h"

namespace candor {

// Calls f(begin, end) over [0, rows); a thread gets at least about 8,192 elements of `width` a row.
template <typename F>
void ParallelRows(int64_t rows, int64_t width, const F& f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, width)), f);
}

}  // namespace candor
