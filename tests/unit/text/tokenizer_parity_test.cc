// Ids, decoded text and byte offsets equal those of Hugging Face's Python tokenizers on 10,000 multilingual lines, for three tokenizers;
// and the check can fail.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/fs.h"
#include "parity_lines.h"
#include "text/tokenizer.h"

namespace candor {
namespace {

using text_test::Fnv;
using text_test::Golden;
using text_test::ReadAll;
using text_test::Recipe;

struct BlockHashes {
  std::vector<std::string> ids, decoded, offsets;
};

BlockHashes HashLines(const Tokenizer& tokenizer, const std::vector<std::string>& lines, size_t block) {
  BlockHashes hashes;
  for (size_t start = 0; start < lines.size(); start += block) {
    Fnv ids, decoded, offsets;
    for (size_t i = start; i < std::min(start + block, lines.size()); ++i) {
      const Result<Encoding> encoding = tokenizer.EncodeWithOffsets(lines[i], true);
      if (!encoding) {
        ADD_FAILURE() << encoding.error().Message();
        return hashes;
      }
      for (const int32_t id : encoding->ids_T) ids.Add32(static_cast<uint32_t>(id));
      ids.Add32(0xFFFFFFFFu);
      decoded.Add(tokenizer.Decode(encoding->ids_T, true).value());
      decoded.AddByte(0xFF);
      for (const ByteRange& range : encoding->offsets_T) {
        offsets.Add32(static_cast<uint32_t>(range.begin));
        offsets.Add32(static_cast<uint32_t>(range.end));
      }
    }
    hashes.ids.push_back(ids.Hex());
    hashes.decoded.push_back(decoded.Hex());
    hashes.offsets.push_back(offsets.Hex());
  }
  return hashes;
}

class TokenizerParity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    recipe_ = Recipe::Load();
    lines_ = recipe_.AllLines();
    golden_ = nlohmann::json::parse(ReadAll(Golden("line_hashes.json")));
  }
  static void ExpectEqual(const Tokenizer& tokenizer, const std::string& name) {
    const BlockHashes hashes = HashLines(tokenizer, lines_, recipe_.block);
    EXPECT_EQ(hashes.ids, golden_[name]["ids"].get<std::vector<std::string>>());
    EXPECT_EQ(hashes.decoded, golden_[name]["decoded"].get<std::vector<std::string>>());
    EXPECT_EQ(hashes.offsets, golden_[name]["offsets"].get<std::vector<std::string>>());
  }
  // How many blocks of 100 lines still have the reference's ids.
  static size_t EqualIdBlocks(const Tokenizer& tokenizer, const std::string& name, size_t lines) {
    const BlockHashes hashes = HashLines(tokenizer, {lines_.begin(), lines_.begin() + static_cast<long>(lines)}, recipe_.block);
    size_t equal = 0;
    for (size_t b = 0; b < hashes.ids.size(); ++b) equal += hashes.ids[b] == golden_[name]["ids"][b].get<std::string>();
    return equal;
  }

  static inline Recipe recipe_;
  static inline std::vector<std::string> lines_;
  static inline nlohmann::json golden_;
};

TEST_F(TokenizerParity, LinesAreThoseOfTheReference) {
  Fnv hash;
  for (const std::string& line : lines_) {
    hash.Add(line);
    hash.AddByte(0xFF);
  }
  ASSERT_EQ(lines_.size(), 10000u);
  EXPECT_EQ(hash.Hex(), golden_["text"].get<std::string>());
}

TEST_F(TokenizerParity, ByteLevel) { ExpectEqual(Tokenizer::Load(Golden("tiny_model")).value(), "tiny"); }

TEST_F(TokenizerParity, SentencePieceWithByteFallback) {
  ExpectEqual(Tokenizer::Load(Golden("tiny_sentencepiece.json")).value(), "sentencepiece");
}

TEST_F(TokenizerParity, SmolLM2) {
  if (!FileExists(text_test::SmolFolder() + "/tokenizer.json")) {
    GTEST_SKIP() << "models/SmolLM2-135M-Instruct is not there; tools/prepare_smollm2.py makes it";
  }
  ExpectEqual(Tokenizer::Load(text_test::SmolFolder()).value(), "smollm2");
}

// Negative controls: a tokenizer that lacks one merge, or in one trim flag, is noticed.
TEST_F(TokenizerParity, NoticesAMissingMerge) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(ReadAll(Golden("tiny_model/tokenizer.json")));
  auto& merges = json["model"]["merges"];
  merges.erase(merges.size() - 1);
  const auto changed = Tokenizer::FromJson(json.dump(), "changed");
  ASSERT_TRUE(changed) << changed.error().Message();
  EXPECT_LT(EqualIdBlocks(*changed, "tiny", 1000), 10u);
}

TEST_F(TokenizerParity, NoticesATrimFlag) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(ReadAll(Golden("tiny_model/tokenizer.json")));
  for (auto& token : json["added_tokens"]) {
    if (token["content"] == "<|im_start|>") token["lstrip"] = true;
  }
  const auto changed = Tokenizer::FromJson(json.dump(), "changed");
  ASSERT_TRUE(changed) << changed.error().Message();
  EXPECT_LT(EqualIdBlocks(*changed, "tiny", 3000), 30u);
}

}  // namespace
}  // namespace candor
