#include "weights/relay_list.h"

#include <algorithm>
#include <filesystem>

#include "core/fs.h"

namespace candor {

namespace {

constexpr size_t kTriedMax = 3;  // relays asked for one chunk before the trainer is
constexpr size_t kEndpointMax = 512;

std::string Folder(const std::string& weights) { return weights + "/relays"; }

}  // namespace

Status AnnounceRelay(const std::string& weights, const RelayAddress& relay) {
  CANDOR_TRY(MakeFolders(Folder(weights)));
  return WriteFileAtomic(Folder(weights) + "/" + relay.name, relay.endpoint + "\n", false);
}

void WithdrawRelay(const std::string& weights, const RelayAddress& relay) {
  const std::string path = Folder(weights) + "/" + relay.name;
  std::error_code ignored;
  if (const auto text = ReadFile(path, kEndpointMax); text && *text == relay.endpoint + "\n") std::filesystem::remove(path, ignored);
}

std::vector<RelayAddress> FindRelays(const std::string& weights) {
  std::vector<RelayAddress> relays;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(Folder(weights), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.find(".tmp.") != std::string::npos) continue;
    auto text = ReadFile(entry.path().string(), kEndpointMax);
    if (text && text->ends_with('\n')) relays.push_back({name, text->substr(0, text->size() - 1)});
  }
  std::sort(relays.begin(), relays.end(), [](const RelayAddress& a, const RelayAddress& b) { return a.name < b.name; });
  return relays;
}

std::vector<RelayAddress> AskInTurn(const std::vector<RelayAddress>& receivers, const std::string& self, size_t chunk,
                                    const std::vector<std::string>& avoid) {
  std::vector<RelayAddress> turn;
  for (size_t i = 0; i < receivers.size() && turn.size() < kTriedMax; ++i) {
    const RelayAddress& receiver = receivers[(chunk + i) % receivers.size()];
    if (receiver.name == self) break;
    if (std::find(avoid.begin(), avoid.end(), receiver.name) == avoid.end()) turn.push_back(receiver);
  }
  return turn;
}

}  // namespace candor
