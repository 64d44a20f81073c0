// The JSON that a user's verifier speaks, over a pipe (one line each way) or HTTP (one body each way).
//   to it    {"id": string, "prompt": string, "completion": string, "answer": string | null, "row": the data row's own JSON}
//   from it  {"id": the same, "label": "correct" | "wrong" | "unknown" | number in [0, 1] | true | false, "rewards": {name: finite number},
//   "reason": string}
// "answer" is null when the completion did not hold the required format. "rewards" and "reason" may be missing; so may "label" when there
// are rewards (it is then unknown). A number is the soft label; from 0.5 on the label is correct. Pure, any thread.
#pragma once
#include <string>
#include <string_view>

#include "core/result.h"
#include "reward/verifiers/verifier.h"

namespace candor {

// Without a newline. Invalid UTF-8 in a completion is replaced by U+FFFD.
std::string EncodeGradeRequest(const GradeRequest& request);
// The error says what is wrong with the reply.
Result<Verdict> DecodeGradeReply(std::string_view reply, std::string_view expected_id);

inline constexpr size_t kMaxReplyBytes = size_t{1} << 20;
inline constexpr size_t kMaxRewards = 64;

// A name that an objective can write and that the scorer does not fill itself (reward/channels.h).
bool IsUserChannel(const std::string& name);

}  // namespace candor
