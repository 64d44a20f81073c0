// HotpotQA (Yang et al. 2018, arXiv 1809.09600) as Candor's rows, in the setting "HotpotQA-Modified" of RLCR (arXiv 2507.16806; the rule as
// in damanimehul/RLCR data/creation_scripts/hotpotqa.py, the wording is ours): of the ten paragraphs two are taken out, of which none, one
// or both hold a part of the answer, so that some questions cannot be answered and the confidence has something to say.
//
// Read are hotpot_train_v1.1.json and hotpot_dev_distractor_v1.json of hotpotqa.github.io (an array of objects with "_id", "context":
// [[title, [sentences]], ..], "supporting_facts": [[title, sentence], ..]), and the same rows as Hugging Face's `datasets` writes them
// ("id", "context": {"title", "sentences"}, "supporting_facts": {"title", "sent_id"}).
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text/public_rows.h"

namespace candor {

struct HotpotParagraph {
  std::string title, text;
  bool gold = false;  // one of the question's supporting facts stands in it
};
struct HotpotQuestion {
  std::string id, question, answer, type, level;
  std::vector<HotpotParagraph> paragraphs;
};
Result<HotpotQuestion> ReadHotpotQuestion(const nlohmann::ordered_json& record, const std::string& where);

struct HotpotRow {
  std::string json;
  int64_t characters = 0;  // of the prompt, as code points
  int gold_removed = 0;
};
// `gold_removed` 0, 1 or 2; less than 0 draws it. Which paragraphs go is a function of seed and id. A question with too few paragraphs of
// the drawn kinds keeps all, as in the authors' script.
HotpotRow MakeHotpotRow(const HotpotQuestion& question, int gold_removed, uint64_t seed);

struct HotpotOptions {
  std::string train_file, dev_file;
  uint64_t seed = 1;
  int64_t train_rows = 20000, dev_rows = 500, test_rows = 500, vanilla_rows = 1000;
  int64_t max_characters = 6000;  // of a prompt; longer ones are left out
};
// test (modified) and vanilla (no gold paragraph taken out) from the dev file, train and dev from the train file; in the files' order, and
// no question, normalised, in two of them or twice in one.
Result<PublicRows> PrepareHotpotQa(const HotpotOptions& options, const QuestionNormaliser& normalise);

}  // namespace candor
