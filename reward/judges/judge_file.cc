#include "reward/judges/judge_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "core/options.h"

namespace candor {

namespace {

// As it stands in the file.
struct WrittenJudge {
  std::string about, source, kind, system, user, execute = "none", after_code, ask = "all", split = "\\n[ \\t]*\\n";
  std::string read, pattern, take = "last";
  double least = 0.0, most = 1.0;
  std::vector<std::string> positive, negative, tie;
};

void Declare(OptionTable& t, WrittenJudge& w) {
  t.Section("", "");
  t.String("about", &w.about, {.help = "one line for people"});
  t.String("source", &w.source, {.help = "the paper that the way of judging comes from"});
  t.String("kind", &w.kind, {.help = "what is judged", .choices = {"pointwise", "pairwise", "steps", "meta"}, .required = true});
  t.String("system", &w.system, {.help = "system message; empty = none"});
  t.String("user", &w.user, {.help = "user message, with placeholders", .required = true});
  t.String("ask", &w.ask, {.help = "kind steps: one question about all of them, or each on its own", .choices = {"all", "each"}});
  t.String("split", &w.split, {.help = "kind steps: expression for what stands between two steps"});
  t.String("execute", &w.execute,
           {.help = "kinds pointwise and steps: python = the first ```python block of an answer is run in a sandbox, and the judge goes on "
                    "from what it printed",
            .choices = {"none", "python"}});
  t.String("after_code", &w.after_code, {.help = "with execute: what the judge is told then; {output} is what its program printed"});
  t.Section("parse", "how the answer is read");
  t.String("read", &w.read, {.help = "form of the verdict", .choices = {"number", "word", "probability"}, .required = true});
  t.String("pattern", &w.pattern, {.help = "expression (RE2) with one group, the verdict; of a probability it may be left out"});
  t.String("take", &w.take, {.help = "which of several matches counts", .choices = {"first", "last"}});
  t.Double("least", &w.least, {.help = "the number that means 0"});
  t.Double("most", &w.most, {.help = "the number that means 1"});
  t.StringList("positive", &w.positive, {.help = "words for yes; of a pair: the first is better"});
  t.StringList("negative", &w.negative, {.help = "words for no; of a pair: the second is better"});
  t.StringList("tie", &w.tie, {.help = "words for neither"});
}

std::string LowerTrimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  std::string word(first == std::string_view::npos ? "" : text.substr(first, last - first + 1));
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(c < 128 ? std::tolower(c) : c); });
  return word;
}

bool Holds(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Result<std::shared_ptr<const re2::RE2>> Compile(const std::string& pattern, int groups, const std::string& where) {
  constexpr size_t kMaxPatternBytes = 1000;
  if (pattern.size() > kMaxPatternBytes)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the expression has {} bytes; {} is the most", pattern.size(), kMaxPatternBytes),
                where);
  re2::RE2::Options options;
  options.set_log_errors(false);
  auto compiled = std::make_shared<const re2::RE2>(pattern, options);
  if (!compiled->ok()) return Fail(ErrorCode::kInvalidInput, "the expression cannot be read: " + compiled->error(), where);
  if (compiled->NumberOfCapturingGroups() != groups)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the expression has {} groups, not {}", compiled->NumberOfCapturingGroups(), groups),
                where, groups == 1 ? "put ( ) around the verdict, and (?: ) around anything else" : "write (?: ) for groups");
  return compiled;
}

// Placeholders of a text: each {word} of lower-case letters, but not behind a letter (as in \boxed{yes}).
std::vector<std::string> PlaceholdersOf(std::string_view text) {
  static const re2::RE2 kPlaceholder(R"((?:^|[^A-Za-z])\{([a-z]+)\})");
  std::vector<std::string> names;
  std::string name;
  re2::StringPiece left(text.data(), text.size());
  while (re2::RE2::FindAndConsume(&left, kPlaceholder, &name)) names.push_back(name);
  return names;
}

Status CheckPlaceholders(const JudgeFile& file) {
  std::vector<std::string> known = {"prompt", "reference"}, needed;
  switch (file.kind) {
    case JudgeKind::kPointwise:
      known.insert(known.end(), {"completion", "answer"}), needed = {"completion", "answer"};
      break;
    case JudgeKind::kPairwise:
      known.insert(known.end(), {"first", "second"}), needed = {"first", "second"};
      break;
    case JudgeKind::kSteps:
      known.insert(known.end(), {"steps", "step", "before"}), needed = {file.ask_each_step ? "step" : "steps"};
      break;
    case JudgeKind::kMeta:
      known.insert(known.end(), {"completion", "answer", "critique"}), needed = {"critique"};
      break;
  }
  const std::vector<std::string> used = PlaceholdersOf(file.user);
  for (const std::string& name : used)
    if (!Holds(known, name))
      return Fail(ErrorCode::kInvalidInput, fmt::format("a judge of the kind {} has no {{{}}}", Name(file.kind), name),
                  file.path + ": user", fmt::format("there are: {{{}}}", fmt::join(known, "}, {")));
  const auto stands = [&](const std::string& name) { return Holds(used, name); };
  const bool enough = file.kind == JudgeKind::kPairwise ? std::all_of(needed.begin(), needed.end(), stands)
                                                        : std::any_of(needed.begin(), needed.end(), stands);
  if (enough) return {};
  return Fail(ErrorCode::kInvalidInput, "the question does not show what is to be judged", file.path + ": user",
              fmt::format("write {{{}}} where it belongs", fmt::join(needed, file.kind == JudgeKind::kPairwise ? "} and {" : "} or {")));
}

