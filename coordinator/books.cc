#include "coordinator/books.h"

#include <nlohmann/json.hpp>

namespace candor {

std::string BooksJson(const CoordinatorState& state, uint64_t ledger_sequence) {
  using nlohmann::json;
  json spooled = json::array(), in_flight = json::array();
  uint64_t open = 0;
  for (const auto& [id, group] : state.groups()) {
    open += group.phase == GroupPhase::kOpen;
    if (group.phase == GroupPhase::kLeased) in_flight.push_back(id.value);
    if (group.header && (group.phase == GroupPhase::kScored || group.phase == GroupPhase::kTrained))
      spooled.push_back({{"group", id.value}, {"hash", group.header->hash}});
  }
  return json{{"ledger_sequence", ledger_sequence},
              {"segment", state.segment().value},
              {"last_step", state.last_done().value},
              {"prompt_cursor", {{"wave", state.issued().value + 1}, {"position", 0}, {"visits", state.curriculum().cursor()}}},
              {"rng", {{"seed", state.plan().seed}}},
              {"record_watermark", {{"segment", state.segment().value}, {"step", state.last_done().value}}},
              {"spooled", spooled},
              {"in_flight", in_flight},
              {"open", open}}
      .dump();
}

}  // namespace candor
