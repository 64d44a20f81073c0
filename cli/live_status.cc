#include "cli/live_status.h"

#include <fmt/format.h>

#include "core/rendezvous.h"
#include "core/transport.h"
#include "proto/messages.h"

namespace candor::cli {

Result<nlohmann::json> AskStatus(const std::string& run_dir, const std::string& run_id, int deadline_ms) {
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run_dir));
  CANDOR_ASSIGN(const CoordinatorAddress address, FindCoordinator(run_dir));
  CANDOR_ASSIGN(const std::unique_ptr<Transport> transport, MakeZmqTransport(keys));
  CANDOR_ASSIGN(const std::unique_ptr<MessageClient> client,
                transport->Connect(address.endpoint, Role::kObserver, Role::kCoordinator, kMaxControlBytes));
  Caller caller(*client, run_id, "status");
  CANDOR_ASSIGN(const StatusReply reply,
                caller.Ask<StatusReply>(StatusRequest{}, fmt::format("the status of {}", address.endpoint), deadline_ms));
  nlohmann::json status = nlohmann::json::parse(reply.json, nullptr, false);
  if (!status.is_object()) return Fail(ErrorCode::kInvalidInput, "the coordinator's status is no JSON object", address.endpoint);
  return status;
}

}  // namespace candor::cli
