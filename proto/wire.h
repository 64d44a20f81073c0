// Internal to proto/: between the structs of messages.h and the generated messages. `ToWire` cannot fail. `FromWire` checks everything that
// a type cannot promise: enum values, NaN, lengths, signs, unknown names; the first complaint is kept in `Checks`.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "proto/candor.pb.h"
#include "proto/messages.h"

namespace candor::proto {

// Limits inside one message, beyond its size in bytes. Generous for real groups; a message that needs more is broken or hostile.
inline constexpr size_t kMaxWireFields = 400000;  // fields of all nested messages together
inline constexpr int kMaxTracesPerGroup = 4096;
inline constexpr int kMaxTokens = 4 << 20;  // of one trace or prompt
inline constexpr int kMaxNameBytes = 4096;

class Checks {
 public:
  void Require(bool holds, const std::string& complaint) {
    if (!holds && first_.empty()) first_ = complaint;
  }
  double Finite(double value, const char* field) {
    Require(std::isfinite(value), fmt::format("{} is not a finite number", field));
    return value;
  }
  // An enum value in [0, last].
  template <typename E>
  E Enum(int value, E last, const char* field) {
    bool known = 0 <= value && value <= static_cast<int>(last);
    Require(known, fmt::format("{} has the unknown value {}", field, value));
    return known ? static_cast<E>(value) : E{};
  }
  bool ok() const { return first_.empty(); }
  const std::string& complaint() const { return first_; }

 private:
  std::string first_;
};

template <typename Entry>
void NumbersToWire(const std::map<std::string, double>& from, google::protobuf::RepeatedPtrField<Entry>* to) {
  for (const auto& [name, value] : from) {
    Entry* entry = to->Add();
    entry->set_name(name);
    entry->set_value(value);
  }
}
// Names ascend, so that equal messages have equal bytes.
template <typename Value, typename Entries>
std::map<std::string, Value> NamedFromWire(const Entries& from, Checks& checks, const char* field) {
  std::map<std::string, Value> to;
  for (const auto& entry : from) {
    checks.Require(to.empty() || to.rbegin()->first < entry.name(), fmt::format("{} has names doubled or out of order", field));
    checks.Require(entry.name().size() <= kMaxNameBytes, fmt::format("{} has a name that is too long", field));
    to.emplace_hint(to.end(), entry.name(), entry.value());
  }
  return to;
}
// Finite values only; numbers that may be NaN (a worker's metrics) use NamedFromWire.
template <typename Entries>
std::map<std::string, double> FiniteFromWire(const Entries& from, Checks& checks, const char* field) {
  for (const auto& entry : from) checks.Finite(entry.value(), field);
  return NamedFromWire<double>(from, checks, field);
}

inline void ToWire(const PromptRef& from, wire::PromptRef* to) {
  to->set_dataset(from.dataset);
  to->set_row(from.row);
}
inline PromptRef FromWire(const wire::PromptRef& from) { return {from.dataset(), from.row()}; }

// codec_trace.cc
void ToWire(const TraceGroup& from, wire::TraceGroup* to);
void ToWire(const ScoredGroup& from, wire::ScoredGroup* to);
TraceGroup FromWire(const wire::TraceGroup& from, Checks& checks);
ScoredGroup FromWire(const wire::ScoredGroup& from, Checks& checks);

// Refuses bytes whose nested messages hold more than `max_fields` fields, or whose packed numbers would take more than twice their size on
// the wire (and 1 MiB), before the parser allocates for them: two bytes on the wire may be a message of 200 bytes in memory, and 64 MiB of
// packed varints 512 MiB.
Status CheckWireSize(const google::protobuf::Descriptor& type, const std::string& bytes, size_t max_fields);

}  // namespace candor::proto
