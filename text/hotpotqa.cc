#include "text/hotpotqa.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/rng.h"
#include "text/json_records.h"

namespace candor {

namespace {

using HotpotJson = nlohmann::ordered_json;

constexpr int kParagraphsRemoved = 2;
constexpr const char* kAnswerRule =
    "The answer is compared with the accepted one word for word: write nothing but the answer itself where the answer belongs, no sentence "
    "around it.";
constexpr const char* kContextFix = "give [[title, [sentences]], ..], as hotpotqa.github.io, or {\"title\": [..], \"sentences\": [..]}";
constexpr const char* kFactsFix = "give [[title, sentence], ..], or {\"title\": [..], \"sent_id\": [..]}; test files have none";

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string JoinSentences(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences)
    if (const std::string one = Trimmed(sentence); !one.empty()) text += (text.empty() ? "" : " ") + one;
  return text;
}

Result<std::vector<HotpotParagraph>> ReadContext(const RecordFields& fields) {
  const HotpotJson* context = fields.Find("context");
  if (!context) return fields.Bad("context", "is missing", kContextFix);
  std::vector<HotpotParagraph> paragraphs;
  const auto add = [&](const HotpotJson& title, const HotpotJson& sentences) {
    const auto texts = TextsOf(sentences);
    if (!title.is_string() || !texts) return false;
    paragraphs.push_back({title.get<std::string>(), JoinSentences(*texts), false});
    return true;
  };
  bool good = context->is_array();
  if (good) {
    for (const HotpotJson& one : *context) good = good && one.is_array() && one.size() == 2 && add(one[0], one[1]);
  } else if (context->is_object() && context->contains("title") && context->contains("sentences")) {
    const HotpotJson &titles = (*context)["title"], &sentences = (*context)["sentences"];
    good = titles.is_array() && sentences.is_array() && titles.size() == sentences.size();
    for (size_t i = 0; good && i < titles.size(); ++i) good = add(titles[i], sentences[i]);
  }
  if (!good || paragraphs.empty()) return fields.Bad("context", "is not a list of paragraphs", kContextFix);
  return paragraphs;
}

Result<std::vector<std::string>> ReadGoldTitles(const RecordFields& fields) {
  const HotpotJson* facts = fields.Find("supporting_facts");
  if (!facts) return fields.Bad("supporting_facts", "is missing", kFactsFix);
  std::vector<std::string> titles;
  bool good = facts->is_array();
  if (good) {
    for (const HotpotJson& one : *facts) {
      good = good && one.is_array() && !one.empty() && one[0].is_string();
      if (good) titles.push_back(one[0].get<std::string>());
    }
  } else if (facts->is_object() && facts->contains("title")) {
    const auto texts = TextsOf((*facts)["title"]);
    good = texts.has_value();
    if (good) titles = *texts;
  }
  if (!good) return fields.Bad("supporting_facts", "is not a list of titles and sentences", kFactsFix);
  return titles;
}

// So many of these paragraphs, chosen by a draw of each.
std::vector<size_t> Drawn(const HotpotQuestion& question, bool gold, size_t count, uint64_t seed) {
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < question.paragraphs.size(); ++i)
    if (question.paragraphs[i].gold == gold) order.emplace_back(RandomBits(seed, RngStream::kSplit, NameBits(question.id), 1 + i), i);
  std::sort(order.begin(), order.end());
  std::vector<size_t> chosen;
  for (size_t k = 0; k < std::min(count, order.size()); ++k) chosen.push_back(order[k].second);
  return chosen;
}

