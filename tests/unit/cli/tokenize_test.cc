// candor tokenize: rows to ids and text, and errors with file:line.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/result.h"
#include "tests/unit/cli/outcome.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

const std::string kModel = std::string(CANDOR_SOURCE_DIR) + "/tests/golden/text/tiny_model";

Outcome Tokenize(const std::string& rows, const std::vector<std::string>& options = {}) {
  const std::string path = testing::TempDir() + "/candor_tokenize.jsonl";
  std::ofstream(path, std::ios::binary) << rows;
  std::vector<std::string> words = {"tokenize", kModel, path};
  words.insert(words.end(), options.begin(), options.end());
  return RunCommand(RunTokenize, words);
}

TEST(Tokenize, TextAndMessages) {
  const Tokenizer tokenizer = Tokenizer::Load(kModel).value();
  const Outcome outcome = Tokenize("{\"text\": \"Zürich \\ud83e\\udd16\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n",
                                   {"--add-generation-prompt"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  std::string line;
  std::getline(lines, line);
  const auto text = nlohmann::json::parse(line);
  EXPECT_EQ(text["text"], "Zürich 🤖");
  EXPECT_EQ(text["ids"].get<std::vector<int32_t>>(), tokenizer.Encode("Zürich 🤖", true).value());
  std::getline(lines, line);
  const auto chat = nlohmann::json::parse(line);
  EXPECT_TRUE(chat["text"].get<std::string>().ends_with("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")) << chat;
  EXPECT_EQ(chat["ids"].get<std::vector<int32_t>>(), tokenizer.Encode(chat["text"].get<std::string>(), false).value());
}

TEST(Tokenize, ErrorsNameTheLine) {
  for (const std::string bad : {"{", "[]", "{}", "{\"text\": 3}", "{\"text\": \"a\", \"messages\": []}", "{\"messages\": \"x\"}",
                                "{\"messages\": [1]}", "{\"text\": \"\xff\"}"}) {
    const Outcome outcome = Tokenize("{\"text\": \"fine\"}\n" + bad + "\n");
    EXPECT_EQ(outcome.code, static_cast<int>(ExitCode::kInvalidInput)) << bad;
    EXPECT_NE(outcome.err.find("candor_tokenize.jsonl:2"), std::string::npos) << bad << "\n" << outcome.err;
    EXPECT_NE(outcome.out.find("fine"), std::string::npos) << "rows before the bad one are written";
  }
  EXPECT_EQ(Tokenize(std::string(100000, '[')).code, static_cast<int>(ExitCode::kInvalidInput));
  EXPECT_EQ(Tokenize("", {"--no-such-option"}).code, static_cast<int>(ExitCode::kUsage));
}

TEST(Tokenize, TokensAsTheVocabularySpellsThem) {
  const Outcome outcome = Tokenize("{\"text\": \" a\"}", {"--tokens", "--no-special"});
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["tokens"], nlohmann::json::array({"Ġa"}));
}

}  // namespace
}  // namespace candor::cli
