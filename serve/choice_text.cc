#include "serve/choice_text.h"

#include <algorithm>

namespace candor {

ChoiceText::ChoiceText(const Tokenizer& tokenizer, const std::vector<int32_t>& end_ids, std::vector<std::string> stops)
    : tokenizer_(tokenizer), end_ids_(end_ids), stops_(std::move(stops)), stream_(tokenizer_.MakeDecodeStream(true)) {}

Result<std::string> ChoiceText::Push(const SampledToken& token) {
  ++sampled_;
  if (cut_ || std::binary_search(end_ids_.begin(), end_ids_.end(), token.id)) return std::string();
  tokens_.push_back({token, static_cast<int64_t>(text_.size())});
  CANDOR_ASSIGN(const std::string piece, stream_.Push(token.id));
  const auto seen = static_cast<int64_t>(text_.size());
  text_ += piece;
  const auto match = stops_.Find(text_, seen);
  if (!match) return ShowUpTo(SafeEnd());
  text_.resize(static_cast<size_t>(match->end) - stops_.stops()[match->stop].size());
  cut_ = true;
  std::erase_if(tokens_, [&](const ShownToken& shown) { return shown.begin_byte >= static_cast<int64_t>(text_.size()); });
  return ShowUpTo(text_.size());
}

Result<std::string> ChoiceText::Finish() {
  CANDOR_ASSIGN(const std::string rest, stream_.Finish());  // a reply cut inside a character
  if (!cut_) text_ += rest;
  return ShowUpTo(text_.size());
}

std::vector<ShownToken> ChoiceText::TakeTokens() {
  std::vector<ShownToken> taken;
  for (; given_ < tokens_.size() && tokens_[given_].begin_byte < static_cast<int64_t>(std::max(shown_, size_t{1})); ++given_)
    taken.push_back(tokens_[given_]);
  return taken;
}

std::string ChoiceText::ShowUpTo(size_t end) {
  const std::string piece = end > shown_ ? text_.substr(shown_, end - shown_) : "";
  shown_ = std::max(shown_, end);
  return piece;
}

// Behind the longest end of the text that begins a stop text.
size_t ChoiceText::SafeEnd() const {
  size_t held = 0;
  for (const std::string& stop : stops_.stops())
    for (size_t length = std::min(stop.size() - 1, text_.size()); length > held; --length)
      if (std::string_view(text_).ends_with(std::string_view(stop).substr(0, length))) held = length;
  return text_.size() - held;
}

}  // namespace candor