constexpr const char* kAfterCode =
    "Your program printed:\n{output}\n\nGo on from there: say what this means, and end with the verdict as you were asked to.";

Status FillCode(const WrittenJudge& written, JudgeFile& file) {
  file.runs_code = written.execute == "python";
  file.after_code = written.after_code.empty() ? kAfterCode : written.after_code;
  if (!file.runs_code && !written.after_code.empty())
    return Fail(ErrorCode::kInvalidInput, "nothing is run, so that nothing comes after it", file.path + ": after_code",
                "execute = \"python\", or take after_code out");
  if (file.runs_code && file.kind != JudgeKind::kPointwise && file.kind != JudgeKind::kSteps)
    return Fail(ErrorCode::kInvalidInput, fmt::format("a judge of the kind {} runs no code", Name(file.kind)), file.path + ": execute",
                "judge completions or steps");
  if (file.runs_code && file.after_code.find("{output}") == std::string::npos)
    return Fail(ErrorCode::kInvalidInput, "the judge would not see what its program printed", file.path + ": after_code",
                "write {output} where it belongs");
  return {};
}

Status FillParser(const WrittenJudge& written, JudgeFile& file) {
  const std::string where = file.path + ": parse";
  file.form = written.read == "number" ? VerdictForm::kNumber : written.read == "word" ? VerdictForm::kWord : VerdictForm::kProbability;
  file.first = written.take == "first";
  file.least = written.least, file.most = written.most;
  for (const auto& [from, to] :
       {std::pair{&written.positive, &file.positive}, {&written.negative, &file.negative}, {&written.tie, &file.tie}})
    for (const std::string& word : *from) to->push_back(LowerTrimmed(word));
  if (file.form == VerdictForm::kNumber && file.least == file.most)
    return Fail(ErrorCode::kInvalidInput, "least and most are the same number", where, "name the ends of the scale: least = 1, most = 10");
  if (file.form != VerdictForm::kNumber && (file.positive.empty() || file.negative.empty()))
    return Fail(ErrorCode::kInvalidInput, "there are no words for yes, or none for no", where, "positive = [\"yes\"], negative = [\"no\"]");
  if (file.form == VerdictForm::kProbability && file.kind == JudgeKind::kSteps && !file.ask_each_step)
    return Fail(ErrorCode::kInvalidInput, "a probability is read once per answer, and there are several steps in one", where,
                "ask = \"each\", or read = \"word\"");
  if (file.form == VerdictForm::kProbability && written.pattern.empty()) return {};
  CANDOR_ASSIGN(file.pattern, Compile(written.pattern, 1, where + ".pattern"));
  return {};
}

// All matches of the pattern's group, in order.
std::vector<std::string> Matches(const JudgeFile& file, std::string_view text) {
  constexpr size_t kMaxMatches = 10000;
  std::vector<std::string> found;
  std::string one;
  re2::StringPiece left(text.data(), text.size());
  while (found.size() < kMaxMatches && re2::RE2::FindAndConsume(&left, *file.pattern, &one)) found.push_back(one);
  return found;
}

std::optional<double> Meaning(const JudgeFile& file, const std::string& verdict) {
  const std::string word = LowerTrimmed(verdict);
  if (file.form == VerdictForm::kNumber) {
    double number = 0.0;
    const char* end = word.data() + word.size();
    const auto [stop, bad] = std::from_chars(word.data(), end, number);
    if (bad != std::errc() || stop != end) return std::nullopt;
    const double share = (number - file.least) / (file.most - file.least);
    return 0.0 <= share && share <= 1.0 ? std::optional(share) : std::nullopt;
  }
  if (Holds(file.positive, word)) return 1.0;
  if (Holds(file.negative, word)) return 0.0;
  return Holds(file.tie, word) ? std::optional(0.5) : std::nullopt;
}

