// Protocols: what may not stand in one, and that their hash follows everything that decides a run.
#include "cli/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "cli/commands.h"
#include "core/fs.h"
#include "tests/unit/cli/outcome.h"

namespace candor::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kRecipes = std::string(CANDOR_SOURCE_DIR) + "/recipes";

class Protocols : public testing::Test {
 protected:
  void SetUp() override {
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(CANDOR_SOURCE_DIR);  // recipes name their files from there
    path_ = testing::TempDir() + "/protocol.toml";
  }
  void TearDown() override { std::filesystem::current_path(before_); }

  std::string Arm(const std::string& name, const std::string& recipe, const std::string& configurations,
                  const std::string& more = "") const {
    return "[[arm]]\nname = \"" + name + "\"\nrecipe = \"" + kRecipes + "/" + recipe + "\"\nconfigurations = [" + configurations + "]\n" +
           more;
  }
  std::string Head(const std::string& more = "") const { return "title = \"t\"\nreference = \"a\"\n" + more; }
  std::string Refusal(const std::string& text) const {
    EXPECT_TRUE(WriteFileAtomic(path_, text, false));
    const auto protocol = ReadProtocol(path_);
    return protocol ? "accepted" : protocol.error().Message();
  }
  Outcome DryRun(const std::string& text, const std::vector<std::string>& more = {}) const {
    EXPECT_TRUE(WriteFileAtomic(path_, text, false));
    std::vector<std::string> words = {"sweep", path_, "--dry-run", "--dir", testing::TempDir() + "/protocol"};
    words.insert(words.end(), more.begin(), more.end());
    return RunCommand(RunSweep, words);
  }
  static std::string HashIn(const Outcome& outcome) {
    std::smatch match;
    return std::regex_search(outcome.out, match, std::regex("\nprotocol ([0-9a-f]{32})\n")) ? match[1].str() : "";
  }
  std::filesystem::path before_;
  std::string path_;
  const std::string lr_ = "\"trainer.lr=1e-3\", \"trainer.lr=2e-3\"";
};

TEST_F(Protocols, WhatMayNotStandInOne) {
  const std::string a = Arm("a", "tiny.toml", lr_), b = Arm("b", "tiny.toml", lr_);
  EXPECT_EQ(Refusal(Head() + a + b), "accepted");
  EXPECT_THAT(Refusal(Head()), HasSubstr("no [[arm]]"));
  EXPECT_THAT(Refusal(Head() + Arm("a", "tiny.toml", "") + Arm("b", "tiny.toml", "")), HasSubstr("no configuration"));
  EXPECT_THAT(Refusal(Head() + a + a), HasSubstr("two arms are called a"));
  EXPECT_THAT(Refusal(Head() + b), HasSubstr("no arm is called \"a\""));
  EXPECT_THAT(Refusal(Head() + a + Arm("b", "tiny.toml", "\"trainer.lr=1e-3\"")), HasSubstr("1 configurations of b, 2 of a"));
  EXPECT_THAT(Refusal(Head() + Arm("a", "tiny.toml", "\"trainer.lr=1\", \"trainer.lr=1\"")), HasSubstr("stands twice"));
  EXPECT_THAT(Refusal(Head() + Arm("a", "tiny.toml", "\"seed=4\"")), HasSubstr("the protocol sets"));
  EXPECT_THAT(Refusal(Head() + Arm("a", "tiny.toml", "\"trainer.lr\"")), HasSubstr("the protocol sets, or nothing"));
  EXPECT_THAT(Refusal(Head() + Arm("a.b", "tiny.toml", lr_)), HasSubstr("folder's name"));
  EXPECT_THAT(Refusal(Head("tune_seed = 12\n") + a), HasSubstr("seed 12 tunes"));
  EXPECT_THAT(Refusal(Head("sedes = 3\n") + a), AllOf(HasSubstr("protocol.toml:3"), HasSubstr("seeds")));
}

TEST_F(Protocols, TheHashFollowsEverythingThatDecidesARun) {
  const std::string text = Head() + Arm("a", "tiny.toml", lr_) + Arm("b", "objectives/rlcr.toml", lr_);
  const Outcome plain = DryRun(text);
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_THAT(plain.out, AllOf(HasSubstr("10 runs under"), HasSubstr("recipes/tiny/test.jsonl |"), HasSubstr("seeds 11, 12, 13")));
  const std::string hash = HashIn(plain);
  ASSERT_EQ(hash.size(), 32u);
  EXPECT_EQ(HashIn(DryRun(text)), hash);
  EXPECT_NE(HashIn(DryRun(text, {"trainer.clip_max=3"})), hash);
  EXPECT_NE(HashIn(DryRun(Head("seeds = 4\n") + Arm("a", "tiny.toml", lr_) + Arm("b", "objectives/rlcr.toml", lr_))), hash);
  EXPECT_NE(HashIn(DryRun(Head("[frozen_readout]\nquestions = 9\n") + Arm("a", "tiny.toml", lr_) + Arm("b", "objectives/rlcr.toml", lr_))),
            hash);
  EXPECT_FALSE(FileExists(testing::TempDir() + "/protocol"));
}

TEST_F(Protocols, ArmsLearnFromTheSame) {
  const std::string more = "settings = [\"trainer.steps=61\"]\n";
  EXPECT_THAT(DryRun(Head() + Arm("a", "tiny.toml", lr_) + Arm("b", "tiny.toml", lr_, more)).err,
              AllOf(HasSubstr("do not learn from the same"), HasSubstr("61 steps"), HasSubstr("tune-1-b")));
  EXPECT_THAT(DryRun(Head("dev = \"nobody\"\n") + Arm("a", "tiny.toml", lr_)).err, HasSubstr("no [[eval]] called nobody"));
  EXPECT_THAT(DryRun(Head() + Arm("a", "tiny.toml", "\"objective.0.channel=0.1*accuracy\", \"objective.0.channel=nothing\"")).err,
              HasSubstr("tune-2-a"));
}

TEST_F(Protocols, ComeAlone) {
  const Outcome both = DryRun(Head() + Arm("a", "tiny.toml", lr_), {"recipes/tiny.toml"});
  EXPECT_EQ(both.code, 3);
  EXPECT_THAT(both.err, HasSubstr("names its recipes itself"));
  const Outcome missing = RunCommand(RunSweep, {"sweep", "recipes/nothing.toml", "--dry-run"});
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("recipes/nothing.toml"), testing::Not(HasSubstr("nothing varies"))));
}

TEST_F(Protocols, TheShippedOnesAreWhole) {
  for (const char* name : {"cities", "tiny"}) {
    const Outcome shown = RunCommand(RunSweep, {"sweep", kRecipes + "/protocol/" + name + ".toml", "--dry-run"});
    EXPECT_EQ(shown.code, 0) << shown.err;
    EXPECT_THAT(shown.out, HasSubstr("## Files"));
  }
}

}  // namespace
}  // namespace candor::cli
