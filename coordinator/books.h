// What a checkpoint's manifest keeps of the coordinator: where prompts, groups and records stood at the moment of the snapshot. Pure.
#pragma once
#include <string>

#include "coordinator/state.h"

namespace candor {

// {"ledger_sequence", "segment", "last_step", "prompt_cursor": {"wave", "position"}: the next prompt to be issued,
//  "rng": {"seed"}: all random numbers are functions of it, group, sample and position, "record_watermark": {"segment", "step"},
//  "spooled": [{"group", "hash"}], "in_flight": [group ids leased], "open": groups issued and not leased}
// `ledger_sequence` counts the records that are durable before this is sent.
std::string BooksJson(const CoordinatorState& state, uint64_t ledger_sequence);

}  // namespace candor
