// Weights on disk: round trips, shards, atomicity, and folders that are wrong in one way each; a policy folder's files.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "core/fs.h"
#include "model/policy_folder.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

namespace fs = std::filesystem;

class Weights : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("candor_weights_" + std::to_string(::getpid()) + "_" + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string At(const std::string& name) const { return (folder_ / name).string(); }
  // The parameters with one change, written as one file.
  void Write(const std::function<void(std::vector<std::pair<std::string, at::Tensor>>&)>& change) const {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& name : parameters_.Names()) tensors.emplace_back(name, parameters_.Get(name));
    change(tensors);
    ASSERT_TRUE(WriteSafetensors(At("model.safetensors"), tensors));
  }
  std::string LoadError() const {
    auto loaded = LoadParameters(folder_.string(), config_, at::kFloat);
    return loaded ? "" : loaded.error().Message();
  }

  fs::path folder_;
  ModelConfig config_ = TinyConfig();
  Parameters parameters_ = RandomParameters(config_, 3, at::kFloat);
};

void ExpectEqual(const Parameters& a, const Parameters& b) {
  for (const std::string& name : a.Names()) EXPECT_TRUE(at::equal(a.Get(name), b.Get(name))) << name;
}

TEST_F(Weights, RoundTripInOneFileAndInShards) {
  for (const auto& [bytes, shards] : std::vector<std::pair<int64_t, bool>>{{5'000'000'000, false}, {20'000, true}}) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    ASSERT_TRUE(SaveParameters(parameters_, folder_.string(), bytes));
    EXPECT_EQ(fs::exists(At("model.safetensors.index.json")), shards);
    auto loaded = LoadParameters(folder_.string(), config_, at::kFloat);
    ASSERT_TRUE(loaded) << loaded.error().Message();
    ExpectEqual(*loaded, parameters_);
    for (const auto& entry : fs::directory_iterator(folder_)) EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos);
  }
}

