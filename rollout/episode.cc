#include "rollout/episode.h"

#include <algorithm>

#include "core/check.h"
#include "rollout/signals.h"

namespace candor {
namespace {

class SingleTurnEpisode final : public Episode {
 public:
  SingleTurnEpisode(std::shared_ptr<const TurnFormat> format, const SamplingOptions& sampling)
      : format_(std::move(format)), max_new_tokens_(sampling.max_new_tokens), stream_(format_->tokenizer->MakeDecodeStream(true)) {}

  int64_t max_tokens() const override {
    return max_new_tokens_ + (format_->slot ? static_cast<int64_t>(format_->slot_prefix.size()) + 1 : 0);
  }

  NextAction Next() override {
    switch (stage_) {
      case Stage::kReply:
        if (!ended_ && sampled_ < max_new_tokens_) return {};
        if (ended_ && closed_ && format_->slot) {
          stage_ = Stage::kSlot;
          reply_tokens_ = origin_T_.size();
          reply_bytes_ = static_cast<int64_t>(text_.size());
          return {.kind = NextAction::Kind::kForce, .ids = format_->slot_prefix, .slot = {}, .finish = FinishReason::kStop};
        }
        return {.kind = NextAction::Kind::kFinish, .ids = {}, .slot = {}, .finish = ended_ ? FinishReason::kStop : FinishReason::kLength};
      case Stage::kSlot:
        stage_ = Stage::kDone;
        return {.kind = NextAction::Kind::kReadSlot, .ids = {}, .slot = *format_->slot, .finish = FinishReason::kStop};
      case Stage::kDone:
        break;
    }
    return {.kind = NextAction::Kind::kFinish, .ids = {}, .slot = {}, .finish = FinishReason::kStop};
  }

  Status Append(int32_t id, Origin origin) override {
    CANDOR_ASSIGN(const std::string piece, stream_.Push(id));
    const auto seen = static_cast<int64_t>(text_.size());
    text_ += piece;
    end_bytes_T_.push_back(static_cast<int64_t>(text_.size()));
    origin_T_.push_back(origin);
    if (stage_ != Stage::kReply) return {};
    ++sampled_;
    if (std::binary_search(format_->stop_ids.begin(), format_->stop_ids.end(), id)) ended_ = true;
    if (auto match = format_->stops.Find(text_, seen)) {
      ended_ = true;
      closed_ = format_->has_end_tag && match->stop == 0;
    }
    return {};
  }

  Status Finish(Trace& trace, const TraceReadings& readings) override {
    CANDOR_ASSIGN(const std::string rest, stream_.Finish());  // a reply cut inside a character
    if (stage_ == Stage::kReply) {
      reply_tokens_ = origin_T_.size();
      reply_bytes_ = static_cast<int64_t>(text_.size());
    }
    trace.text = GradedText(rest);
    FillSpans(trace);
    FillSignals(trace, readings);
    return {};
  }

 private:
  enum class Stage : uint8_t { kReply, kSlot, kDone };

  // What graders see. A slot ends the trace, so its tag is closed in the text only; a format without a confidence tag does not show the
  // slot at all.
  std::string GradedText(const std::string& rest) const {
    if (stage_ == Stage::kReply) return text_ + rest;
    if (!format_->tags.Has(PolicyTag::kConfidence)) return text_.substr(0, static_cast<size_t>(reply_bytes_));
    return text_ + rest + std::string(CloseTag(PolicyTag::kConfidence));
  }

  // The reply as the policy wrote it, without what was forced behind it.
  ParsedTags ParseReply(TagFormat& reply_format) const {
    reply_format = format_->tags;
    if (format_->slot) {
      std::erase(reply_format.tags, PolicyTag::kConfidence);
      reply_format.confidence = ConfidenceSource::kNone;
    }
    return ParseTags(reply_format, std::string_view(text_).substr(0, static_cast<size_t>(reply_bytes_)));
  }

  void FillSpans(Trace& trace) const {
    TagFormat reply_format;
    const ParsedTags parsed = ParseReply(reply_format);
    std::vector<Segment> segment_T = TokenSegments(reply_format, parsed, std::span(end_bytes_T_).first(reply_tokens_));
    segment_T.resize(origin_T_.size(), Segment::kConfidence);
    if (stage_ == Stage::kDone) segment_T.back() = Segment::kSlot;
    trace.spans = MakeSpans(origin_T_, segment_T, 0);
  }

