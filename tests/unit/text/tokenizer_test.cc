// Tokenizer behaviour that parity does not cover: incremental decoding, per-token bytes, end tokens, and bad input.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/fs.h"
#include "parity_lines.h"
#include "text/chat_template.h"

namespace candor {
namespace {

using text_test::Golden;
using text_test::ReadAll;

Tokenizer Tiny() { return Tokenizer::Load(Golden("tiny_model")).value(); }
Tokenizer Piece() { return Tokenizer::Load(Golden("tiny_sentencepiece.json")).value(); }

std::string StreamAll(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  DecodeStream stream = tokenizer.MakeDecodeStream(skip_special);
  std::string text;
  for (const int32_t id : ids) {
    text += stream.Push(id).value();
    EXPECT_EQ(stream.bytes(), static_cast<int64_t>(text.size()));
  }
  return text + stream.Finish().value();
}

std::vector<int32_t> RandomIds(const Tokenizer& tokenizer, uint64_t seed, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) {
    const uint64_t bits = RandomBits(seed, RngStream::kSynthetic, static_cast<uint64_t>(i));
    ids.push_back(static_cast<int32_t>(bits % static_cast<uint64_t>(tokenizer.vocab_size())));
  }
  return ids;
}

TEST(DecodeStream, EqualsDecodeOnRealText) {
  const auto recipe = text_test::Recipe::Load();
  for (const Tokenizer& tokenizer : {Tiny(), Piece()}) {
    for (uint64_t i = 0; i < 300; ++i) {
      const std::vector<int32_t> ids = tokenizer.Encode(recipe.Line(i), true).value();
      for (const bool skip : {false, true}) ASSERT_EQ(StreamAll(tokenizer, ids, skip), tokenizer.Decode(ids, skip).value()) << i;
    }
  }
}

// Random ids are mostly broken UTF-8: what a young policy samples.
TEST(DecodeStream, EqualsDecodeOnRandomIds) {
  const Tokenizer tokenizer = Tiny();
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<int32_t> ids = RandomIds(tokenizer, seed, 40);
    for (const bool skip : {false, true}) ASSERT_EQ(StreamAll(tokenizer, ids, skip), tokenizer.Decode(ids, skip).value()) << seed;
  }
}

TEST(DecodeStream, SentencePieceSurvivesRandomIds) {
  const Tokenizer tokenizer = Piece();
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::string text = StreamAll(tokenizer, RandomIds(tokenizer, seed, 40), true);
    EXPECT_FALSE(text.empty());
  }
}

TEST(DecodeStream, ACharacterBelongsToTheTokenThatCompletesIt) {
  const Tokenizer tokenizer = Tiny();
  const std::vector<int32_t> ids = tokenizer.Encode("a🤖b", false).value();
  DecodeStream stream = tokenizer.MakeDecodeStream(true);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(stream.Push(id).value());
  ASSERT_GT(ids.size(), 3u);
  EXPECT_EQ(pieces.front(), "a");
  EXPECT_EQ(pieces[1], "");
  EXPECT_EQ(pieces[pieces.size() - 2], "🤖");
  EXPECT_EQ(pieces.back(), "b");
}

TEST(DecodeStream, AnUnfinishedCharacterComesOutOfFinish) {
  const Tokenizer tokenizer = Tiny();
  std::vector<int32_t> ids = tokenizer.Encode("é", false).value();
  ASSERT_EQ(ids.size(), 1u) << "the fixture merges é into one token";
  ids = tokenizer.Encode("🤖", false).value();
  ids.pop_back();
  DecodeStream stream = tokenizer.MakeDecodeStream(true);
  for (const int32_t id : ids) EXPECT_EQ(stream.Push(id).value(), "");
  EXPECT_EQ(stream.Finish().value(), "\uFFFD");
  EXPECT_EQ(stream.bytes(), 0);
  EXPECT_EQ(stream.Push(tokenizer.Encode("x", false).value()[0]).value(), "x");
}

