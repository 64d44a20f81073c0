// Recipes: what is bound, what is refused, and that the resolved text binds to the same values.
#include "core/options.h"

#include <gmock/gmock.h>

#include <fstream>

namespace candor {
namespace {

using ::testing::HasSubstr;

struct Piece {
  std::string channel;
  double weight = 1.0;
};
struct Settings {
  std::string name = "x";
  bool fast = false;
  int64_t steps = 10;
  double lr = 1e-5;
  std::string loss = "cispo";
  std::vector<std::string> tags = {"answer"};
  std::vector<Piece> pieces;
};
void Declare(OptionTable& table, Settings& s) {
  table.Section("", "");
  table.String("name", &s.name);
  table.TableList<Piece>("piece", &s.pieces, [](OptionTable& t, Piece& p) {
    t.String("channel", &p.channel, {.required = true});
    t.Double("weight", &p.weight, {.min = 0});
  });
  table.Section("trainer", "how it learns");
  table.Bool("fast", &s.fast);
  table.Int("steps", &s.steps, {.min = 1, .max = 1000, .unit = "steps", .help = "how many"});
  table.Double("lr", &s.lr, {.min = 0, .max = 1});
  table.String("loss", &s.loss, {.choices = {"cispo", "ppo_clip"}});
  table.StringList("tags", &s.tags);
}

Status BindText(Settings& settings, const std::string& text, const std::vector<std::string>& overrides = {}) {
  RecipeSource source;
  CANDOR_TRY(source.AddText(text, "r.toml"));
  for (const std::string& one : overrides) CANDOR_TRY(source.AddOverride(one));
  OptionTable table;
  Declare(table, settings);
  return source.Bind(table);
}
std::string ErrorOf(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Settings settings;
  Status status = BindText(settings, text, overrides);
  return status ? "no error" : status.error().Message();
}

TEST(Recipe, ATimeLimitOfTheCommandLineIsText) {
  Settings s;
  ASSERT_TRUE(BindText(s, "", {"name=04:00:00"}));
  EXPECT_EQ(s.name, "04:00:00");
}

TEST(Recipe, BindsEveryKindAndKeepsDefaults) {
  Settings s;
  ASSERT_TRUE(BindText(
      s,
      "name='run'\n[trainer]\nfast=true\nsteps=3\nlr=1\ntags=['a','b']\n[[piece]]\nchannel='acc'\n[[piece]]\nchannel='brier'\nweight=0.5"));
  EXPECT_EQ(s.name, "run");
  EXPECT_TRUE(s.fast);
  EXPECT_EQ(s.steps, 3);
  EXPECT_EQ(s.lr, 1.0);
  EXPECT_EQ(s.loss, "cispo");
  EXPECT_THAT(s.tags, ::testing::ElementsAre("a", "b"));
  ASSERT_EQ(s.pieces.size(), 2u);
  EXPECT_EQ(s.pieces[1].channel, "brier");
  EXPECT_EQ(s.pieces[0].weight, 1.0);
}

TEST(Recipe, UnknownKeyNamesLineAndNearestKey) {
  EXPECT_THAT(ErrorOf("[trainer]\nstep=3"),
              AllOf(HasSubstr("unknown key `trainer.step`"), HasSubstr("r.toml:2"), HasSubstr("did you mean `steps`")));
  EXPECT_THAT(ErrorOf("[trianer]\nsteps=3"), AllOf(HasSubstr("unknown key `trianer`"), HasSubstr("did you mean `trainer`")));
  EXPECT_THAT(ErrorOf("[[piece]]\nchanel='a'"), HasSubstr("piece[0].channel"));
}

TEST(Recipe, RefusesWrongTypesRangesAndChoices) {
  EXPECT_THAT(ErrorOf("[trainer]\nsteps='3'"), HasSubstr("`trainer.steps` must be a whole number (r.toml:2)"));
  EXPECT_THAT(ErrorOf("[trainer]\nsteps=0"), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf("[trainer]\nlr=nan"), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf("[trainer]\nloss='cipso'"), HasSubstr("did you mean \"cispo\""));
  EXPECT_THAT(ErrorOf("trainer=3"), HasSubstr("must be a table"));
  EXPECT_THAT(ErrorOf("name='x"), HasSubstr("r.toml:1"));
}

TEST(Recipe, OverridesWinAndNeedNoQuotes) {
  Settings s;
  ASSERT_TRUE(BindText(s, "[trainer]\nsteps=3", {"trainer.steps=7", "name=my-run", "trainer.loss=ppo_clip"}));
  EXPECT_EQ(s.steps, 7);
  EXPECT_EQ(s.name, "my-run");
  EXPECT_EQ(s.loss, "ppo_clip");
  EXPECT_THAT(ErrorOf("", {"trainer.stepz=7"}), HasSubstr("override trainer.stepz=7"));
  EXPECT_THAT(ErrorOf("", {"nonsense"}), HasSubstr("is not an override"));
}

TEST(Recipe, OverridesReachIntoLists) {
  const std::string two = "[[piece]]\nchannel='one'\nweight=0.1\n[[piece]]\nchannel='two'";
  Settings s;
  ASSERT_TRUE(BindText(s, two, {"piece.1.weight=0.5"}));
  ASSERT_EQ(s.pieces.size(), 2u);
  EXPECT_EQ(s.pieces[0].weight, 0.1);
  EXPECT_EQ(s.pieces[1].channel, "two");
  EXPECT_EQ(s.pieces[1].weight, 0.5);
  EXPECT_THAT(ErrorOf(two, {"piece.2.weight=1"}), AllOf(HasSubstr("`piece` is a list of 2"), HasSubstr("override piece.2.weight=1")));
  EXPECT_THAT(ErrorOf(two, {"piece.weight=1"}), HasSubstr("count from 0"));
  EXPECT_THAT(ErrorOf(two, {"piece.0.wait=1"}), HasSubstr("piece[0].wait"));
}

TEST(Recipe, TellsWhereAKeyWasWritten) {
  RecipeSource source;
  ASSERT_TRUE(source.AddText("[trainer]\nsteps=3\n[[piece]]\nchannel='a'\n[[piece]]\nchannel='b'", "r.toml"));
  ASSERT_TRUE(source.AddOverride("trainer.lr=0.5"));
  EXPECT_EQ(source.PlaceOf("trainer.steps"), "r.toml:2");
  EXPECT_EQ(source.PlaceOf("piece[1].channel"), "r.toml:6");
  EXPECT_THAT(source.PlaceOf("trainer.lr"), HasSubstr("override trainer.lr=0.5"));
  EXPECT_EQ(source.PlaceOf("trainer.loss"), "trainer.loss");
}

TEST(Recipe, BaseFilesMergeTablesAndReplaceLists) {
  std::string folder = ::testing::TempDir();
  std::ofstream(folder + "/base.toml")
      << "name='base'\n[trainer]\nsteps=5\ntags=['a','b']\n[[piece]]\nchannel='one'\n[[piece]]\nchannel='two'\n";
  std::ofstream(folder + "/child.toml") << "base='base.toml'\n[trainer]\ntags=['c']\n[[piece]]\nchannel='three'\n";
  std::ofstream(folder + "/loop.toml") << "base='loop.toml'\n";
  Settings s;
  RecipeSource source;
  ASSERT_TRUE(source.AddFile(folder + "/child.toml"));
  OptionTable table;
  Declare(table, s);
  ASSERT_TRUE(source.Bind(table));
  EXPECT_EQ(s.name, "base");
  EXPECT_EQ(s.steps, 5);
  EXPECT_THAT(s.tags, ::testing::ElementsAre("c"));
  ASSERT_EQ(s.pieces.size(), 1u);
  RecipeSource loop;
  EXPECT_THAT(loop.AddFile(folder + "/loop.toml").error().Message(), HasSubstr("its own base"));
  EXPECT_THAT(loop.AddFile(folder + "/none.toml").error().Message(), HasSubstr("none.toml"));
}

TEST(Recipe, ResolvedTextBindsToTheSameValues) {
  Settings s, again;
  ASSERT_TRUE(BindText(s, "name='a \"quoted\" \\\\ name'\n[trainer]\nlr=3e-7\nsteps=3\n[[piece]]\nchannel='acc'\nweight=0.1"));
  OptionTable table;
  Declare(table, s);
  ASSERT_TRUE(BindText(again, ToToml(table))) << ToToml(table);
  EXPECT_EQ(again.name, s.name);
  EXPECT_EQ(again.lr, 3e-7);
  ASSERT_EQ(again.pieces.size(), 1u);
  EXPECT_EQ(again.pieces[0].weight, 0.1);
}

TEST(Recipe, ReferencePageNamesEveryKey) {
  Settings s;
  OptionTable table;
  Declare(table, s);
  std::string page = ReferencePage(table);
  for (const char* key : {"`name`", "`steps`", "`lr`", "`[[piece]]`", "`channel`", "1 to 1000 steps"}) EXPECT_THAT(page, HasSubstr(key));
}

// The distance to every known name takes time in proportion to both lengths, and a request may bring megabytes.
TEST(NearestName, OfAVeryLongNameThereIsNone) {
  EXPECT_EQ(NearestName("temprature", {"temperature", "top_p"}), "temperature");
  EXPECT_EQ(NearestName(std::string(190, 'x') + "temperature", {std::string(190, 'x') + "temprature"}), "");
  EXPECT_EQ(NearestName(std::string(3'000'000, 'x'), {"temperature"}), "");
}

// UBSan: such letters led toml++ to code that is not there.
TEST(Recipe, LettersBeyondAsciiOutsideStringsAreRefusedByLine) {
  for (const std::string text : {"\xc3\x9bsk = 1\n", "name = \"a\" \xc3\xa9\n", "a\xc4\x80 = 2\n", "\xe2\x80\x8b = 1\n"}) {
    RecipeSource source;
    const Status added = source.AddText(text, "recipe.toml");
    ASSERT_FALSE(added) << text;
    EXPECT_NE(added.error().where.find("recipe.toml:1"), std::string::npos) << added.error().where;
  }
}

}  // namespace
}  // namespace candor
