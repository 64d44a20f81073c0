// The envelope: protocol version first, then size, then shape, and only then content. Nothing is allocated in proportion to anything but
// the bytes that really came.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "proto/codec_control.h"

namespace candor {

namespace proto {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kMaxWireDepth = 16;
// Traces bring 8 bytes of log-probability and entropy with each token, so that they grow less than half; only a bomb grows much.
constexpr size_t kPackedGrowth = 2, kPackedSlack = size_t{1} << 20;

// What a message may still hold: nested fields, and bytes in memory of packed numbers (one byte on the wire may be eight in memory).
struct Budget {
  size_t fields;
  size_t packed_bytes;
  bool Take(size_t& from, size_t amount) {
    if (from < amount) return false;
    from -= amount;
    return true;
  }
};

// Bytes in memory of one number of a repeated field; 0 for texts and messages.
size_t NumberBytes(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return 8;
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return 0;
    default:
      return field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL ? 1 : 4;
  }
}

// `length` bytes of packed numbers: takes what they will need from the budget and skips them. A varint ends at a byte below 0x80.
bool CountPacked(CodedInputStream& in, const FieldDescriptor& field, uint32_t length, Budget& left) {
  const bool fixed = field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT || field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
  if (fixed) return left.Take(left.packed_bytes, length) && in.Skip(static_cast<int>(length));
  const size_t each = NumberBytes(field);
  while (length > 0) {
    const void* bytes = nullptr;
    int size = 0;
    if (!in.GetDirectBufferPointer(&bytes, &size) || size <= 0) return false;
    const size_t now = std::min<size_t>(static_cast<size_t>(size), length);
    const auto* at = static_cast<const uint8_t*>(bytes);
    const auto numbers = static_cast<size_t>(std::count_if(at, at + now, [](uint8_t byte) { return byte < 0x80; }));
    if (!left.Take(left.packed_bytes, numbers * each) || !in.Skip(static_cast<int>(now))) return false;
    length -= static_cast<uint32_t>(now);
  }
  return true;
}

bool CountFields(CodedInputStream& in, const Descriptor& type, int depth, Budget& left) {
  if (depth > kMaxWireDepth) return false;
  while (uint32_t tag = in.ReadTag()) {
    if (!left.Take(left.fields, 1)) return false;
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool long_field = field && WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    const bool nested = long_field && field->type() == FieldDescriptor::TYPE_MESSAGE;
    const bool packed = long_field && field->is_packable();
    if (!nested && !packed) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length) || length > static_cast<uint32_t>(std::numeric_limits<int>::max())) return false;
    CodedInputStream::Limit limit = in.PushLimit(static_cast<int>(length));
    const bool whole = packed ? CountPacked(in, *field, length, left) : CountFields(in, *field->message_type(), depth + 1, left);
    if (!whole || in.BytesUntilLimit() != 0) return false;
    in.PopLimit(limit);
  }
  return in.ConsumedEntireMessage();
}

}  // namespace

Status CheckWireSize(const Descriptor& type, const std::string& bytes, size_t max_fields) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  Budget left{max_fields, kPackedSlack + kPackedGrowth * bytes.size()};
  if (!CountFields(in, type, 0, left))
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("the bytes of a {} are broken, hold more than {} fields, or packed numbers that would grow more than {} times",
                            type.name(), max_fields, kPackedGrowth));
  return {};
}

}  // namespace proto