int64_t CodePoints(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

class HotpotSplits {
 public:
  HotpotSplits(const HotpotOptions& options, const QuestionNormaliser& normalise) : options_(options), normalise_(normalise) {
    rows_.splits = {{"train", options.train_rows, {}},
                    {"dev", options.dev_rows, {}},
                    {"test", options.test_rows, {}},
                    {"vanilla", options.vanilla_rows, {}}};
  }
  // Fills these splits, one after the other, from one file.
  Status Fill(const std::string& file, const std::vector<std::string>& names) {
    size_t at = 0;
    CANDOR_TRY(ForEachRecord(file, [&](const HotpotJson& record, const std::string& where) -> Result<bool> {
      while (at < names.size() && rows_.Split(names[at]).full()) ++at;
      if (at == names.size()) return false;
      CANDOR_ASSIGN(const HotpotQuestion question, ReadHotpotQuestion(record, where));
      ++rows_.read;
      Take(question, rows_.Split(names[at]));
      return true;
    }));
    return {};
  }
  PublicRows& rows() { return rows_; }

 private:
  void Take(const HotpotQuestion& question, PublicSplit& split) {
    HotpotRow row = MakeHotpotRow(question, split.name == "vanilla" ? 0 : -1, options_.seed);
    if (row.characters >= options_.max_characters)
      ++rows_.dropped["too long"];
    else if (!seen_.insert(normalise_(question.question)).second)
      ++rows_.dropped["of a question that was taken already"];
    else
      split.lines.push_back(std::move(row.json));
  }

  const HotpotOptions& options_;
  const QuestionNormaliser& normalise_;
  PublicRows rows_;
  std::set<std::string> seen_;
};

}  // namespace

Result<HotpotQuestion> ReadHotpotQuestion(const HotpotJson& record, const std::string& where) {
  const RecordFields fields(record, where);
  HotpotQuestion question;
  const char* id = fields.Find("_id") ? "_id" : "id";
  CANDOR_ASSIGN(question.id, fields.Text(id, "each question has a name of its own, \"_id\" or \"id\""));
  CANDOR_ASSIGN(question.question, fields.Text("question", "is this HotpotQA's file of questions?"));
  CANDOR_ASSIGN(question.answer, fields.Text("answer", "the test set of HotpotQA has no answers: take the train and the dev file"));
  CANDOR_ASSIGN(question.type, fields.TextIfAny("type"));
  CANDOR_ASSIGN(question.level, fields.TextIfAny("level"));
  CANDOR_ASSIGN(question.paragraphs, ReadContext(fields));
  CANDOR_ASSIGN(const std::vector<std::string> gold, ReadGoldTitles(fields));
  for (HotpotParagraph& paragraph : question.paragraphs)
    paragraph.gold = std::find(gold.begin(), gold.end(), paragraph.title) != gold.end();
  return question;
}

HotpotRow MakeHotpotRow(const HotpotQuestion& question, int gold_removed, uint64_t seed) {
  HotpotRow row;
  row.gold_removed = gold_removed >= 0
                         ? gold_removed
                         : static_cast<int>(RandomBits(seed, RngStream::kSplit, NameBits(question.id)) % (kParagraphsRemoved + 1));
  std::vector<size_t> removed = Drawn(question, true, static_cast<size_t>(row.gold_removed), seed);
  for (const size_t i : Drawn(question, false, static_cast<size_t>(kParagraphsRemoved - row.gold_removed), seed)) removed.push_back(i);
  if (removed.size() != kParagraphsRemoved) removed.clear(), row.gold_removed = 0;
  std::string prompt = fmt::format("Question: {}\n\n{}\n\nSupporting information:", question.question, kAnswerRule);
  std::vector<std::string> removed_titles;
  int number = 0;
  for (size_t i = 0; i < question.paragraphs.size(); ++i) {
    if (std::find(removed.begin(), removed.end(), i) != removed.end())
      removed_titles.push_back(question.paragraphs[i].title);
    else
      prompt += fmt::format("\n\nParagraph {}\n{}", ++number, question.paragraphs[i].text);
  }
  row.characters = CodePoints(prompt);
  std::vector<std::string> slices = {fmt::format("gold_removed_{}", row.gold_removed)};
  for (const std::string& slice : {question.type, question.level})
    if (!slice.empty()) slices.push_back(slice);
  const HotpotJson json = {{"id", "hotpotqa-" + question.id}, {"prompt", prompt},
                           {"answer", question.answer},       {"slice", slices},
                           {"question", question.question},   {"gold_removed", row.gold_removed},
                           {"removed", removed_titles}};
  row.json = json.dump(-1, ' ', false, HotpotJson::error_handler_t::replace);
  return row;
}

Result<PublicRows> PrepareHotpotQa(const HotpotOptions& options, const QuestionNormaliser& normalise) {
  HotpotSplits splits(options, normalise);
  CANDOR_TRY(splits.Fill(options.dev_file, {"test", "vanilla"}));
  CANDOR_TRY(splits.Fill(options.train_file, {"train", "dev"}));
  CANDOR_TRY(CheckFull(splits.rows(), options.train_file + ", " + options.dev_file));
  return std::move(splits.rows());
}

}  // namespace candor
