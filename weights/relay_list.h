// Who serves blobs: a file RUN_DIR/weights/relays/<name> for each process, holding its endpoint. Names are those of the processes
// ("trainer-1", "rollout-0"), so a process that starts again replaces its own. What a dead process left behind costs whoever tries it one
// refused connection. Any thread.
#pragma once
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct RelayAddress {
  std::string name, endpoint;
};

Status AnnounceRelay(const std::string& weights, const RelayAddress& relay);
void WithdrawRelay(const std::string& weights, const RelayAddress& relay);
// By name, ascending.
std::vector<RelayAddress> FindRelays(const std::string& weights);

// Whom receiver `self` asks for chunk `chunk`, best first: relays in a ring that begins at another place for each chunk, up to the receiver
// itself, which asks the trainer. So each chunk leaves the trainer once, whatever the number of receivers, and a relay that is dead (in
// `avoid`) is stepped over by everybody in the same way. `receivers` holds `self` and is sorted by name.
std::vector<RelayAddress> AskInTurn(const std::vector<RelayAddress>& receivers, const std::string& self, size_t chunk,
                                    const std::vector<std::string>& avoid);

}  // namespace candor
