// Every message survives the wire, equal messages have equal bytes, and nothing malformed gets through: other protocol versions, oversize,
// NaN, unknown enum values, lengths that do not agree, spans that do not cover, random bytes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/fs.h"
#include "core/rng.h"
#include "proto/candor.pb.h"
#include "proto/messages.h"

namespace candor {
namespace {

Trace SampleTrace(int index) {
  Trace trace;
  trace.index = index;
  trace.greedy = index == 1;
  trace.tokens_T = {11, 0, 49151, 7, 8};
  trace.spans = {{Origin::kPolicy, Segment::kReasoning, 0, 0, 2},
                 {Origin::kEnvironment, Segment::kConfidence, 1, 2, 4},
                 {Origin::kPolicy, Segment::kSlot, 1, 4, 5}};
  trace.log_probs_T = {-0.5f, -1e-7f, 0.0f, 0.0f, 0.0f};
  trace.entropy_T = {1.5f, 0.25f, 0.0f, 0.0f, 0.0f};
  trace.version_T = {3, 3, 4, 4, 4};
  trace.signals = {{"slot", 0.75}, {"verbal", 1.0}, {"self_certainty", -12.5}};
  trace.finish = FinishReason::kBudget;
  trace.text = "<answer>Fran\xff</answer>";  // not UTF-8: a completion may be cut inside a character
  trace.reference_log_probs_R = {-0.25f, -3.5f}, trace.reference_ranks_R = {1, 49152};
  return trace;
}

TraceGroup SampleGroup() {
  return {MakeGroupId(7, 3), {"train", 41}, {7}, {1, 2, 3}, {SampleTrace(0), SampleTrace(1)}, "rollout-2", {-1.5f}};
}

ScoredGroup SampleScored() {
  ScoredGroup group{MakeGroupId(7, 3), {"train", 41}, {7}, {1, 2, 3}, {}, DropReason::kNoVariance, "reward-0"};
  ScoredTrace right{SampleTrace(0), Label::kCorrect, 1.0, Confidence::From(0.1), true, "", "France", {{"accuracy", 1.0}, {"brier", -0.81}}};
  ScoredTrace unknown{SampleTrace(1), Label::kUnknown, 0.0, std::nullopt, false, "two <answer> tags", "", {}};
  group.traces_G = {right, unknown};
  return group;
}

GroupScored SampleHeader() {
  GroupScored h;
  h.group = MakeGroupId(7, 3), h.prompt = {"train", 41}, h.wave = {7};
  h.reward_worker = "reward-0", h.reward_endpoint = "tcp://127.0.0.1:9", h.hash = "00ff", h.payload_bytes = 12345;
  h.oldest_version = {5}, h.newest_version = {6};
  h.prompt_tokens = 30, h.completion_tokens = 210, h.traces = 9, h.drop = DropReason::kAllUnknown;
  h.correct = 3, h.wrong = 4, h.unknown = 2, h.format_ok = 8;
  h.sketches = {{"slot", std::string("\0\1\2", 3)}, {"slot/greedy", "x"}};
  h.sums = {{"reward/accuracy", 3.0}, {"tokens", 210.0}};
  h.slices = {"continent=Asia", "population=small"};
  return h;
}

std::vector<MessageBody> AllKinds() {
  Lease lease{MakeGroupId(2, 1), {"train", 5}, {2}, 8, 1, {0}, {1}, "tcp://127.0.0.1:7"};
  return {Hello{"rollout", "rollout-0", {99}, "tcp://a:1", {{MakeGroupId(1, 1), 17}}, {MakeGroupId(1, 2)}, "node-7"},
          Welcome{"run", {1}, 4, {12}, {12}, true},
          LeaseRequest{"rollout-0", {99}, {12}, 6},
          LeaseGrant{{lease}, {{12}, "weights/v12/manifest.json", "abc"}, "step 12 (staleness bound 1)", true},
          WorkerHeartbeat{"rollout-0", {99}, {{MakeGroupId(1, 1), 17}}, {{"tokens_per_second", 81.5}}},
          HeartbeatReply{{{12}, "m", "h"}, {MakeGroupId(1, 1)}, {"tcp://a:1"}, true},
          GroupFailed{MakeGroupId(1, 1), "rollout-0", "out of memory", true},
          SampleHeader(),
          PlanRequest{{3}, {7}, 2},
          StepPlan{{8},
                   {3},
                   {{MakeGroupId(3, 0), "tcp://a:1", "h0", 1, 300, DropReason::kNoVariance},
                    {MakeGroupId(3, 1), "tcp://a:1", "h1", 0, 200, DropReason::kNone}},
                   true,
                   "",
                   true},
          PlanVote{{8}, {3}, true, {MakeGroupId(3, 1)}, "hash differs"},
          VersionAnnounce{{{3}, "m", "h"}, {3}},
          StepDone{{{3}, {8}, {3}, {{"reward/all/mean", 0.5}}}, {{3}, "m", "h"}},
          CheckpointDone{{3}, "checkpoints/step_3", "h", 17, 2},
          StatusRequest{true},
          StatusReply{"{\"step\":3}"},
          Ack{false, "stale", {2}, {MakeGroupId(1, 1)}, true},
          SampleGroup(),
          GroupSpooled{MakeGroupId(1, 1), true, "why"},
          FetchGroup{MakeGroupId(1, 1), "h"},
          SampleScored(),
          Error{ErrorCode::kUnauthorized, "no", "peer", "do", true}};
}

std::string Wire(MessageBody body) { return Encode({"run", 5, "me", std::move(body)}); }

TEST(MessagesCodec, EveryKindSurvivesTheWire) {
  std::vector<MessageBody> kinds = AllKinds();
  ASSERT_EQ(kinds.size(), std::variant_size_v<MessageBody>);
  for (size_t i = 0; i < kinds.size(); ++i) {
    ASSERT_EQ(kinds[i].index(), i);
    std::string bytes = Wire(kinds[i]);
    auto decoded = Decode(bytes);
    ASSERT_TRUE(decoded.has_value()) << i << ": " << decoded.error().Message();
    EXPECT_EQ(decoded->run_id, "run");
    EXPECT_EQ(decoded->sequence, 5u);
    EXPECT_EQ(decoded->sender, "me");
    EXPECT_EQ(decoded->body.index(), i);
    EXPECT_EQ(Encode(*decoded), bytes) << i;
  }
}

// Equal bytes after a round trip would hide a field that neither direction carries: every field of the samples is set, so every leaf field
// of the schema must be on the wire.
void ExpectAllFieldsSet(const google::protobuf::Message& message, const std::string& path) {
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const auto* field = message.GetDescriptor()->field(i);
    std::string name = path + "." + field->name();
    if (field->is_repeated()) {
      EXPECT_GT(reflection->FieldSize(message, field), 0) << name;
    } else if (field->message_type()) {
      EXPECT_TRUE(reflection->HasField(message, field)) << name;
      ExpectAllFieldsSet(reflection->GetMessage(message, field), name);
    } else {
      EXPECT_TRUE(reflection->HasField(message, field)) << name;
    }
  }
}

TEST(MessagesCodec, EveryFieldIsCarried) {
  auto body = [](MessageBody b) {
    wire::Envelope envelope;
    EXPECT_TRUE(envelope.ParseFromString(Wire(std::move(b))));
    return envelope.body();
  };
  std::vector<MessageBody> kinds = AllKinds();
  auto check = [&](auto message, size_t index) {
    ASSERT_TRUE(message.ParseFromString(body(kinds[index])));
    ExpectAllFieldsSet(message, message.GetDescriptor()->name());
  };
  check(wire::Hello(), 0), check(wire::Welcome(), 1), check(wire::LeaseRequest(), 2), check(wire::LeaseGrant(), 3),
      check(wire::WorkerHeartbeat(), 4);
  check(wire::HeartbeatReply(), 5), check(wire::GroupFailed(), 6), check(wire::GroupScored(), 7), check(wire::PlanRequest(), 8),
      check(wire::PlanVote(), 10);
  check(wire::VersionAnnounce(), 11), check(wire::StepDone(), 12), check(wire::CheckpointDone(), 13), check(wire::StatusReply(), 15),
      check(wire::TraceGroup(), 17);
  check(wire::GroupSpooled(), 18), check(wire::FetchGroup(), 19), check(wire::ScoredGroup(), 20), check(wire::Error(), 21);
}

TEST(MessagesCodec, TraceContentIsEqual) {
  auto decoded = Decode(Wire(SampleGroup()));
  const auto& group = std::get<TraceGroup>(decoded->body);
  const Trace sample = SampleTrace(1), &trace = group.traces_G.at(1);
  EXPECT_EQ(group.prompt.dataset, "train");
  EXPECT_EQ(group.prompt.row, 41u);
  EXPECT_EQ(trace.tokens_T, sample.tokens_T);
  EXPECT_EQ(trace.log_probs_T, sample.log_probs_T);
  EXPECT_EQ(trace.entropy_T, sample.entropy_T);
  EXPECT_EQ(trace.version_T, sample.version_T);
  EXPECT_EQ(trace.signals, sample.signals);
  EXPECT_EQ(trace.text, sample.text);
  EXPECT_EQ(trace.reference_log_probs_R, sample.reference_log_probs_R);
  EXPECT_EQ(trace.reference_ranks_R, sample.reference_ranks_R);
  EXPECT_EQ(group.reference_base_R, std::vector<float>{-1.5f});
  EXPECT_EQ(trace.finish, FinishReason::kBudget);
  ASSERT_EQ(trace.spans.size(), 3u);
  EXPECT_EQ(trace.spans[1].origin, Origin::kEnvironment);
  EXPECT_EQ(trace.spans[1].segment, Segment::kConfidence);
  EXPECT_EQ(trace.spans[1].begin, 2);
  EXPECT_EQ(trace.spans[1].end, 4);
  EXPECT_EQ(trace.spans[2].turn, 1);
}

TEST(PayloadCodec, EqualGroupsHaveEqualBytesAndSurvive) {
  std::string bytes = EncodePayload(SampleScored());
  EXPECT_EQ(bytes, EncodePayload(SampleScored()));
  auto group = DecodePayload(bytes);
  ASSERT_TRUE(group.has_value()) << group.error().Message();
  EXPECT_EQ(EncodePayload(*group), bytes);
  EXPECT_EQ(group->traces_G[0].confidence, Confidence::From(0.1));
  EXPECT_FALSE(group->traces_G[1].confidence.has_value());
  EXPECT_EQ(group->traces_G[1].label, Label::kUnknown);
  EXPECT_EQ(group->drop, DropReason::kNoVariance);
  EXPECT_EQ(group->traces_G[0].channels.at("brier"), -0.81);
}

TEST(MessagesCodec, AnotherProtocolIsRefusedByName) {
  wire::Envelope envelope;
  ASSERT_TRUE(envelope.ParseFromString(Wire(StatusRequest{})));
  envelope.set_protocol(kProtocolVersion + 1);
  auto refused = Decode(envelope.SerializeAsString());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kVersionSkew);
  for (uint32_t named : {kProtocolVersion, kProtocolVersion + 1})
    EXPECT_NE(refused.error().what.find("protocol " + std::to_string(named)), std::string::npos) << refused.error().what;
}