TEST(DecodeStream, RefusesIdsOutsideTheVocabularyAndGoesOn) {
  const Tokenizer tokenizer = Tiny();
  DecodeStream stream = tokenizer.MakeDecodeStream(true);
  for (const int32_t id : {-1, tokenizer.vocab_size(), INT32_MAX, INT32_MIN}) {
    const auto pushed = stream.Push(id);
    ASSERT_FALSE(pushed);
    EXPECT_NE(pushed.error().what.find("outside the vocabulary"), std::string::npos) << pushed.error().Message();
  }
  EXPECT_EQ(stream.Push(tokenizer.Encode("x", false).value()[0]).value(), "x");
}

TEST(Tokenizer, TokenBytesConcatenateToTheText) {
  const Tokenizer tokenizer = Tiny();
  const std::string text = "Zürich 🤖 at 10\n<|im_end|>\ttabs";
  std::string bytes;
  const std::vector<int32_t> ids = tokenizer.Encode(text, false).value();
  for (const int32_t id : ids) {
    const auto token = tokenizer.TokenBytes(id);
    ASSERT_TRUE(token) << token.error().Message();
    bytes += *token;
  }
  EXPECT_EQ(bytes, text);
  const Tokenizer piece = Piece();
  bytes.clear();
  const std::vector<int32_t> piece_ids = piece.Encode("Zürich 🤖", false).value();
  for (const int32_t id : piece_ids) bytes += piece.TokenBytes(id).value();
  EXPECT_EQ(bytes, " Zürich 🤖");
}

TEST(Tokenizer, SpecialTokensAndNames) {
  const Tokenizer tokenizer = Tiny();
  const auto im_end = tokenizer.TokenToId("<|im_end|>");
  ASSERT_TRUE(im_end);
  EXPECT_TRUE(tokenizer.IsSpecial(*im_end));
  EXPECT_EQ(tokenizer.IdToToken(*im_end), "<|im_end|>");
  EXPECT_EQ(tokenizer.Encode("<|im_end|>", false).value(), std::vector<int32_t>{*im_end});
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{*im_end}, true).value(), "");
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{*im_end}, false).value(), "<|im_end|>");
  EXPECT_FALSE(tokenizer.TokenToId("no such token"));
  EXPECT_FALSE(tokenizer.TokenToId("\xff\xfe"));
  EXPECT_FALSE(tokenizer.IdToToken(-1));
  EXPECT_FALSE(tokenizer.IsSpecial(1 << 30));
  // generation_config.json names 0 and 2, tokenizer_config.json names <|im_end|> = 2.
  EXPECT_EQ(tokenizer.end_ids(), (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 0);
}

TEST(Tokenizer, EncodeManyNamesTheTextThatFails) {
  const Tokenizer tokenizer = Tiny();
  const std::vector<std::string> texts = {"one", "two", "\xff"};
  const auto ids = tokenizer.EncodeMany(texts, false);
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().where.find("text 2"), std::string::npos);
  const auto good = tokenizer.EncodeMany(std::span(texts).first(2), false).value();
  EXPECT_EQ(good[1], tokenizer.Encode("two", false).value());
}

TEST(Tokenizer, BadUtf8IsAnError) {
  const Tokenizer tokenizer = Tiny();
  for (const std::string text : {"\xff", "abc\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80"}) EXPECT_FALSE(tokenizer.Encode(text, false));
  EXPECT_EQ(tokenizer.Encode("", false).value(), std::vector<int32_t>{});
  EXPECT_TRUE(tokenizer.Encode(std::string("a\0b", 3), false));
}

