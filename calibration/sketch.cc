// Exact integer sums and their byte form.
// Bytes: "CS", version 1, then unsigned varints (7 bits a byte, least significant first, shortest form only): missing, abstained, nll,
// clipped, label spread, parts, first step, last step, number of cells, and per cell in ascending order: index minus the previous index
// minus 1 (the first: index), n, y, p, py, p2.
#include "calibration/sketch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/scoring_rules.h"
#include "calibration/undefined.h"
#include "core/check.h"

namespace candor::calibration {
namespace {

constexpr char kMagic[3] = {'C', 'S', 1};

int64_t Nano(double x) { return std::llrint(x * 1e9); }
int64_t FirstNanoOf(int cell) { return (cell * kNano + CalSketch::kCells - 1) / CalSketch::kCells; }

void PutVarint(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Reads varints and remembers the first failure; after it every value is 0.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) return Failed("the bytes end in the middle of a number");
      const uint8_t byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift == 63 && byte > 1) return Failed("a number does not fit 64 bits");
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) return Failed("a number is not in its shortest form");
        return value;
      }
    }
    return Failed("a number does not fit 64 bits");
  }
  // In [0, max], else a failure.
  int64_t Bounded(int64_t max, const char* what) {
    const uint64_t value = Varint();
    if (value > static_cast<uint64_t>(max)) return static_cast<int64_t>(Failed(what));
    return static_cast<int64_t>(value);
  }
  uint64_t Failed(const char* why) {
    if (failure_ == nullptr) failure_ = why;
    at_ = bytes_.size();
    return 0;
  }
  bool ok() const { return failure_ == nullptr; }
  const char* failure() const { return failure_; }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  const char* failure_ = nullptr;
};

// What Add could have made: counts and sums inside their ranges (products are rounded, so they may exceed theirs by one a row).
bool IsPossible(int index, const CalSketch::Cell& cell) {
  if (cell.n < 1) return false;
  const int64_t last = index == CalSketch::kCells - 1 ? kNano : FirstNanoOf(index + 1) - 1;
  return cell.y <= cell.n * kNano && FirstNanoOf(index) * cell.n <= cell.p && cell.p <= last * cell.n &&
         cell.py <= std::min(cell.p, cell.y) + cell.n && cell.p2 <= cell.p + cell.n;
}

}  // namespace

void CalSketch::Add(Confidence confidence, double label) {
  CANDOR_CHECK(0.0 <= label && label <= 1.0, "a label must be in [0, 1]");
  CANDOR_CHECK(n_ < kMaxObservations, "the sketch is full");
  const double p = confidence.value();
  Cell& cell = cells_[BinOfNano(confidence.nano(), kCells)];
  cell.n += 1;
  cell.y += Nano(label);
  cell.p += confidence.nano();
  cell.py += Nano(p * label);
  cell.p2 += Nano(p * p);
  n_ += 1;
  nll_nano_ += Nano(LogScore(p, label));
  clipped_ += IsClippedMistake(p, label) ? 1 : 0;
  label_spread_nano_ += Nano(label * (1.0 - label));
}

void CalSketch::MarkPart(uint64_t step) {
  first_step_ = parts_ == 0 ? step : std::min(first_step_, step);
  last_step_ = parts_ == 0 ? step : std::max(last_step_, step);
  ++parts_;
}

Status CalSketch::Merge(const CalSketch& other) {
  if (n_ + other.n_ > kMaxObservations || missing_ + other.missing_ > kMaxObservations || abstained_ + other.abstained_ > kMaxObservations)
    return Fail(ErrorCode::kInvalidInput,
                "the sum of two sketches would hold more than " + std::to_string(kMaxObservations) + " observations", "",
                "ask for a shorter window");
  for (const auto& [index, add] : other.cells_) {
    Cell& cell = cells_[index];
    cell = {cell.n + add.n, cell.y + add.y, cell.p + add.p, cell.py + add.py, cell.p2 + add.p2};
  }
  n_ += other.n_;
  missing_ += other.missing_;
  abstained_ += other.abstained_;
  nll_nano_ += other.nll_nano_;
  clipped_ += other.clipped_;
  label_spread_nano_ += other.label_spread_nano_;
  if (other.parts_ > 0) {
    first_step_ = parts_ == 0 ? other.first_step_ : std::min(first_step_, other.first_step_);
    last_step_ = parts_ == 0 ? other.last_step_ : std::max(last_step_, other.last_step_);
    parts_ += other.parts_;
  }
  return {};
}