std::string WithBody(size_t alternative, const std::string& body) {
  wire::Envelope envelope;
  envelope.set_protocol(kProtocolVersion);
  envelope.set_kind(static_cast<uint32_t>(alternative + 1));
  envelope.set_body(body);
  return envelope.SerializeAsString();
}

void ExpectRefused(const std::string& bytes, const std::string& about) {
  auto decoded = Decode(bytes);
  ASSERT_FALSE(decoded.has_value()) << about;
  EXPECT_EQ(decoded.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(decoded.error().what.find(about), std::string::npos) << decoded.error().what;
}

TEST(MessagesCodec, OversizeAndBombsAreRefusedBeforeParsing) {
  ExpectRefused(WithBody(14, std::string(kMaxControlBytes + 1, '\0')), "more than");
  ExpectRefused(std::string(kMaxPayloadBytes + (1 << 20), '\0'), "more than");
  ExpectRefused(WithBody(23, ""), "unknown kind");
  std::string empty_traces;
  for (int i = 0; i < 1000000; ++i)
    empty_traces += std::string("\x2a\x00", 2);  // TraceGroup.traces: two bytes on the wire, hundreds in memory
  ExpectRefused(WithBody(17, empty_traces), "fields");
  std::string deep(100000, '\x0b');  // groups inside groups without end
  EXPECT_FALSE(Decode(WithBody(12, deep)).has_value());
}

// Breaks one thing in a good group and expects the complaint.
template <typename Break>
void ExpectGroupRefused(Break break_it, const std::string& about) {
  wire::Envelope envelope;
  wire::TraceGroup group;
  ASSERT_TRUE(envelope.ParseFromString(Wire(SampleGroup())));
  ASSERT_TRUE(group.ParseFromString(envelope.body()));
  break_it(*group.mutable_traces(0), group);
  ExpectRefused(WithBody(17, group.SerializeAsString()), about);
}

TEST(MessagesCodec, BrokenTracesAreRefusedWithTheReason) {
  using wire::Trace;
  auto expect = [](auto break_it, const char* about) { ExpectGroupRefused([&](Trace& t, wire::TraceGroup&) { break_it(t); }, about); };
  expect([](Trace& t) { t.add_log_probs(0); }, "log_probs");
  expect([](Trace& t) { t.mutable_entropy()->RemoveLast(); }, "entropy");
  expect([](Trace& t) { t.set_log_probs(0, std::nanf("")); }, "not a finite");
  expect([](Trace& t) { t.set_entropy(0, std::numeric_limits<float>::infinity()); }, "not a finite");
  expect([](Trace& t) { t.set_tokens(0, -1); }, "negative id -1");
  expect([](Trace& t) { t.set_version_runs(1, 1); }, "version runs");
  expect([](Trace& t) { t.set_version_runs(1, uint64_t{1} << 60); }, "version runs");
  expect([](Trace& t) { t.set_version_runs(2, 3); }, "version runs");
  expect([](Trace& t) { t.mutable_version_runs()->RemoveLast(); }, "version runs");
  expect([](Trace& t) { t.set_span_length(0, 1); }, "cover");
  expect([](Trace& t) { t.set_span_length(0, 4000000000u); }, "cover");
  expect([](Trace& t) { t.add_span_turn(0); }, "columns");
  expect([](Trace& t) { t.set_span_origin(0, static_cast<wire::Origin>(3)); }, "span origin");
  expect([](Trace& t) { t.set_span_segment(0, static_cast<wire::Segment>(-1)); }, "span segment");
  expect([](Trace& t) { t.set_finish(static_cast<wire::FinishReason>(99)); }, "finish reason");
  expect([](Trace& t) { t.mutable_signals(0)->set_value(NAN); }, "confidence signal");
  expect([](Trace& t) { t.set_reference_log_probs(1, NAN); }, "reference_log_probs");
  expect([](Trace& t) { t.set_reference_ranks(0, 0); }, "reference_ranks hold 0, below 1");
  expect([](Trace& t) { t.add_reference_ranks(1); }, "2 reference_log_probs but 3 reference_ranks");
  expect([](Trace& t) { *t.add_signals() = t.signals(0); }, "doubled or out of order");
  ExpectGroupRefused([](Trace&, wire::TraceGroup& g) { g.set_prompt_tokens(0, -5); }, "negative id -5");
  ExpectGroupRefused([](Trace&, wire::TraceGroup& g) { g.set_reference_base(0, INFINITY); }, "reference_base");
}

TEST(MessagesCodec, BrokenScoresAndHeadersAreRefused) {
  wire::Payload payload;
  wire::ScoredGroup good, bad;
  ASSERT_TRUE(payload.ParseFromString(EncodePayload(SampleScored())));
  ASSERT_TRUE(good.ParseFromString(payload.body()));
  auto refused = [&](const char* about) {
    payload.set_body(bad.SerializeAsString());
    auto group = DecodePayload(payload.SerializeAsString());
    ASSERT_FALSE(group.has_value()) << about;
    EXPECT_NE(group.error().what.find(about), std::string::npos) << group.error().what;
  };
  bad = good, bad.mutable_traces(0)->set_confidence(NAN), refused("confidence");
  bad = good, bad.mutable_traces(0)->set_confidence(1.0000001), refused("confidence");
  bad = good, bad.mutable_traces(0)->set_soft_label(NAN), refused("soft label");
  bad = good, bad.mutable_traces(0)->set_label(static_cast<wire::Label>(3)), refused("label");
  bad = good, bad.mutable_traces(0)->mutable_channels(0)->set_value(INFINITY), refused("reward channel");
  bad = good, bad.set_drop(static_cast<wire::DropReason>(77)), refused("drop reason");
  GroupScored header = SampleHeader();
  header.correct = 8;
  ExpectRefused(Wire(header), "more labels than traces");
  header = SampleHeader(), header.sums["tokens"] = NAN;
  ExpectRefused(Wire(header), "not a finite");
  ExpectRefused(Wire(PlanRequest{{1}, {1}, 0}), "ranks");
}

TEST(MessagesCodec, AWorkersMetricMayBeNaN) { EXPECT_TRUE(Decode(Wire(WorkerHeartbeat{"w", {1}, {}, {{"x", NAN}}})).has_value()); }

TEST(MessagesCodec, BrokenBytesNeverCrash) {
  int refused = 0;
  for (const MessageBody& kind : AllKinds()) {
    const std::string good = Wire(kind);
    for (uint64_t trial = 0; trial < 300; ++trial) {
      std::string bad = good;
      uint64_t r = RandomBits(17, RngStream::kSynthetic, kind.index(), trial);
      if (trial % 3 == 0)
        bad.resize(r % bad.size());
      else
        bad[r % bad.size()] = static_cast<char>(r >> 32);
      if (trial % 3 == 2) bad[(r >> 16) % bad.size()] ^= static_cast<char>(1 << (r >> 61));
      if (!Decode(bad)) ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_FALSE(Decode("").has_value());
  EXPECT_FALSE(DecodePayload("garbage").has_value());
}

}  // namespace
}  // namespace candor
