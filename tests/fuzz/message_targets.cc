// What comes over the wire and out of the ledger: envelopes, bodies of every kind, spooled payloads, ledger records, sketches.
#include "calibration/sketch.h"
#include "coordinator/ledger_record.h"
#include "proto/messages.h"
#include "tests/fuzz/targets.h"

namespace candor::fuzz {

namespace {

Trace SampleTrace(int index) {
  Trace trace;
  trace.index = index;
  trace.tokens_T = {11, 0, 49151, 7, 8};
  trace.spans = {{Origin::kPolicy, Segment::kReasoning, 0, 0, 2}, {Origin::kPolicy, Segment::kSlot, 1, 2, 5}};
  trace.log_probs_T = {-0.5f, -1e-7f, 0.0f, 0.0f, 0.0f};
  trace.entropy_T = {1.5f, 0.25f, 0.0f, 0.0f, 0.0f};
  trace.version_T = {3, 3, 4, 4, 4};
  trace.signals = {{"slot", 0.75}, {"verbal", 1.0}};
  trace.text = "<answer>Fran\xff</answer>";
  return trace;
}

ScoredGroup SampleScored() {
  ScoredGroup group{MakeGroupId(7, 3), {"train", 41}, {7}, {1, 2, 3}, {}, DropReason::kNone, "reward-0"};
  group.traces_G = {{SampleTrace(0), Label::kCorrect, 1.0, Confidence::From(0.1), true, "", "France", {{"accuracy", 1.0}}},
                    {SampleTrace(1), Label::kUnknown, 0.0, std::nullopt, false, "two <answer> tags", "", {}}};
  return group;
}

template <size_t I = 0>
void AddEmptyKinds(std::vector<MessageBody>& kinds) {
  if constexpr (I < std::variant_size_v<MessageBody>) {
    kinds.emplace_back(std::variant_alternative_t<I, MessageBody>{});
    AddEmptyKinds<I + 1>(kinds);
  }
}

std::vector<std::string> EnvelopeSeeds() {
  std::vector<MessageBody> kinds;
  AddEmptyKinds(kinds);
  kinds.emplace_back(TraceGroup{MakeGroupId(7, 3), {"train", 41}, {7}, {1, 2, 3}, {SampleTrace(0), SampleTrace(1)}, "rollout-2"});
  kinds.emplace_back(SampleScored());
  kinds.emplace_back(Hello{"rollout", "rollout-0", {99}, "tcp://a:1", {{MakeGroupId(1, 1), 17}}, {MakeGroupId(1, 2)}});
  kinds.emplace_back(WorkerHeartbeat{"rollout-0", {99}, {{MakeGroupId(1, 1), 17}}, {{"tokens_per_second", 81.5}}});
  kinds.emplace_back(StepPlan{{8}, {3}, {{MakeGroupId(3, 0), "tcp://a:1", "h0", 1, 300, DropReason::kNone}}, true, "", true});
  std::vector<std::string> seeds;
  for (MessageBody& body : kinds) seeds.push_back(Encode({"run", 5, "me", std::move(body)}));
  return seeds;
}

// Whatever is accepted has one form: encoding it and reading that again changes nothing more.
void RunEnvelope(std::string_view bytes) {
  Result<Message> message = Decode(std::string(bytes));
  if (!message) return Promise(!message.error().what.empty(), "a refusal says why");
  const std::string once = Encode(*message);
  Result<Message> again = Decode(once);
  Promise(again.has_value(), "an accepted message is accepted again");
  Promise(Encode(*again) == once, "a message's second encoding equals its first");
}

// The body alone, so that the fuzzer need not keep the envelope whole: first byte = kind, the rest = body. Field numbers are those of
// proto/candor.proto: protocol 1, run_id 2, sequence 3, sender 4, kind 5, body 6.
void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void RunBody(std::string_view bytes) {
  if (bytes.empty()) return;
  std::string envelope("\x08", 1);
  AppendVarint(envelope, kProtocolVersion);
  envelope += "\x28";
  AppendVarint(envelope, static_cast<uint8_t>(bytes[0]) % (std::variant_size_v<MessageBody> + 2));
  envelope += "\x32";
  AppendVarint(envelope, bytes.size() - 1);
  envelope += bytes.substr(1);
  RunEnvelope(envelope);
}
std::vector<std::string> BodySeeds() {
  std::vector<std::string> seeds;
  for (const std::string& envelope : EnvelopeSeeds()) {
    Result<Message> message = Decode(envelope);
    const size_t at = envelope.find('\x28');  // run "run", sender "me": the first '(' is the kind's tag
    if (!message || at == std::string::npos) continue;
    size_t body = at + 2;
    if (body < envelope.size()) {
      ++body;  // the tag of body, then its length
      while (body < envelope.size() && (envelope[body] & 0x80) != 0) ++body;
      ++body;
    }
    seeds.push_back(std::string(1, envelope[at + 1]) + envelope.substr(std::min(body, envelope.size())));
  }
  return seeds;
}

void RunPayload(std::string_view bytes) {
  Result<ScoredGroup> group = DecodePayload(std::string(bytes));
  if (!group) return Promise(!group.error().what.empty(), "a refusal says why");
  Result<ScoredGroup> again = DecodePayload(EncodePayload(*group));
  Promise(again && EncodePayload(*again) == EncodePayload(*group), "a payload's second encoding equals its first");
}
std::vector<std::string> PayloadSeeds() { return {EncodePayload(SampleScored()), EncodePayload({})}; }

void RunLedgerRecord(std::string_view bytes) {
  Result<LedgerRecord> record = DecodeRecord(std::string(bytes));
  if (!record) return Promise(!record.error().what.empty(), "a refusal says why");
  Promise(DecodeRecord(EncodeRecord(*record)).has_value(), "an accepted record is accepted again");
}
std::vector<std::string> LedgerSeeds() {
  std::vector<std::string> seeds;
  for (const LedgerRecord& record : std::vector<LedgerRecord>{
           GroupScored{}, GroupDropped{MakeGroupId(1, 1), DropReason::kFailed, "why"}, GroupReopened{MakeGroupId(1, 1), "lost"},
           VersionAnnounce{{{3}, "m", "h"}, {3}}, PlanLogged{{{8}, {3}, {}, true, "", false}, 2}, PlanVoided{{8}, {3}, "hash differs"},
           TrainerStarted{{7}, {3}, {1}}, StepDone{}, CheckpointDone{{3}, "checkpoints/step_3", "h"}, RunFinished{}, WaveExtended{{3}, 5}})
    seeds.push_back(EncodeRecord(record));
  return seeds;
}

void RunSketch(std::string_view bytes) {
  Result<calibration::CalSketch> sketch = calibration::CalSketch::Decode(bytes);
  if (!sketch) return Promise(!sketch.error().what.empty(), "a refusal says why");
  Promise(calibration::CalSketch::Decode(sketch->Encode()) == *sketch, "a sketch survives its encoding");
  (void)calibration::ComputeSketchMetrics(*sketch);
}
std::vector<std::string> SketchSeeds() {
  calibration::CalSketch sketch;
  std::vector<std::string> seeds = {sketch.Encode()};
  for (int i = 0; i <= 20; ++i) sketch.Add(*Confidence::From(i / 20.0), i % 3 == 0 ? 1.0 : 0.0);
  sketch.AddMissing(3);
  sketch.MarkPart(17);
  seeds.push_back(sketch.Encode());
  return seeds;
}

}  // namespace

std::vector<Target> MessageTargets() {
  return {{"message_envelope", RunEnvelope, EnvelopeSeeds, 30000},
          {"message_body", RunBody, BodySeeds, 30000},
          {"scored_payload", RunPayload, PayloadSeeds, 30000},
          {"ledger_record", RunLedgerRecord, LedgerSeeds, 30000},
          {"calibration_sketch", RunSketch, SketchSeeds, 10000}};
}

}  // namespace candor::fuzz
