// The safetensors index: a good file, every truncation of it, and headers that lie.
#include "text/safetensors_header.h"

#include <gtest/gtest.h>

#include "core/fs.h"
#include "core/rng.h"
#include "parity_lines.h"

namespace candor {
namespace {

std::string Pack(const std::string& header, size_t data_bytes) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return file + header + std::string(data_bytes, '\1');
}

Result<std::vector<TensorEntry>> Read(const std::string& bytes) {
  const std::string path = testing::TempDir() + "/candor_test.safetensors";
  EXPECT_TRUE(WriteFileAtomic(path, bytes, false));
  return ReadSafetensorsIndex(path);
}

const std::string kHeader =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]}})";

TEST(SafetensorsHeader, AGoodFile) {
  const auto entries = Read(Pack(kHeader, 16));
  ASSERT_TRUE(entries) << entries.error().Message();
  ASSERT_EQ(entries->size(), 3u);
  const int64_t data = static_cast<int64_t>(8 + kHeader.size());
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_TRUE((*entries)[0].shape.empty());
  EXPECT_EQ((*entries)[0].begin, data);
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].dtype, "BF16");
  EXPECT_EQ((*entries)[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*entries)[1].end, data + 16);
  EXPECT_EQ((*entries)[2].begin, (*entries)[2].end);
}

TEST(SafetensorsHeader, EveryTruncationIsRefusedByName) {
  const std::string good = Pack(kHeader, 16);
  for (size_t size = 0; size < good.size(); ++size) {
    const auto entries = Read(good.substr(0, size));
    ASSERT_FALSE(entries) << size;
    EXPECT_NE(entries.error().where.find("candor_test.safetensors"), std::string::npos);
  }
  EXPECT_FALSE(Read(good + "x")) << "trailing bytes";
}

TEST(SafetensorsHeader, HeadersThatLie) {
  const std::vector<std::pair<std::string, size_t>> bad = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4},                                                       // size
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8},                                                       // hole
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", 6},  // overlap
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4},                                                       // type
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4},                                                      // negative
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}})", 4},                        // overflow
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4},                                                       // backwards
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4},                                    // huge
      {R"([1, 2])", 0},
      {"{\"a\": " + std::string(100000, '['), 0},
      {std::string(16, '\xff'), 0},
  };
  for (const auto& [header, data] : bad) EXPECT_FALSE(Read(Pack(header, data))) << header.substr(0, 100);
  std::string huge_length(64, '\xff');
  EXPECT_FALSE(Read(huge_length));
  EXPECT_TRUE(Read(Pack("{}", 0)));
  EXPECT_EQ(ReadSafetensorsIndex("/no/such.safetensors").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(ReadSafetensorsIndex(testing::TempDir()));
}

TEST(SafetensorsHeader, FlippedBytesNeverCrash) {
  const std::string good = Pack(kHeader, 16);
  for (uint64_t i = 0; i < 500; ++i) {
    std::string file = good;
    const uint64_t bits = RandomBits(5, RngStream::kSynthetic, i);
    file[bits % (8 + kHeader.size())] = static_cast<char>(bits >> 32);
    const auto entries = Read(file);
    if (!entries) continue;
    for (const TensorEntry& entry : *entries) EXPECT_LE(entry.end, static_cast<int64_t>(file.size()));
  }
}

TEST(SafetensorsHeader, SmolLM2) {
  const std::string path = text_test::SmolFolder() + "/model.safetensors";
  if (!FileExists(path)) GTEST_SKIP() << "models/SmolLM2-135M-Instruct is not there; tools/prepare_smollm2.py makes it";
  const auto entries = ReadSafetensorsIndex(path);
  ASSERT_TRUE(entries) << entries.error().Message();
  EXPECT_EQ(entries->size(), 272u);
}

}  // namespace
}  // namespace candor