namespace {

using proto::Checks;

// The alternatives of MessageBody by name; kind k on the wire is alternative k - 1.
#define CANDOR_ALL_KINDS(X) CANDOR_CONTROL_KINDS(X) X(TraceGroup) X(ScoredGroup)

template <typename T>
struct WireOf;
#define CANDOR_WIRE_OF(Kind) \
  template <>                \
  struct WireOf<Kind> {      \
    using type = wire::Kind; \
  };
CANDOR_ALL_KINDS(CANDOR_WIRE_OF)
#undef CANDOR_WIRE_OF

constexpr size_t kKinds = std::variant_size_v<MessageBody>;
static_assert(kKinds == 22, "a new message needs its pair in codec_control.cc and a line in candor.proto");

constexpr size_t LimitOf(size_t alternative) {
  constexpr size_t kTraceGroup = 17, kScoredGroup = 20;
  static_assert(std::is_same_v<std::variant_alternative_t<kTraceGroup, MessageBody>, TraceGroup>);
  static_assert(std::is_same_v<std::variant_alternative_t<kScoredGroup, MessageBody>, ScoredGroup>);
  return alternative == kTraceGroup || alternative == kScoredGroup ? kMaxPayloadBytes : kMaxControlBytes;
}

tl::unexpected<Error> Malformed(std::string what) { return Fail(ErrorCode::kInvalidInput, std::move(what), "message"); }

Status CheckProtocol(uint32_t theirs) {
  if (theirs == kProtocolVersion) return {};
  return Fail(ErrorCode::kVersionSkew,
              fmt::format("the message speaks protocol {}, this program speaks protocol {}", theirs, kProtocolVersion), "message",
              "run all processes from the same build of candor");
}

// protobuf writes a line to stderr for every string that is not UTF-8; our errors say it once, to whom it concerns.
void SilenceParser() {
  static const bool silent = [] {
    google::protobuf::SetLogHandler(nullptr);
    return true;
  }();
  (void)silent;
}

template <typename T>
Result<T> ParseAs(const std::string& bytes) {
  typename WireOf<T>::type parsed;
  CANDOR_TRY(proto::CheckWireSize(*parsed.GetDescriptor(), bytes, proto::kMaxWireFields));
  if (!parsed.ParseFromString(bytes)) return Malformed(fmt::format("the bytes of a {} are broken", parsed.GetDescriptor()->name()));
  Checks checks;
  T value = proto::FromWire(parsed, checks);
  if (!checks.ok()) return Malformed(fmt::format("bad {}: {}", parsed.GetDescriptor()->name(), checks.complaint()));
  return value;
}

template <size_t I = 0>
Result<MessageBody> ParseKind(size_t alternative, const std::string& bytes) {
  if constexpr (I < kKinds) {
    if (alternative != I) return ParseKind<I + 1>(alternative, bytes);
    auto value = ParseAs<std::variant_alternative_t<I, MessageBody>>(bytes);
    if (!value) return Fail(value.error());
    return MessageBody(std::move(*value));
  } else {
    return Malformed(fmt::format("unknown kind of message {}", alternative + 1));
  }
}

// The envelope's own fields are seven; a hostile one could repeat them without end.
template <typename Envelope>
Result<Envelope> ParseEnvelope(const std::string& bytes, size_t max_bytes) {
  if (bytes.size() > max_bytes) return Malformed(fmt::format("{} bytes, more than the {} allowed", bytes.size(), max_bytes));
  SilenceParser();
  Envelope envelope;
  CANDOR_TRY(proto::CheckWireSize(*envelope.GetDescriptor(), bytes, 64));
  if (!envelope.ParseFromString(bytes)) return Malformed("not a message of candor");
  CANDOR_TRY(CheckProtocol(envelope.protocol()));
  return envelope;
}

constexpr size_t kEnvelopeBytes = 1 << 16;  // room for the envelope's own fields
constexpr uint32_t kScoredGroupPayload = 1;

}  // namespace

std::string Encode(const Message& message) {
  wire::Envelope envelope;
  envelope.set_protocol(kProtocolVersion);
  envelope.set_run_id(message.run_id);
  envelope.set_sequence(message.sequence);
  envelope.set_sender(message.sender);
  envelope.set_kind(static_cast<uint32_t>(message.body.index() + 1));
  std::visit(
      [&](const auto& body) {
        typename WireOf<std::decay_t<decltype(body)>>::type out;
        proto::ToWire(body, &out);
        CANDOR_CHECK(out.SerializeToString(envelope.mutable_body()), "a message that cannot be encoded");
      },
      message.body);
  return envelope.SerializeAsString();
}

Result<Message> Decode(const std::string& bytes) {
  CANDOR_ASSIGN(wire::Envelope envelope, ParseEnvelope<wire::Envelope>(bytes, kMaxPayloadBytes + kEnvelopeBytes));
  if (envelope.kind() == 0 || envelope.kind() > kKinds) return Malformed(fmt::format("unknown kind of message {}", envelope.kind()));
  size_t alternative = envelope.kind() - 1;
  if (envelope.body().size() > LimitOf(alternative))
    return Malformed(fmt::format("a message of kind {} has {} bytes, more than the {} allowed", envelope.kind(), envelope.body().size(),
                                 LimitOf(alternative)));
  CANDOR_ASSIGN(MessageBody body, ParseKind(alternative, envelope.body()));
  return Message{envelope.run_id(), envelope.sequence(), envelope.sender(), std::move(body)};
}

std::string EncodePayload(const ScoredGroup& group) {
  wire::ScoredGroup out;
  proto::ToWire(group, &out);
  wire::Payload payload;
  payload.set_protocol(kProtocolVersion);
  payload.set_kind(kScoredGroupPayload);
  CANDOR_CHECK(out.SerializeToString(payload.mutable_body()), "a group that cannot be encoded");
  return payload.SerializeAsString();
}

Result<ScoredGroup> DecodePayload(const std::string& bytes) {
  CANDOR_ASSIGN(wire::Payload payload, ParseEnvelope<wire::Payload>(bytes, kMaxPayloadBytes + kEnvelopeBytes));
  if (payload.kind() != kScoredGroupPayload) return Malformed(fmt::format("unknown kind of payload {}", payload.kind()));
  return ParseAs<ScoredGroup>(payload.body());
}

}  // namespace candor