std::string CalSketch::Encode() const {
  std::string bytes(kMagic, sizeof(kMagic));
  for (int64_t value : {missing_, abstained_, nll_nano_, clipped_, label_spread_nano_, parts_}) PutVarint(&bytes, value);
  PutVarint(&bytes, first_step_);
  PutVarint(&bytes, last_step_);
  PutVarint(&bytes, cells_.size());
  int previous = -1;
  for (const auto& [index, cell] : cells_) {
    PutVarint(&bytes, index - previous - 1);
    for (int64_t value : {cell.n, cell.y, cell.p, cell.py, cell.p2}) PutVarint(&bytes, value);
    previous = index;
  }
  return bytes;
}

Result<CalSketch> CalSketch::Decode(std::string_view bytes) {
  const auto malformed = [](const std::string& why) {
    return Fail(ErrorCode::kInvalidInput, "a calibration sketch is malformed: " + why, "",
                "the record is damaged or written by another program");
  };
  if (bytes.size() < sizeof(kMagic) || bytes[0] != kMagic[0] || bytes[1] != kMagic[1]) return malformed("it does not start with \"CS\"");
  if (bytes[2] != kMagic[2])
    return Fail(ErrorCode::kVersionSkew,
                "a calibration sketch has version " + std::to_string(static_cast<uint8_t>(bytes[2])) + ", this program reads 1");
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  Reader reader(bytes.substr(sizeof(kMagic)));
  CalSketch sketch;
  sketch.missing_ = reader.Bounded(kMaxObservations, "too many missing confidences");
  sketch.abstained_ = reader.Bounded(kMaxObservations, "too many abstentions");
  sketch.nll_nano_ = reader.Bounded(kMax, "the log score is out of range");
  sketch.clipped_ = reader.Bounded(kMaxObservations, "too many clipped mistakes");
  sketch.label_spread_nano_ = reader.Bounded(kMax, "the label spread is out of range");
  sketch.parts_ = reader.Bounded(kMax / 2, "too many parts");
  sketch.first_step_ = reader.Varint();
  sketch.last_step_ = reader.Varint();
  const int64_t count = reader.Bounded(kCells, "more cells than there are");
  int64_t index = -1;
  for (int64_t i = 0; i < count && reader.ok(); ++i) {
    index += 1 + reader.Bounded(kCells, "a cell's index is out of range");
    if (index >= kCells) return malformed("a cell's index is out of range");
    Cell cell;
    cell.n = reader.Bounded(kMaxObservations, "too many observations");
    for (int64_t* sum : {&cell.y, &cell.p, &cell.py, &cell.p2}) *sum = reader.Bounded(kMax, "a sum is out of range");
    if (reader.ok() && !IsPossible(static_cast<int>(index), cell))
      return malformed("the sums of cell " + std::to_string(index) + " contradict each other");
    sketch.n_ += cell.n;
    if (sketch.n_ > kMaxObservations) return malformed("too many observations");
    sketch.cells_[static_cast<int>(index)] = cell;
  }
  if (!reader.ok()) return malformed(reader.failure());
  if (!reader.at_end()) return malformed("bytes follow its end");
  const bool has_steps = sketch.parts_ > 0 ? sketch.first_step_ <= sketch.last_step_ : sketch.first_step_ == 0 && sketch.last_step_ == 0;
  if (!has_steps || sketch.clipped_ > sketch.n_ || sketch.nll_nano_ > sketch.n_ * 14 * kNano ||
      sketch.label_spread_nano_ > sketch.n_ * (kNano / 4))
    return malformed("its totals contradict its cells");
  return sketch;
}

