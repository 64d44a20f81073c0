// Channels that need the whole group, a rubric of several channels, or what the row carries; filled only when an objective or the filter
// reads them.
//
//   tiar           abstained·(1 − 2p), p = correct / (correct + wrong) among the sampled traces that answered; missing where none did
//                  (TIAR, 2026). Meant as a bonus of its own: advantage = "none", beside accuracy with a group's normaliser
//   majority       F·1[the answer is the group's most frequent one], among sampled traces that kept the format and did not abstain; missing
//                  for the whole group where the first two tie or the first has less than [reward] majority_min_share of the votes (TTRL)
//   majority_true  1 where majority agrees with the verifier, missing where either is; for watching, not for training
//   hybrid_brier   −(q − t)², t = (1 − λ)·a + λ·(mean of a over the group's sampled traces), λ = [reward] hybrid_group_share; nothing
//                  stated, or a broken format, is q = −1, as in the released code of DCPO (arXiv 2603.09117). λ = 1: CoCA (2603.05881)
//   hybrid_gap     −|q − t|, the same as DCPO's paper writes it: no proper rule
//   rubric         Σ weight·channel / Σ weight over [[criterion]]; 0 where a criterion lies below its veto; missing where any is missing,
//                  since a judge that did not answer has not said no
//   baseline       the mean of the row's [reward] baseline_field, scores of stored answers of a reference policy (`candor baseline` writes
//                  them); what advantage = "contrastive_baseline" subtracts. Constant per prompt: under a group's mean it cancels
//   contrast       accuracy − baseline (arXiv 2403.07708; formula as read from the abstract)
// Pure, any thread.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/trace.h"
#include "reward/options.h"

namespace candor {

struct GroupChannelRules {
  std::set<std::string> wanted;
  double majority_min_share = 0.5, hybrid_group_share = 0.5;
  std::vector<CriterionOptions> criteria;
};

// `abstained_G` belongs to the traces in order. `baseline`: mean score of the row's stored answers, if it has any.
void AddGroupChannels(const GroupChannelRules& rules, const std::vector<bool>& abstained_G, std::optional<double> baseline,
                      std::vector<ScoredTrace>& traces_G);

// The mean of a row's list of finite numbers (or its one number) under `field`; nullopt where there is none.
std::optional<double> ReadBaseline(std::string_view row_json, const std::string& field);

}  // namespace candor