TEST_F(Weights, AnIndexThatCannotBeWrittenIsAnError) {
  fs::create_directories(At("model.safetensors.index.json.tmp"));  // where it was once written first
  const Status saved = SaveParameters(parameters_, folder_.string(), 20'000);
  EXPECT_TRUE(!saved || fs::is_regular_file(At("model.safetensors.index.json")));
  fs::remove_all(At("model.safetensors.index.json"));
  fs::create_directories(At("model.safetensors.index.json/in the way"));
  EXPECT_FALSE(SaveParameters(parameters_, folder_.string(), 20'000));
}

TEST_F(Weights, AnIndexNestedDeeplyIsAnError) {
  std::ofstream(At("model.safetensors.index.json"))
      << R"({"weight_map": )" << std::string(200'000, '[') << std::string(200'000, ']') << "}";
  EXPECT_NE(LoadError().find("nested"), std::string::npos) << LoadError();
}

TEST_F(Weights, Bf16IsKeptExactly) {
  const Parameters low = parameters_.Cast(at::kBFloat16);
  ASSERT_TRUE(SaveParameters(low, folder_.string()));
  auto loaded = LoadParameters(folder_.string(), config_, at::kBFloat16);
  ASSERT_TRUE(loaded);
  ExpectEqual(*loaded, low);
  EXPECT_FALSE(at::equal(loaded->Get("model.norm.weight").to(at::kFloat), parameters_.Get("model.norm.weight")));
}

TEST_F(Weights, AMissingAnExtraAndAMisshapedTensorAreNamed) {
  Write([](auto& t) { t.erase(t.begin() + 3); });
  EXPECT_NE(LoadError().find("'model.layers.0.self_attn.k_proj.weight' is missing"), std::string::npos) << LoadError();
  Write([](auto& t) { t.emplace_back("model.extra", at::zeros({2})); });
  EXPECT_NE(LoadError().find("'model.extra'"), std::string::npos) << LoadError();
  Write([](auto& t) { t[1].second = at::zeros({47}); });
  EXPECT_NE(LoadError().find("[47]"), std::string::npos) << LoadError();
  EXPECT_NE(LoadError().find("model.safetensors"), std::string::npos);
  Write([](auto& t) { t[1].second = at::zeros({48}, at::kInt); });
  EXPECT_NE(LoadError().find("integers"), std::string::npos) << LoadError();
  Write([](auto& t) { t.emplace_back("lm_head.weight", at::zeros({70, 48})); });
  EXPECT_EQ(LoadError(), "") << "a tied head may be stored as well";
}

TEST_F(Weights, DamagedFilesAreErrors) {
  EXPECT_NE(LoadError().find("no weights"), std::string::npos);
  ASSERT_TRUE(SaveParameters(parameters_, folder_.string()));
  const std::string bytes = ReadText(At("model.safetensors"));
  for (size_t size : {size_t{0}, size_t{5}, size_t{100}, bytes.size() - 1}) {
    std::ofstream(At("model.safetensors"), std::ios::binary) << bytes.substr(0, size);
    EXPECT_NE(LoadError(), "") << size;
  }
  std::ofstream(At("model.safetensors.index.json")) << R"({"weight_map": {"a": "../../etc/passwd"}})";
  EXPECT_NE(LoadError().find("not in the folder"), std::string::npos) << LoadError();
}

TEST_F(Weights, AnUnfinishedFileLeavesNothing) {
  {
    auto writer = SafetensorsWriter::Create(At("x.safetensors"), {{"a", at::kFloat, {4}}, {"b", at::kFloat, {4}}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->Append(at::ones({4})));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(Weights, RandomParametersDependOnTheSeedAlone) {
  ExpectEqual(RandomParameters(config_, 3, at::kFloat), parameters_);
  EXPECT_FALSE(
      at::equal(RandomParameters(config_, 4, at::kFloat).Get("model.embed_tokens.weight"), parameters_.Get("model.embed_tokens.weight")));
  EXPECT_NEAR(parameters_.Get("model.embed_tokens.weight").std().item<double>(), 0.02, 0.001);
}

TEST_F(Weights, APolicyFolderIsCompleteAndOnlyReplacesItsOwnKind) {
  const std::string tokenizer = At("tokenizer"), out = At("out");
  fs::create_directories(tokenizer);
  ASSERT_TRUE(WriteFileAtomic(tokenizer + "/tokenizer.json", "{\"x\": \"\xC3\xA9\"}\r\n"));
  PolicyFolderOptions options;
  options.tokenizer_folder = tokenizer;
  options.confidence = ConfidenceSpec{};
  options.confidence->high_id = 5;
  options.confidence->low_id = 6;
  options.confidence->recalibration = ConfidenceSpec::Recalibration{1.5, -0.25};
  options.card = {"A \"name\"", "base", "apache-2.0", {"cities"}, {{"ece", 0.03}}, "a = 1"};
  for (int twice = 0; twice < 2; ++twice) {
    auto written = WritePolicyFolder(out, config_, parameters_, options);
    ASSERT_TRUE(written) << written.error().Message();
  }
  EXPECT_EQ(ReadText(out + "/tokenizer.json"), ReadText(tokenizer + "/tokenizer.json"));
  auto config = ReadModelConfig(out);
  ASSERT_TRUE(config) << config.error().Message();
  EXPECT_EQ(config->eos_ids, config_.eos_ids);
  auto loaded = LoadParameters(out, *config, at::kFloat);
  ASSERT_TRUE(loaded);
  ExpectEqual(*loaded, parameters_);
  auto spec = ReadConfidenceSpec(out);
  ASSERT_TRUE(spec && *spec);
  EXPECT_EQ((*spec)->low_id, 6);
  EXPECT_EQ((*spec)->recalibration->a, 1.5);
  EXPECT_EQ(ReadText(out + "/README.md").substr(0, 4), "---\n");
  EXPECT_TRUE(FileExists(out + "/read_confidence.py"));
  ASSERT_TRUE(WriteFileAtomic(At("precious.txt"), "keep"));
  EXPECT_FALSE(WritePolicyFolder(folder_.string(), config_, parameters_, options)) << "a folder with a stranger's files";
  EXPECT_EQ(ReadText(At("precious.txt")), "keep");
}

// A writer that is killed in the middle leaves its folder; the next one of the same policy takes it away, and nothing else.
TEST_F(Weights, WhatAKilledWriterOfAPolicyFolderLeftIsRemovedByTheNext) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  if (!std::getenv("CANDOR_TEST_PARENT")) ::setenv("CANDOR_TEST_PARENT", folder_.c_str(), 1);
  const std::string parent = std::getenv("CANDOR_TEST_PARENT"), out = parent + "/out", stuck = parent + "/stuck";
  fs::create_directories(stuck);
  (void)::mkfifo((stuck + "/tokenizer.json").c_str(), 0600);  // whoever copies it waits for ever
  PolicyFolderOptions options;
  options.tokenizer_folder = stuck;
  EXPECT_EXIT((fs::remove_all(folder_), ::alarm(3), (void)WritePolicyFolder(out, config_, parameters_, options)),
              ::testing::KilledBySignal(SIGALRM), "");
  const auto left = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(parent)) names.insert(entry.path().filename().string());
    names.erase("stuck");
    return names;
  };
  ASSERT_EQ(left().size(), 1u);
  const std::string killed = *left().begin();
  EXPECT_TRUE(killed.starts_with("out.tmp.")) << killed;
  const std::string ours = killed.substr(0, killed.rfind('.') + 1), elsewhere = "out.tmp.another-node.1234567";
  const std::string alive = ours + std::to_string(::getppid()), other = "second" + killed.substr(3), no_pid = ours + "12x";
  for (const std::string& name : {elsewhere, alive, other, no_pid}) fs::create_directories(parent + "/" + name);
  options.tokenizer_folder.clear();
  ASSERT_TRUE(WritePolicyFolder(out, config_, parameters_, options));
  EXPECT_EQ(left(), (std::set<std::string>{"out", elsewhere, alive, other, no_pid}));
  ::unsetenv("CANDOR_TEST_PARENT");
}

TEST(ConfidenceSpec, BadFilesAreRefused) {
  for (const char* text : {"", "[]", "{}", R"({"high_id": 1, "low_id": 1})", R"({"high_id": -1, "low_id": 2})",
                           R"({"high_id": 1, "low_id": 2, "recalibration": {"a": 1}})", R"({"high_id": 1, "low_id": 2, "after": 3})"}) {
    EXPECT_FALSE(ParseConfidenceJson(text, "confidence.json")) << text;
  }
  EXPECT_TRUE(ParseConfidenceJson(R"({"high_id": 1, "low_id": 2})", "confidence.json"));
}

}  // namespace
}  // namespace candor
