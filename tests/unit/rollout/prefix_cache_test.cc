// What prompts have in common at their beginning: which prompts are kept, and that an engine which takes over what another prompt computed
// writes the same bits as one that computes everything.
#include "rollout/prefix_cache.h"

#include <gtest/gtest.h>

#include "tests/unit/rollout/engine_fixture.h"

namespace candor {
namespace {

TEST(PrefixCache, LetsGoOfThePromptThatWasUsedLongestAgo) {
  PagePool pool(8);
  PrefixCache cache(pool, 16, 4);
  const auto insert = [&](uint64_t key, int64_t step) {  // two pages
    ASSERT_TRUE(pool.Promise(2));
    const std::vector<int32_t> pages = {pool.TakePromised(), pool.TakePromised()};
    cache.Insert(RandomPrompt(key, 20), pages, step);
    for (int32_t page : pages) pool.Release(page);
  };
  insert(1, 1), insert(2, 1);
  EXPECT_EQ(cache.Find(RandomPrompt(1, 30), 1).tokens, 0);  // step 1 computes it
  EXPECT_EQ(cache.Gain(RandomPrompt(1, 30), 1), 20);
  EXPECT_EQ(cache.Gain(RandomPrompt(1, 30), 2), 0);
  EXPECT_EQ(cache.Find(RandomPrompt(1, 30), 2).tokens, 20);
  EXPECT_EQ(cache.Find(RandomPrompt(1, 20), 2).tokens, 19);  // one token is left to compute
  EXPECT_EQ(cache.Find(RandomPrompt(1, 16), 2).tokens, 0);   // too little
  EXPECT_EQ(cache.Find(RandomPrompt(1, 30), 2).pages.size(), 2u);
  EXPECT_EQ(cache.Reclaimable(), 4);
  insert(3, 2);
  EXPECT_EQ(cache.pages(), 4);
  EXPECT_EQ(cache.Find(RandomPrompt(2, 30), 3).tokens, 0);
  EXPECT_EQ(cache.Find(RandomPrompt(1, 30), 3).tokens, 20);
  cache.Clear();
  EXPECT_EQ(pool.used(), 0);
}

// Prompts that begin alike, of lengths that part within a page and at its end, with traces that start from the page in which they part.
std::vector<EngineRequest> LikeRequests(uint64_t first_id) {
  const std::vector<int32_t> beginning = RandomPrompt(77, 37);
  std::vector<EngineRequest> requests;
  for (uint64_t id = first_id; id < first_id + 7; ++id) {
    EngineRequest request = Request(id, 30, 3, 12);
    const auto common = static_cast<std::ptrdiff_t>(id % 2 ? 32 : 37);
    request.prompt_tokens_P.insert(request.prompt_tokens_P.begin(), beginning.begin(), beginning.begin() + common);
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST(Engine, PromptsThatBeginAlikeGiveWhatEachAloneGives) {
  const ModelConfig config = TinyConfig();
  const Parameters old_parameters = TinyParameters(config), parameters = TinyParameters(config, 9);
  EngineOptions options = TinyEngineOptions(true);
  auto sharing = TinyEngine(options, config, old_parameters);
  options.share_prefixes = false;
  auto alone = TinyEngine(options, config, parameters);
  RunAll(*sharing, LikeRequests(1));  // fills it with what the old weights give
  const uint64_t before = sharing->stats().reused_tokens;
  EXPECT_GE(before, 6u * 32u);
  ASSERT_TRUE(sharing->LoadParameters(PolicyVersion{2}, config, parameters));
  const auto shared = RunAll(*sharing, LikeRequests(101)), single = RunAll(*alone, LikeRequests(101));
  EXPECT_EQ(sharing->stats().reused_tokens, 2 * before);
  EXPECT_EQ(alone->stats().reused_tokens, 0u);
  for (const auto& [id, group] : single) {
    const TokenScores scores = LearnerScores(config, parameters, true, group);
    const float* learner = scores.log_probs_M.const_data_ptr<float>();
    for (size_t i = 0; i < group.traces_G.size(); ++i) {
      const Trace &a = group.traces_G[i], &b = shared.at(id).traces_G[i];
      EXPECT_EQ(a.tokens_T, b.tokens_T);
      EXPECT_EQ(a.log_probs_T, b.log_probs_T);
      for (float log_prob : b.log_probs_T) EXPECT_EQ(log_prob, *learner++);
    }
  }
}

}  // namespace
}  // namespace candor
