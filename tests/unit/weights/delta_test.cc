// The codec of deltas: what goes in comes out, the bytes are those of docs/formats.md, and nothing malformed gets through.
#include "weights/delta.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <random>

#include "core/fs.h"

namespace candor {
namespace {

std::string Random(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(bytes, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

std::string Hex(std::string_view bytes) {
  std::string text;
  char digits[3];
  for (char byte : bytes) std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte)), text += digits;
  return text;
}

struct Case {
  explicit Case(size_t bytes = 4096, size_t changes = 40, uint64_t seed = 1) : base(Random(bytes, seed)), next(base) {
    std::mt19937_64 random(seed + 1);
    for (size_t i = 0; i < changes && bytes > 0; ++i) next[random() % bytes] ^= static_cast<char>(1 + random() % 255);
    hash = HashHex(base);
  }
  std::string base, next, hash;
};

template <typename T>
void Set(std::string& delta, size_t at, T value) {
  std::memcpy(delta.data() + at, &value, sizeof value);
}

TEST(Delta, RoundTripsWhateverChanged) {
  std::mt19937_64 random(7);
  int fulls = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const uint32_t element = seed % 2 ? 2 : 4;
    const size_t bytes = element * (random() % 3000);
    const Case c(bytes, seed % 5 == 0 ? bytes : random() % 60, seed);
    const auto delta = EncodeDelta(c.base, c.next, element, c.hash);
    if (!delta) {
      ++fulls;
      continue;
    }
    const auto applied = ApplyDelta(c.base, c.hash, *delta);
    ASSERT_TRUE(applied) << applied.error().Message();
    EXPECT_EQ(*applied, c.next) << seed;
    EXPECT_TRUE(c.next == c.base || delta->size() <= static_cast<size_t>(static_cast<double>(bytes) * kDeltaShareMax));
  }
  EXPECT_GT(fulls, 20) << "dense changes are not worth a delta";
  EXPECT_LT(fulls, 200);
}

TEST(Delta, OverwritingTwiceChangesNothing) {
  const Case c;
  const auto delta = EncodeDelta(c.base, c.next, 2, c.hash);
  ASSERT_TRUE(delta);
  EXPECT_EQ(ApplyDelta(c.next, c.hash, *delta).value(), c.next);  // whoever says that its bytes are the base's
}

// docs/formats.md shows these bytes.
TEST(Delta, GoldenBytes) {
  std::string base(128, '\0'), next = base;
  next[2] = '\x11', next[3] = '\x22', next[14] = '\x33';
  const auto delta = EncodeDelta(base, next, 2, HashHex(base));
  ASSERT_TRUE(delta) << "a chunk of 128 bytes with two changes";
  EXPECT_EQ(Hex(delta->substr(0, 32)),
            "434e44454c544131"
            "02000000"
            "02000000"
            "8000000000000000"
            "00000000"
            "06000000");
  EXPECT_EQ(delta->substr(32, 32), HashHex(base));
  EXPECT_EQ(Hex(delta->substr(64)),
            "0106"
            "1133"
            "2200");
}

TEST(Delta, AnotherBaseIsRefusedByName) {
  const Case c, other(4096, 40, 2);
  const auto delta = EncodeDelta(c.base, c.next, 2, c.hash);
  const auto refused = ApplyDelta(other.base, other.hash, *delta);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kVersionSkew);
  EXPECT_NE(refused.error().what.find("for the base"), std::string::npos);
}

// A plain (not packed) delta: 4 changes in 64 elements of 2 bytes.
struct Plain {
  Plain() : base(128, 'a'), next(base) {
    for (size_t i : {10u, 50u, 90u, 127u}) next[i] = 'b';
    hash = HashHex(base);
    delta = *EncodeDelta(base, next, 2, hash);
    EXPECT_EQ(delta.size(), 64u + 4 + 8) << "not packed";
  }
  void Refuses(const std::string& bytes, const std::string& words) const {
    const auto applied = ApplyDelta(base, hash, bytes);
    ASSERT_FALSE(applied) << words;
    EXPECT_EQ(applied.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(applied.error().what.find(words), std::string::npos) << applied.error().what;
  }
  void Refuses(size_t at, uint32_t value, const std::string& words) const {
    std::string bytes = delta;
    Set(bytes, at, value);
    Refuses(bytes, words);
  }
  void RefusesByte(size_t at, uint8_t value, const std::string& words) const {
    std::string bytes = delta;
    bytes[at] = static_cast<char>(value);
    Refuses(bytes, words);
  }
  std::string base, next, hash, delta;
};

TEST(Delta, EveryMalformedOneHasItsError) {
  const Plain p;
  ASSERT_EQ(ApplyDelta(p.base, p.hash, p.delta).value(), p.next);
  p.Refuses("", "shorter than its header");
  p.Refuses(p.delta.substr(0, 63), "shorter than its header");
  p.RefusesByte(0, 'X', "does not begin with");
  p.Refuses(8, 3, "elements of 3 bytes");
  p.Refuses(8, 0, "elements of 0 bytes");
  p.Refuses(16, 126, "the base has 128");
  p.Refuses(12, 65, "65 changed elements of 64");
  p.Refuses(12, ~0u, "changed elements of 64");
  p.Refuses(24, 2, "unknown packing 2");
  p.Refuses(28, 0, "a body of 0 bytes");
  p.Refuses(28, ~0u, "a body of 4294967295 bytes");
  p.Refuses(28, 13, "12 bytes of body, its header says 13");
  p.Refuses(p.delta + "x", "13 bytes of body");
  p.RefusesByte(64, 64, "at element 64 of 64");
  p.RefusesByte(65, 0, "at the position of the one before");
  p.RefusesByte(67, 0x80, "does not end");
  p.Refuses(12, 3, "between the gaps and the values");
  p.Refuses(24, 1, "zstd frame");
}

TEST(Delta, BombsAreRefusedBeforeTheyAreUnpacked) {
  const Case c(1 << 20, 4000, 3);
  std::string delta = *EncodeDelta(c.base, c.next, 2, c.hash);
  ASSERT_EQ(delta[24], 1) << "packed";
  std::string other = delta;
  Set(other, 28, static_cast<uint32_t>(4000 * 7));  // the frame unpacks to less or more than this
  EXPECT_FALSE(ApplyDelta(c.base, c.hash, other));
  other = delta.substr(0, delta.size() - 3);
  const auto cut = ApplyDelta(c.base, c.hash, other);
  ASSERT_FALSE(cut);
  EXPECT_NE(cut.error().what.find("zstd"), std::string::npos);
}

TEST(Delta, RandomDamageNeverCrashesAndIsSeenByTheHash) {
  const Case c(8192, 60, 5);
  const std::string delta = *EncodeDelta(c.base, c.next, 2, c.hash);
  std::mt19937_64 random(11);
  int refused = 0, silent = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bad = delta;
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    const auto applied = ApplyDelta(c.base, c.hash, bad);
    if (!applied)
      ++refused;
    else if (*applied != c.next)
      silent += HashHex(*applied) == HashHex(c.next);
  }
  EXPECT_GT(refused, 1000);
  EXPECT_EQ(silent, 0);
}

}  // namespace
}  // namespace candor
