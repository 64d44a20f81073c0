// Bytes of a ledger record: one byte of kind (position in the variant, from 1), then eight-byte big-endian numbers, then either a text or a
// wire message of proto/.
#include "coordinator/ledger_record.h"

#include <fmt/format.h>

namespace candor {

namespace {

enum Kind : uint8_t { kScored = 1, kDropped, kReopened, kVersion, kPlan, kVoid, kTrainer, kStep, kCheckpoint, kFinished, kExtended };

class Writer {
 public:
  explicit Writer(Kind kind) { bytes_.push_back(static_cast<char>(kind)); }
  Writer& Number(uint64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes_.push_back(static_cast<char>(value >> shift & 0xff));
    return *this;
  }
  Writer& Text(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  Writer& Body(MessageBody body) { return Text(Encode({"", 0, "", std::move(body)})); }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint64_t Number() {
    if (rest_.size() < 8) {
      ok_ = false;
      return 0;
    }
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(rest_[static_cast<size_t>(i)]);
    rest_.remove_prefix(8);
    return value;
  }
  std::string Text() { return std::string(rest_); }
  template <typename T>
  Result<T> Body() {
    CANDOR_ASSIGN(Message message, Decode(std::string(rest_)));
    if (T* body = std::get_if<T>(&message.body)) return std::move(*body);
    return Fail(ErrorCode::kInvalidInput, "a ledger record holds another message than its kind says", "ledger");
  }
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

struct Encoder {
  std::string operator()(const GroupScored& r) const { return Writer(kScored).Body(r).Take(); }
  std::string operator()(const GroupDropped& r) const {
    return Writer(kDropped).Number(r.group.value).Number(static_cast<uint64_t>(r.reason)).Text(r.why).Take();
  }
  std::string operator()(const GroupReopened& r) const { return Writer(kReopened).Number(r.group.value).Text(r.why).Take(); }
  std::string operator()(const VersionAnnounce& r) const { return Writer(kVersion).Body(r).Take(); }
  std::string operator()(const PlanLogged& r) const { return Writer(kPlan).Number(r.ranks).Body(r.plan).Take(); }
  std::string operator()(const PlanVoided& r) const { return Writer(kVoid).Number(r.plan.value).Number(r.step.value).Text(r.why).Take(); }
  std::string operator()(const TrainerStarted& r) const {
    return Writer(kTrainer).Number(r.incarnation.value).Number(r.step.value).Number(r.segment.value).Take();
  }
  std::string operator()(const StepDone& r) const { return Writer(kStep).Body(r).Take(); }
  std::string operator()(const CheckpointDone& r) const { return Writer(kCheckpoint).Body(r).Take(); }
  std::string operator()(const RunFinished&) const { return Writer(kFinished).Take(); }
  std::string operator()(const WaveExtended& r) const { return Writer(kExtended).Number(r.wave.value).Number(r.groups).Take(); }
};

template <typename T>
Result<LedgerRecord> As(Result<T> body) {
  if (!body) return Fail(body.error());
  return LedgerRecord(std::move(*body));
}

Result<LedgerRecord> DecodeKind(uint8_t kind, Reader& in) {
  switch (kind) {
    case kScored:
      return As(in.Body<GroupScored>());
    case kDropped: {
      GroupDropped r{{in.Number()}, DropReason::kFailed, ""};
      uint64_t reason = in.Number();
      if (reason > static_cast<uint64_t>(kLastDropReason))
        return Fail(ErrorCode::kInvalidInput, "a ledger record has an unknown drop reason", "ledger");
      r.reason = static_cast<DropReason>(reason);
      r.why = in.Text();
      return LedgerRecord(r);
    }
    case kReopened: {
      GroupReopened r{{in.Number()}, ""};
      r.why = in.Text();
      return LedgerRecord(r);
    }
    case kVersion:
      return As(in.Body<VersionAnnounce>());
    case kPlan: {
      uint64_t ranks = in.Number();
      CANDOR_ASSIGN(StepPlan plan, in.Body<StepPlan>());
      return LedgerRecord(PlanLogged{std::move(plan), static_cast<uint32_t>(ranks)});
    }
    case kVoid: {
      PlanVoided r;
      r.plan = {in.Number()};
      r.step = {in.Number()};
      r.why = in.Text();
      return LedgerRecord(r);
    }
    case kTrainer: {
      TrainerStarted r;
      r.incarnation = {in.Number()};
      r.step = {in.Number()};
      r.segment = {in.Number()};
      return LedgerRecord(r);
    }
    case kStep:
      return As(in.Body<StepDone>());
    case kCheckpoint:
      return As(in.Body<CheckpointDone>());
    case kFinished:
      return LedgerRecord(RunFinished{});
    case kExtended: {
      const uint64_t wave = in.Number(), groups = in.Number();
      if (!(groups < (1u << 20))) return Fail(ErrorCode::kInvalidInput, "a ledger record extends a wave by too many groups", "ledger");
      return LedgerRecord(WaveExtended{{wave}, static_cast<uint32_t>(groups)});
    }
    default:
      return Fail(ErrorCode::kVersionSkew, fmt::format("a ledger record has the unknown kind {}", kind), "ledger",
                  "it was written by a newer candor: use that one");
  }
}

}  // namespace

std::string EncodeRecord(const LedgerRecord& record) { return std::visit(Encoder{}, record); }

Result<LedgerRecord> DecodeRecord(const std::string& bytes) {
  if (bytes.empty()) return Fail(ErrorCode::kInvalidInput, "an empty ledger record", "ledger");
  Reader in(std::string_view(bytes).substr(1));
  CANDOR_ASSIGN(LedgerRecord record, DecodeKind(static_cast<uint8_t>(bytes[0]), in));
  if (!in.ok()) return Fail(ErrorCode::kInvalidInput, "a ledger record is too short", "ledger");
  return record;
}

}  // namespace candor
