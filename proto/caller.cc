// One request and its reply. A reply to an earlier request of ours (late, or doubled because we asked twice) has another sequence number
// and is skipped.
#include <algorithm>

#include "core/transport.h"
#include "proto/messages.h"

namespace candor {

Result<MessageBody> Caller::Call(MessageBody request, const std::string& what, int deadline_ms, int resend_ms) {
  const uint64_t sequence = next_sequence_++;
  const std::string bytes = Encode({run_id_, sequence, sender_, std::move(request)});
  auto now_ms = [this, start = clock_.SteadyMs()] { return static_cast<int>(clock_.SteadyMs() - start); };
  int next_send_ms = 0;
  for (int now = 0; now < deadline_ms || now == 0; now = now_ms()) {
    if (now >= next_send_ms) {
      Status sent = client_.Send(bytes);
      if (!sent && sent.error().code != ErrorCode::kUnavailable)
        return Fail(sent.error());  // a full queue: the peer is slow or gone, and we wait for it
      next_send_ms = now + std::max(resend_ms, 1);
    }
    int wait_ms = std::max(0, std::min(next_send_ms, deadline_ms) - now_ms());
    CANDOR_ASSIGN(std::optional<std::string> reply, client_.Receive(wait_ms));
    if (!reply) continue;
    Result<Message> message = Decode(*reply);
    if (!message && message.error().code == ErrorCode::kVersionSkew) return Fail(message.error());
    if (!message || message->sequence != sequence) continue;
    if (Error* error = std::get_if<Error>(&message->body)) return Fail(*error);
    return std::move(message->body);
  }
  return Fail(ErrorCode::kUnavailable, "no answer to " + what + " within " + std::to_string(deadline_ms) + " ms", sender_);
}

}  // namespace candor
