#include "rollout/reference_scorer.h"

#include <algorithm>

#include "model/config.h"
#include "rollout/scorer.h"

namespace candor {
namespace {

// Tokens of one pass: enough to keep products efficient, few enough for any machine's memory.
constexpr size_t kReferenceRowsPerPass = 4096;

// `before` then the reference, which begins where `before` ends; the tokens that hold a byte of the reference are those scored.
Status AppendReference(const Tokenizer& tokenizer, const std::string& before, const std::string& reference, ForcedReference& forced) {
  CANDOR_ASSIGN(const Encoding encoding, tokenizer.EncodeWithOffsets(before + reference, false));
  const auto begin = static_cast<int64_t>(before.size());
  for (size_t t = 0; t < encoding.ids_T.size(); ++t) {
    forced.tokens_T.push_back(encoding.ids_T[t]);
    if (encoding.offsets_T[t].end > begin) ++forced.reference;
  }
  return {};
}

}  // namespace

Result<std::optional<ForcedReference>> ForceReference(const Tokenizer& tokenizer, const TagFormat& format,
                                                      const std::vector<int32_t>& tokens_T, const std::string& reference) {
  DecodeStream stream = tokenizer.MakeDecodeStream(true);
  std::string text;
  std::vector<int64_t> end_bytes_T;
  for (int32_t id : tokens_T) {
    CANDOR_ASSIGN(const std::string piece, stream.Push(id));
    text += piece;
    end_bytes_T.push_back(static_cast<int64_t>(text.size()));
  }
  const ParsedTags parsed = ParseTags(format, text);
  const TagPart* answer = parsed.Find(PolicyTag::kAnswer);
  if (answer == nullptr) return std::optional<ForcedReference>();
  const auto whole = std::upper_bound(end_bytes_T.begin(), end_bytes_T.end(), answer->inner.begin) - end_bytes_T.begin();
  const int64_t end = whole == 0 ? 0 : end_bytes_T[static_cast<size_t>(whole - 1)];
  ForcedReference forced{{tokens_T.begin(), tokens_T.begin() + whole}, 0};
  const std::string rest = text.substr(static_cast<size_t>(end), static_cast<size_t>(answer->inner.begin - end));
  CANDOR_TRY(AppendReference(tokenizer, rest, reference, forced));
  return std::optional<ForcedReference>(std::move(forced));
}

Result<ForcedReference> ForceReferenceWithoutReasoning(const Tokenizer& tokenizer, const TagFormat& format, const std::string& prompt,
                                                       const std::string& reference) {
  std::string before;
  const std::string_view shown = std::string_view(prompt).substr(0, prompt.find_last_not_of(" \t\r\n") + 1);
  for (PolicyTag tag : format.tags) {
    const bool opened = tag == PolicyTag::kThink && shown.ends_with(OpenTag(tag));
    if (!opened) before += OpenTag(tag);
    if (tag == PolicyTag::kAnswer) break;
    before += std::string(CloseTag(tag)) + "\n";
  }
  ForcedReference forced;
  CANDOR_TRY(AppendReference(tokenizer, before, reference, forced));
  return forced;
}

Status ReferenceScorer::Score(const std::string& reference, TraceGroup& group) const {
  if (reference.empty() || !format_.Has(PolicyTag::kAnswer)) return {};
  std::vector<std::vector<int32_t>> completions;
  struct Place {  // where the scores of a completion's last tokens go
    std::vector<float>* log_probs_R;
    std::vector<int32_t>* ranks_R;  // null: not kept
    std::ptrdiff_t tokens;
  };
  std::vector<Place> wanted;
  const auto add = [&](ForcedReference forced, std::vector<float>* log_probs_R, std::vector<int32_t>* ranks_R) {
    const auto tokens = static_cast<int64_t>(group.prompt_tokens_P.size() + forced.tokens_T.size());
    if (const int64_t room = engine_.config().max_positions; forced.reference == 0 || (room > 0 && tokens > room)) return;
    completions.push_back(std::move(forced.tokens_T));
    wanted.push_back({log_probs_R, ranks_R, static_cast<std::ptrdiff_t>(forced.reference)});
  };
  CANDOR_ASSIGN(const std::string prompt, tokenizer_.Decode(group.prompt_tokens_P, false));
  CANDOR_ASSIGN(ForcedReference base, ForceReferenceWithoutReasoning(tokenizer_, format_, prompt, reference));
  add(std::move(base), &group.reference_base_R, nullptr);
  for (Trace& trace : group.traces_G) {
    if (trace.greedy) continue;
    CANDOR_ASSIGN(std::optional<ForcedReference> forced, ForceReference(tokenizer_, format_, trace.tokens_T, reference));
    if (forced) add(std::move(*forced), &trace.reference_log_probs_R, &trace.reference_ranks_R);
  }
  Scorer scorer(engine_);
  for (size_t first = 0, next = 0; first < completions.size(); first = next) {
    size_t rows = group.prompt_tokens_P.size();
    while (next < completions.size() && (next == first || rows + completions[next].size() <= kReferenceRowsPerPass))
      rows += completions[next++].size();
    const std::vector<std::vector<int32_t>> pass(completions.begin() + static_cast<std::ptrdiff_t>(first),
                                                 completions.begin() + static_cast<std::ptrdiff_t>(next));
    CANDOR_ASSIGN(const std::vector<ScoredTokens> scored, scorer.Score(group.prompt_tokens_P, pass, true));
    for (size_t i = first; i < next; ++i) {
      const auto& [log_probs_R, ranks_R, tokens] = wanted[i];
      const ScoredTokens& one = scored[i - first];
      log_probs_R->assign(one.log_probs_T.end() - tokens, one.log_probs_T.end());
      if (ranks_R) ranks_R->assign(one.ranks_T.end() - tokens, one.ranks_T.end());
    }
  }
  return {};
}

}  // namespace candor