Bin CalSketch::Sums(const Cell& cell) const {
  const auto one = [](int64_t nano) { return static_cast<double>(nano) / 1e9; };
  return {static_cast<double>(cell.n), one(cell.p), one(cell.y), one(cell.p2), one(cell.py), one(cell.y)};
}

Bins CalSketch::EqualWidth(int bins) const {
  CANDOR_CHECK(bins > 0 && kCells % bins == 0, "the number of bins must divide 1200");
  std::vector<Cell> sums(bins);
  for (const auto& [index, add] : cells_) {
    Cell& sum = sums[index / (kCells / bins)];
    sum = {sum.n + add.n, sum.y + add.y, sum.p + add.p, sum.py + add.py, sum.p2 + add.p2};
  }
  Bins result;
  for (const Cell& sum : sums) result.push_back(Sums(sum));
  return result;
}

Bins CalSketch::CellBins() const {
  Bins result;
  for (const auto& [index, cell] : cells_) result.push_back(Sums(cell));
  return result;
}

double CalSketch::Brier() const {
  if (n_ == 0) return kNaN;
  int64_t sum = -label_spread_nano_;
  for (const auto& [index, cell] : cells_) sum += cell.p2 - 2 * cell.py + cell.y;
  return static_cast<double>(sum) / 1e9 / static_cast<double>(n_);
}

double CalSketch::Nll() const { return n_ == 0 ? kNaN : static_cast<double>(nll_nano_) / 1e9 / static_cast<double>(n_); }

Murphy CalSketch::SplitMurphy(int bins) const {
  Murphy murphy = ComputeMurphy(EqualWidth(bins));
  if (n_ > 0) murphy.uncertainty -= static_cast<double>(label_spread_nano_) / 1e9 / static_cast<double>(n_);  // the bins take y^2 = y
  return murphy;
}

SketchMetrics ComputeSketchMetrics(const CalSketch& sketch) {
  SketchMetrics metrics;
  metrics.n = sketch.n(), metrics.missing = sketch.missing(), metrics.abstained = sketch.abstained();
  const Bins cells = sketch.CellBins(), bins10 = sketch.EqualWidth(10), bins15 = sketch.EqualWidth(15), bins20 = sketch.EqualWidth(20);
  Bin all;
  for (const Bin& bin : bins10) all.n += bin.n, all.sum_p += bin.sum_p, all.sum_y += bin.sum_y, all.sum_pp += bin.sum_pp;
  metrics.accuracy = all.n > 0.0 ? all.mean_y() : kNaN;
  metrics.mean_confidence = all.n > 0.0 ? all.mean_p() : kNaN;
  metrics.signed_gap = SignedGap(bins15), metrics.oce = OverConfidence(bins15), metrics.uce = UnderConfidence(bins15);
  metrics.ece10 = Ece(bins10), metrics.ece15 = Ece(bins15), metrics.ece20 = Ece(bins20);
  metrics.floor10 = EceFloor(bins10), metrics.floor15 = EceFloor(bins15), metrics.floor20 = EceFloor(bins20);
  metrics.brier = sketch.Brier(), metrics.nll = sketch.Nll();
  metrics.murphy10 = sketch.SplitMurphy(10), metrics.murphy15 = sketch.SplitMurphy(15);
  const auto levels = LevelsOf(cells);
  metrics.auroc = BoundAuroc(levels);
  metrics.augrc = Augrc(levels);
  const double slope = metrics.accuracy * (1.0 - metrics.accuracy);
  metrics.augrc_low = std::isnan(metrics.auroc.mid) ? metrics.augrc : metrics.augrc - (metrics.auroc.high - metrics.auroc.mid) * slope;
  metrics.augrc_high = std::isnan(metrics.auroc.mid) ? metrics.augrc : metrics.augrc + (metrics.auroc.mid - metrics.auroc.low) * slope;
  metrics.aurc = Aurc(levels);
  metrics.smooth_ece = ComputeSmoothEce(cells).value;
  metrics.ecce = ComputeEcce(cells);
  return metrics;
}

}  // namespace candor::calibration