TEST(Tokenizer, TruncationAndPaddingInTheFileAreSwitchedOff) {
  nlohmann::json json = nlohmann::json::parse(ReadAll(Golden("tiny_model/tokenizer.json")));
  json["truncation"] = {{"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {
      {"strategy", {{"Fixed", 64}}}, {"direction", "Right"}, {"pad_to_multiple_of", nullptr}, {"pad_id", 0}, {"pad_type_id", 0},
      {"pad_token", "<|endoftext|>"}};
  const auto tokenizer = Tokenizer::FromJson(json.dump(), "limited");
  ASSERT_TRUE(tokenizer) << tokenizer.error().Message();
  EXPECT_EQ(tokenizer->Encode("Which country is it?", false).value(), Tiny().Encode("Which country is it?", false).value());
}

TEST(Tokenizer, MissingAndMalformedFilesAreErrorsThatNameThem) {
  const auto missing = Tokenizer::Load("/no/such/folder");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().where.find("/no/such/folder"), std::string::npos);
  const std::string good = ReadAll(Golden("tiny_model/tokenizer.json"));
  std::vector<std::string> bad = {"",
                                  "{}",
                                  "[]",
                                  "null",
                                  "\xff\xfe",
                                  std::string(100000, '['),
                                  "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": [\"a b\"]}}"};
  for (size_t cut = 1; cut < good.size(); cut += good.size() / 40) bad.push_back(good.substr(0, cut));
  for (const std::string& json : bad) {
    const auto tokenizer = Tokenizer::FromJson(json, "bad.json");
    ASSERT_FALSE(tokenizer) << json.substr(0, 80);
    EXPECT_EQ(tokenizer.error().where, "bad.json");
    EXPECT_FALSE(tokenizer.error().what.empty());
  }
}

// Whatever a byte flip makes of a tokenizer.json: an error or a tokenizer that encodes, never a crash.
TEST(Tokenizer, FlippedBytesNeverCrash) {
  const std::string good = ReadAll(Golden("tiny_model/tokenizer.json"));
  int loaded = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    std::string json = good;
    for (uint64_t k = 0; k < 3; ++k) {
      const uint64_t bits = RandomBits(7, RngStream::kSynthetic, i, k);
      json[bits % json.size()] = "0\"{}[],:a\\"[(bits >> 32) % 10];
    }
    const auto tokenizer = Tokenizer::FromJson(json, "flipped");
    if (!tokenizer) continue;
    ++loaded;
    const auto ids = tokenizer->Encode("Hello <|im_end|> wörld 123", true);
    if (ids) (void)tokenizer->Decode(*ids, false);
  }
  EXPECT_GT(loaded, 0);
  EXPECT_LT(loaded, 400);
}

TEST(Tokenizer, BadEndTokenIsAnError) {
  const std::string folder = testing::TempDir() + "/candor_bad_eos";
  ASSERT_TRUE(MakeFolders(folder));
  ASSERT_TRUE(WriteFileAtomic(folder + "/tokenizer.json", ReadAll(Golden("tiny_model/tokenizer.json")), false));
  for (const std::string value : {"99999", "-1", "\"x\"", "[1, 2.5]", "18446744073709551615"}) {
    ASSERT_TRUE(WriteFileAtomic(folder + "/generation_config.json", "{\"eos_token_id\": " + value + "}", false));
    const auto tokenizer = Tokenizer::Load(folder);
    ASSERT_FALSE(tokenizer) << value;
    EXPECT_NE(tokenizer.error().where.find("generation_config.json"), std::string::npos);
  }
}

// What nests deeply was once copied by recursion until the stack was used up.
TEST(Tokenizer, ConfigurationsThatNestDeeplyAreRefused) {
  const std::string folder = testing::TempDir() + "/candor_deep_config", deep = std::string(200'000, '[') + std::string(200'000, ']');
  ASSERT_TRUE(MakeFolders(folder));
  ASSERT_TRUE(WriteFileAtomic(folder + "/tokenizer.json", ReadAll(Golden("tiny_model/tokenizer.json")), false));
  ASSERT_TRUE(WriteFileAtomic(folder + "/generation_config.json", "{\"eos_token_id\": " + deep + "}", false));
  const auto tokenizer = Tokenizer::Load(folder);
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.error().where.find("generation_config.json"), std::string::npos);
  ASSERT_TRUE(
      WriteFileAtomic(folder + "/tokenizer_config.json", "{\"chat_template\": [{\"template\": 1, \"name\": " + deep + "}]}", false));
  const auto chat = ChatTemplate::Load(folder);
  ASSERT_FALSE(chat);
  EXPECT_NE(chat.error().where.find("tokenizer_config.json"), std::string::npos);
}

TEST(Tokenizer, MayBeUsedFromSeveralThreads) {
  const Tokenizer tokenizer = Tiny();
  const auto recipe = text_test::Recipe::Load();
  std::vector<std::vector<int32_t>> expected;
  for (uint64_t i = 0; i < 50; ++i) expected.push_back(tokenizer.Encode(recipe.Line(i), false).value());
  std::vector<int> wrong(2, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 50; ++i) wrong[t] += tokenizer.Encode(recipe.Line(i), false).value() != expected[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(2, 0));
}

}  // namespace
}  // namespace candor