  void FillSignals(Trace& trace, const TraceReadings& readings) const {
    TagFormat reply_format;
    const ParsedTags parsed = ParseReply(reply_format);
    if (parsed.confidence) trace.signals["verbal"] = parsed.confidence->value();
    ByteRange range{0, reply_bytes_};
    if (!reply_format.tags.empty()) {
      const TagPart* answer = parsed.Find(PolicyTag::kAnswer);
      if (!answer) return;
      range = answer->inner;
    }
    std::vector<int64_t> end_bytes(end_bytes_T_.begin(), end_bytes_T_.begin() + static_cast<std::ptrdiff_t>(reply_tokens_));
    AddAnswerSignals(TokensWithin(end_bytes, TrimRange(text_, range)), trace.log_probs_T, readings.margin_T, trace.signals);
  }

  std::shared_ptr<const TurnFormat> format_;
  int64_t max_new_tokens_;
  DecodeStream stream_;
  Stage stage_ = Stage::kReply;
  std::string text_;
  std::vector<int64_t> end_bytes_T_;
  std::vector<Origin> origin_T_;
  int64_t sampled_ = 0;
  bool ended_ = false;   // an end token or a stop text was written
  bool closed_ = false;  // it was the format's last tag
  size_t reply_tokens_ = 0;
  int64_t reply_bytes_ = 0;
};

}  // namespace

Result<std::shared_ptr<const TurnFormat>> MakeTurnFormat(const Tokenizer& tokenizer, const TagFormat& tags, std::vector<int32_t> stop_ids,
                                                         std::vector<std::string> stop, std::optional<SlotTokens> slot,
                                                         const std::string& slot_prefix_text) {
  auto format = std::make_shared<TurnFormat>();
  format->tokenizer = &tokenizer;
  format->tags = tags;
  std::sort(stop_ids.begin(), stop_ids.end());
  format->stop_ids = std::move(stop_ids);
  const bool reads_slot = tags.confidence == ConfidenceSource::kSlot;
  if (reads_slot != slot.has_value())
    return Fail(ErrorCode::kInvalidInput, reads_slot ? "the format reads its confidence from a slot, but no slot tokens are given"
                                                     : "slot tokens are given, but the format has no slot");
  std::vector<std::string> stops;
  for (auto tag = tags.tags.rbegin(); tag != tags.tags.rend() && !format->has_end_tag; ++tag)
    if (!(reads_slot && *tag == PolicyTag::kConfidence)) {
      stops.emplace_back(CloseTag(*tag));
      format->has_end_tag = true;
    }
  if (reads_slot && !format->has_end_tag)
    return Fail(ErrorCode::kInvalidInput, "a confidence slot needs a tag after which it is read", "format.tags",
                "ask for the tag \"answer\"");
  stops.insert(stops.end(), stop.begin(), stop.end());
  format->stops = StopStrings(std::move(stops));
  if (reads_slot) {
    format->slot = slot;
    const std::string prefix = slot_prefix_text.empty() ? std::string(kSlotPrefix) : slot_prefix_text;
    CANDOR_ASSIGN(format->slot_prefix, tokenizer.Encode(prefix, false));
    if (format->slot_prefix.empty())
      return Fail(ErrorCode::kInvalidInput, "the text before the confidence slot has no tokens: \"" + prefix + "\"");
  }
  return std::shared_ptr<const TurnFormat>(std::move(format));
}

EpisodeFactory SingleTurn(std::shared_ptr<const TurnFormat> format) {
  return [format = std::move(format)](const SamplingOptions& sampling) -> std::unique_ptr<Episode> {
    return std::make_unique<SingleTurnEpisode>(format, sampling);
  };
}

std::vector<Span> MakeSpans(const std::vector<Origin>& origin_T, const std::vector<Segment>& segment_T, int32_t turn) {
  std::vector<Span> spans;
  for (size_t t = 0; t < origin_T.size(); ++t) {
    const auto end = static_cast<int32_t>(t + 1);
    if (!spans.empty() && spans.back().origin == origin_T[t] && spans.back().segment == segment_T[t])
      spans.back().end = end;
    else
      spans.push_back({origin_T[t], segment_T[t], turn, end - 1, end});
  }
  return spans;
}

}  // namespace candor