// P(yes) / (P(yes) + P(no)) at the last token that says either (ThinkPRM, arXiv 2504.16828; GenPRM, arXiv 2504.00891).
std::optional<double> ReadProbability(const JudgeFile& file, const std::vector<AnswerToken>& tokens) {
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    const std::string said = LowerTrimmed(token->text);
    if (!Holds(file.positive, said) && !Holds(file.negative, said)) continue;
    double yes = 0.0, no = 0.0;
    bool listed = false;
    const auto add = [&](const std::string& text, double log_prob) {
      const std::string word = LowerTrimmed(text);
      if (Holds(file.positive, word)) yes += std::exp(log_prob);
      if (Holds(file.negative, word)) no += std::exp(log_prob);
    };
    for (const auto& [text, log_prob] : token->top) add(text, log_prob), listed = listed || text == token->text;
    if (!listed) add(token->text, token->log_prob);
    const double share = yes / (yes + no);
    return 0.0 <= share && share <= 1.0 ? std::optional(share) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

const char* Name(JudgeKind kind) {
  constexpr const char* kNames[] = {"pointwise", "pairwise", "steps", "meta"};
  return kNames[static_cast<size_t>(kind)];
}

static Result<JudgeFile> FromSource(const RecipeSource& source, const std::string& path) {
  WrittenJudge written;
  OptionTable table;
  Declare(table, written);
  if (Status bound = source.Bind(table); !bound) {  // what is missing stands nowhere
    Error error = bound.error();
    if (error.where.empty()) error.where = path;
    return Fail(std::move(error));
  }
  JudgeFile file;
  file.path = path, file.about = written.about, file.system = written.system, file.user = written.user;
  for (const JudgeKind kind : {JudgeKind::kPointwise, JudgeKind::kPairwise, JudgeKind::kSteps, JudgeKind::kMeta})
    if (written.kind == Name(kind)) file.kind = kind;
  file.ask_each_step = written.ask == "each";
  CANDOR_ASSIGN(file.split, Compile(written.split, 0, path + ": split"));
  CANDOR_TRY(FillCode(written, file));
  CANDOR_TRY(FillParser(written, file));
  CANDOR_TRY(CheckPlaceholders(file));
  return file;
}

Result<JudgeFile> ReadJudgeFile(const std::string& path) {
  RecipeSource source;
  CANDOR_TRY(source.AddFile(path));
  return FromSource(source, path);
}

Result<JudgeFile> ParseJudgeFile(std::string_view text, const std::string& name) {
  RecipeSource source;
  CANDOR_TRY(source.AddText(text, name));
  return FromSource(source, name);
}

std::string FillJudgeTemplate(std::string_view text, const JudgeFields& fields) {
  std::string filled;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('{', at), close = open == std::string_view::npos ? open : text.find('}', open);
    if (close == std::string_view::npos) return filled += text.substr(at);
    const bool behind_letter = open > 0 && std::isalpha(static_cast<unsigned char>(text[open - 1])) != 0;
    const auto field = behind_letter ? fields.end() : fields.find(text.substr(open + 1, close - open - 1));
    filled += text.substr(at, open - at);
    filled += field == fields.end() ? std::string(1, '{') : field->second;
    at = field == fields.end() ? open + 1 : close + 1;
  }
  return filled;
}

std::vector<std::string> SplitSteps(const JudgeFile& file, std::string_view completion) {
  std::vector<std::string> steps;
  const auto keep = [&](std::string_view step) {
    const size_t first = step.find_first_not_of(" \t\r\n"), last = step.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos) steps.emplace_back(step.substr(first, last - first + 1));
  };
  const re2::StringPiece text(completion.data(), completion.size());
  size_t at = 0;
  re2::StringPiece between;
  for (size_t from = 0;
       steps.size() + 1 < kMaxJudgedSteps && file.split->Match(text, from, text.size(), re2::RE2::UNANCHORED, &between, 1);) {
    const auto begin = static_cast<size_t>(between.data() - text.data()), end = begin + between.size();
    if (end > begin) keep(completion.substr(at, begin - at)), at = end;
    from = std::max(end, from + 1);
    if (from >= text.size()) break;
  }
  keep(completion.substr(at));
  return steps;
}

std::optional<WrittenProgram> ProgramIn(std::string_view answer) {
  constexpr std::string_view kOpen = "```python", kClose = "```";
  const size_t open = answer.find(kOpen);
  const size_t line = open == std::string_view::npos ? open : answer.find('\n', open);
  const size_t close = line == std::string_view::npos ? line : answer.find(kClose, line);
  if (close == std::string_view::npos) return std::nullopt;
  return WrittenProgram{std::string(answer.substr(line + 1, close - line - 1)), std::string(answer.substr(0, close + kClose.size()))};
}

std::optional<double> ReadVerdict(const JudgeFile& file, const JudgeAnswer& answer) {
  if (file.form == VerdictForm::kProbability) {
    if (file.pattern && Matches(file, answer.text).empty()) return std::nullopt;
    return ReadProbability(file, answer.tokens);
  }
  const std::vector<std::string> found = Matches(file, answer.text);
  if (found.empty()) return std::nullopt;
  return Meaning(file, file.first ? found.front() : found.back());
}

std::optional<std::vector<double>> ReadStepVerdicts(const JudgeFile& file, const JudgeAnswer& answer, size_t steps) {
  std::vector<double> verdicts;
  for (const std::string& match : Matches(file, answer.text)) {
    const std::optional<double> verdict = Meaning(file, match);
    if (!verdict) return std::nullopt;
    verdicts.push_back(*verdict);
  }
  if (verdicts.size() != steps) return std::nullopt;
  return verdicts;
}

}  // namespace candor
