// The mergeable sketch: golden cases, exact merging in any order, bytes that cannot crash.
#include "calibration/sketch.h"

#include <algorithm>
#include <numeric>

#include "core/rng.h"
#include "golden.h"

namespace candor::calibration {
namespace {

CalSketch SketchOf(const Points& points) {
  CalSketch sketch;
  for (const Point& point : points) sketch.Add(*Confidence::From(point.p), point.y);
  return sketch;
}

Points SyntheticPoints(size_t n, uint64_t seed) {
  Points points;
  for (size_t i = 0; i < n; ++i) {
    const double p = RandomUnit(seed, RngStream::kSynthetic, i, 0);
    points.push_back({p, RandomUnit(seed, RngStream::kSynthetic, i, 1) < p * p ? 1.0 : 0.0, i});
  }
  return points;
}

TEST(CalSketch, GoldenCases) {
  for (const char* id : {"sketch_A", "sketch_B"}) {
    const Case golden(id);
    const CalSketch sketch = SketchOf(golden.points());
    const SketchMetrics metrics = ComputeSketchMetrics(sketch);
    golden.Expect("ece10", metrics.ece10);
    golden.Expect("ece15", metrics.ece15);
    golden.Expect("ece20", metrics.ece20);
    golden.Expect("brier", metrics.brier);
    golden.Expect("auroc_lo", metrics.auroc.low);
    golden.Expect("auroc_mid", metrics.auroc.mid);
    golden.Expect("auroc_hi", metrics.auroc.high);
    golden.Expect("ecce", metrics.ecce.value);
    golden.Expect("ecce_sigma", metrics.ecce.in_sigmas);
    golden.Expect("aurc_cell_tie_averaged", metrics.aurc);
    golden.Expect("smece_from_1200_cells", metrics.smooth_ece);
    EXPECT_NEAR(golden.expected().at("murphy15").at("reliability").get<double>(), metrics.murphy15.reliability, 1e-9);
    EXPECT_NEAR(golden.expected().at("murphy15").at("resolution").get<double>(), metrics.murphy15.resolution, 1e-9);
    EXPECT_NEAR(metrics.brier, metrics.murphy15.brier(), 1e-12);
    EXPECT_EQ(golden.expected().at("nonzero_cells"), sketch.cells().size());
    CalSketch::Cell total;
    for (const auto& [index, cell] : sketch.cells())
      total.n += cell.n, total.y += cell.y, total.p += cell.p, total.py += cell.py, total.p2 += cell.p2;
    EXPECT_EQ(golden.expected().at("totals"), Json::array({total.n, total.y, total.p, total.py, total.p2}));
    size_t k = 0;
    for (const auto& [index, cell] : sketch.cells()) {
      if (k == golden.expected().at("first_cells").size()) break;
      EXPECT_EQ(golden.expected().at("first_cells")[k++], Json::array({index, cell.n, cell.y, cell.p, cell.py, cell.p2}));
    }
    const double exact = Auroc(golden.points());
    EXPECT_LE(metrics.auroc.low, exact);
    EXPECT_GE(metrics.auroc.high, exact);
    EXPECT_LE(metrics.augrc_low, Augrc(golden.points()) + 1e-12);
    EXPECT_GE(metrics.augrc_high, Augrc(golden.points()) - 1e-12);
    golden.Expect("smece_relplot", ComputeSmoothEce(golden.points()).value);
    EXPECT_NEAR(golden.expected().at("smece_relplot").get<double>(), metrics.smooth_ece, 2e-5);
  }
}

TEST(CalSketch, MergeIsBitIdenticalInEveryOrder) {
  const Points points = SyntheticPoints(600, 7);
  std::vector<CalSketch> parts;
  for (size_t begin = 0; begin < points.size(); begin += 150) {
    parts.push_back(SketchOf(Points(points.begin() + begin, points.begin() + begin + 150)));
    parts.back().MarkPart(begin);
    parts.back().AddMissing(static_cast<int64_t>(begin) / 150);
  }
  std::vector<size_t> order(parts.size());
  std::iota(order.begin(), order.end(), 0);
  std::string first;
  double float_sum_low = 1e9, float_sum_high = -1e9;
  do {
    CalSketch sum;
    double float_sum = 0.0;
    for (size_t i : order) {
      ASSERT_TRUE(sum.Merge(parts[i]));
      for (size_t row = i * 150; row < (i + 1) * 150; ++row) float_sum += points[row].p * points[row].p;
    }
    float_sum_low = std::min(float_sum_low, float_sum), float_sum_high = std::max(float_sum_high, float_sum);
    if (first.empty()) first = sum.Encode();
    ASSERT_EQ(first, sum.Encode());
  } while (std::next_permutation(order.begin(), order.end()));
  CalSketch whole = SketchOf(points);
  whole.AddMissing(6);
  for (uint64_t step : {0, 150, 300, 450}) whole.MarkPart(step);
  EXPECT_EQ(whole.Encode(), first);
  EXPECT_NE(float_sum_low, float_sum_high) << "negative control: floating sums depend on the order";
  EXPECT_EQ(0u, whole.first_step());
  EXPECT_EQ(450u, whole.last_step());
  EXPECT_EQ(4, whole.parts());
}

TEST(CalSketch, EceOfTheSumIsNotTheMeanOfParts) {
  const Case golden("ece_not_averageable");
  const Points all = golden.points();
  CalSketch sum;
  double mean = 0.0;
  for (size_t c = 0; c < 20; ++c) {
    const CalSketch part = SketchOf(Points(all.begin() + c * all.size() / 20, all.begin() + (c + 1) * all.size() / 20));
    mean += Ece(part.EqualWidth(15)) / 20;
    ASSERT_TRUE(sum.Merge(part));
  }
  golden.Expect("sum_of_sketches_ece15", Ece(sum.EqualWidth(15)));
  golden.Expect("mean_of_chunk_ece15", mean);
  EXPECT_GT(mean, 2 * Ece(sum.EqualWidth(15)));
}

TEST(CalSketch, PartialCreditKeepsTheBrierScoreOfRows) {
  CalSketch sketch;
  const Points points = MakePoints({0.9, 0.3, 0.62}, {0.5, 0.25, 1.0});
  for (const Point& point : points) sketch.Add(*Confidence::From(point.p), point.y);
  EXPECT_NEAR(ComputeMurphy(EqualWidthBins(points, 10)).brier(), sketch.Brier(), 1e-8);
  EXPECT_NEAR(ComputeMurphy(EqualWidthBins(points, 10)).uncertainty, sketch.SplitMurphy(10).uncertainty, 1e-8);
}

TEST(CalSketch, EmptyIsUndefinedNotZero) {
  const SketchMetrics metrics = ComputeSketchMetrics(CalSketch());
  EXPECT_EQ(0, metrics.n);
  for (double value :
       {metrics.accuracy, metrics.ece15, metrics.brier, metrics.nll, metrics.auroc.mid, metrics.augrc, metrics.aurc, metrics.smooth_ece})
    EXPECT_TRUE(std::isnan(value));
}

TEST(CalSketch, BytesRoundTripAndStaySmall) {
  CalSketch sketch = SketchOf(SyntheticPoints(1000, 3));
  sketch.AddMissing(4);
  sketch.AddAbstained(2);
  sketch.MarkPart(77);
  const std::string bytes = sketch.Encode();
  EXPECT_LT(bytes.size(), 20000u);  // dense: 48 KB
  const auto again = CalSketch::Decode(bytes);
  ASSERT_TRUE(again) << again.error().Message();
  EXPECT_EQ(sketch, *again);
  EXPECT_EQ(CalSketch(), CalSketch::Decode(CalSketch().Encode()).value());
}

TEST(CalSketch, MalformedBytesAreErrors) {
  CalSketch sketch = SketchOf(SyntheticPoints(40, 5));
  sketch.MarkPart(3);
  const std::string bytes = sketch.Encode();
  for (size_t length = 0; length < bytes.size(); ++length) EXPECT_FALSE(CalSketch::Decode(bytes.substr(0, length))) << length;
  EXPECT_FALSE(CalSketch::Decode(bytes + '\0'));
  std::string other_version = bytes;
  other_version[2] = 9;
  EXPECT_EQ(ErrorCode::kVersionSkew, CalSketch::Decode(other_version).error().code);
  // Every changed byte is refused or is another sketch with exactly these bytes; nothing crashes.
  int refused = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; value += 5) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      const auto decoded = CalSketch::Decode(changed);
      if (decoded) {
        ASSERT_EQ(changed, decoded->Encode()) << at << " " << value;
        if (value == 0) ComputeSketchMetrics(*decoded);
      } else {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000);
  const std::string overlong = std::string("CS\x01", 3) + std::string("\x80\x00", 2) + std::string(8, '\0');
  EXPECT_NE(std::string::npos, CalSketch::Decode(overlong).error().what.find("shortest form"));
  EXPECT_FALSE(CalSketch::Decode(std::string("CS\x01", 3) + std::string(200, '\xff')));
}

TEST(CalSketch, ImpossibleSumsAreErrors) {
  // One cell, index 0: n, y, p, py, p2 as one-byte numbers; cell 0 holds confidences under 1 / 1200.
  const auto with_cell = [](std::string cell) {
    return CalSketch::Decode(std::string("CS\x01", 3) + std::string(8, '\0') + '\x01' + '\0' + cell);
  };
  EXPECT_TRUE(with_cell(std::string("\x01\x00\x05\x00\x00", 5)));
  EXPECT_FALSE(with_cell(std::string("\x00\x00\x05\x00\x00", 5))) << "a sum without rows";
  EXPECT_FALSE(with_cell(std::string("\x01\x00\x80\x80\x40\x00\x00", 7))) << "a confidence of 0.001 in the first cell";
  EXPECT_FALSE(with_cell(std::string("\x01\x05\x05\x09\x00", 5))) << "the product is larger than its factors";
  EXPECT_FALSE(with_cell(std::string("\x01\x00\x05\x00\x09", 5))) << "the square is larger than the confidence";
}

TEST(CalSketch, AurcOfASketchMatchesItsRows) {
  // Tie groups of 1 to 400 rows: the closed sum of a group against row by row.
  Points points;
  for (size_t i = 0; i < 1500; ++i)
    points.push_back({i < 400 ? 0.5 : i < 470 ? 0.25 : static_cast<double>(i % 7) / 10, i % 3 == 0 ? 1.0 : 0.0, i});
  double naive = 0.0, n = 0.0, errors = 0.0;
  for (const Level& level : LevelsOf(points)) {
    for (double i = 1.0; i <= level.n; i += 1.0) naive += (errors + (level.n - level.correct) * i / level.n) / (n + i);
    n += level.n;
    errors += level.n - level.correct;
  }
  EXPECT_NEAR(naive / n, ComputeSketchMetrics(SketchOf(points)).aurc, 1e-13);
}

TEST(CalSketch, RefusesToOverflow) {
  // A sketch near the limit, made from bytes: one cell of 600 million rows of confidence 1 and label 1.
  CalSketch one;
  one.Add(*Confidence::From(1.0), 1.0);
  const std::string small = one.Encode();
  CalSketch sum = one;
  while (sum.n() <= CalSketch::kMaxObservations / 2) {
    const CalSketch copy = sum;
    ASSERT_TRUE(sum.Merge(copy));
  }
  const CalSketch copy = sum;
  const Status refused = sum.Merge(copy);
  ASSERT_FALSE(refused);
  EXPECT_EQ(copy, sum) << "a refused merge changes nothing";
  EXPECT_TRUE(CalSketch::Decode(sum.Encode()));
}

}  // namespace
}  // namespace candor::calibration
