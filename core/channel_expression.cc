#include "core/channel_expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace candor {

namespace {
constexpr int kMaxDepth = 64;      // nesting of parentheses and signs: bounds the recursion
constexpr size_t kMaxText = 4096;  // a recipe's line, not a program
constexpr std::pair<std::string_view, std::string_view> kNamedRewards[] = {
    {"rlcr_paper", "accuracy + brier - 1"},
    {"rlcr_code", "0.5*format + 0.5*accuracy + 0.5*brier"},
    {"rlvr_code", "0.5*format + 0.5*accuracy"},
    {"sayself", "2*brier - 1"},
    {"rewarding_doubt", "10*((log + 3.4538776)*0.28961355 + 0.25*accuracy) - 19.9971*(1 - format)"},
    {"dcpo_paper", "hybrid_gap"},
    {"dcpo_code", "0.5*hybrid_brier"},
    {"truthrl", "2*accuracy + abstained - 1"},
    {"rlpr_paper", "0.9*rlpr + 0.1*format"},
    {"rlsf_verbal", "2*accuracy*confidence - confidence - (1 - format)"},
};
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '.' || c == '/'; }
}  // namespace

// Recursive descent; a named reward is parsed by the same parser over its own text.
class ChannelExpressionParser {
 public:
  ChannelExpressionParser(std::string_view text, ChannelExpression& out) : text_(text), out_(out) {}

  Status ParseAll() {
    CANDOR_TRY(ParseSum());
    SkipSpace();
    if (at_ < text_.size()) return Fault(fmt::format("'{}' where an operator (+ - *) or the end was expected", text_[at_]));
    return {};
  }

 private:
  using Op = ChannelExpression::Op;

  Status ParseSum() {
    if (++depth_ > kMaxDepth) return Fault("nested too deeply");
    CANDOR_TRY(ParseTerm());
    for (;;) {
      SkipSpace();
      if (at_ >= text_.size() || (text_[at_] != '+' && text_[at_] != '-')) break;
      Op op = text_[at_++] == '+' ? Op::kAdd : Op::kSubtract;
      CANDOR_TRY(ParseTerm());
      Emit(op);
    }
    --depth_;
    return {};
  }

  Status ParseTerm() {
    CANDOR_TRY(ParseFactor());
    for (;;) {
      SkipSpace();
      if (at_ >= text_.size() || text_[at_] != '*') return {};
      ++at_;
      CANDOR_TRY(ParseFactor());
      Emit(Op::kMultiply);
    }
  }

  Status ParseFactor() {
    SkipSpace();
    if (at_ >= text_.size()) return Fault("ends where a channel or a number was expected");
    char c = text_[at_];
    if (c == '-') {
      if (++depth_ > kMaxDepth) return Fault("nested too deeply");
      ++at_;
      CANDOR_TRY(ParseFactor());
      Emit(Op::kNegate);
      --depth_;
      return {};
    }
    if (c == '(') {
      ++at_;
      CANDOR_TRY(ParseSum());
      SkipSpace();
      if (at_ >= text_.size() || text_[at_] != ')') return Fault("a parenthesis is not closed");
      ++at_;
      return {};
    }
    if (IsDigit(c) || c == '.') return ParseNumber();
    if (IsNameStart(c)) return ParseName();
    return Fault(fmt::format("'{}' where a channel or a number was expected", c));
  }

  Status ParseNumber() {
    double value = 0.0;
    auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || !std::isfinite(value)) return Fault("not a number");
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && IsNamePart(text_[at_])) return Fault("a name directly after a number; write 0.5*name");
    out_.program_.push_back({Op::kNumber, value, 0});
    return {};
  }

  Status ParseName() {
    size_t begin = at_;
    while (at_ < text_.size() && IsNamePart(text_[at_])) ++at_;
    std::string_view name = text_.substr(begin, at_ - begin);
    for (auto [named, meaning] : kNamedRewards)
      if (name == named) return ChannelExpressionParser(meaning, out_).ParseAll();
    size_t channel = static_cast<size_t>(std::find(out_.names_.begin(), out_.names_.end(), name) - out_.names_.begin());
    if (channel == out_.names_.size()) out_.names_.emplace_back(name);
    out_.program_.push_back({Op::kChannel, 0.0, channel});
    return {};
  }

  void Emit(Op op) { out_.program_.push_back({op, 0.0, 0}); }
  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  }
  tl::unexpected<Error> Fault(const std::string& what) const {
    return Fail(ErrorCode::kInvalidInput, "channel expression: " + what, fmt::format("column {} of \"{}\"", at_ + 1, text_),
                "write channels and numbers joined by + - * and parentheses, such as \"accuracy + 0.5*brier\"");
  }

  std::string_view text_;
  ChannelExpression& out_;
  size_t at_ = 0;
  int depth_ = 0;
};

const std::vector<std::string>& PolicyChannels() {
  static const std::vector<std::string> names = {
      "self_certainty", "mean_log_prob",  "lowest_window", "answer_span",    "answer_prob",   "answer_margin",
      "rlpr",           "reference_prob", "dro",           "dro_propagated", "dro_over_base", "reference_length"};
  return names;
}

bool ChannelExpression::NeedsNoLabel() const {
  bool own = false;
  for (const std::string& name : names_) {
    if (std::find(PolicyChannels().begin(), PolicyChannels().end(), name) != PolicyChannels().end())
      own = true;
    else if (name != "format" && name != "confidence" && name != "abstained")
      return false;
  }
  return own;
}

Result<ChannelExpression> ChannelExpression::Parse(std::string_view text) {
  if (text.size() > kMaxText)
    return Fail(ErrorCode::kInvalidInput, fmt::format("channel expression of {} characters; {} is the limit", text.size(), kMaxText));
  ChannelExpression expression;
  expression.text_ = std::string(text);
  CANDOR_TRY(ChannelExpressionParser(text, expression).ParseAll());
  return expression;
}

std::optional<double> ChannelExpression::Evaluate(const std::map<std::string, double>& channels) const {
  std::vector<double> stack;
  stack.reserve(program_.size());
  for (const Instruction& instruction : program_) {
    if (instruction.op == Op::kNumber) {
      stack.push_back(instruction.number);
    } else if (instruction.op == Op::kChannel) {
      auto found = channels.find(names_[instruction.channel]);
      if (found == channels.end()) return std::nullopt;
      stack.push_back(found->second);
    } else if (instruction.op == Op::kNegate) {
      stack.back() = -stack.back();
    } else {
      double right = stack.back();
      stack.pop_back();
      double& left = stack.back();
      left = instruction.op == Op::kAdd ? left + right : instruction.op == Op::kSubtract ? left - right : left * right;
    }
  }
  if (!std::isfinite(stack.back())) return std::nullopt;
  return stack.back();
}

}  // namespace candor
