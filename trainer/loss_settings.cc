// The loss that a recipe's [trainer] names, checked.
#include <cmath>
#include <limits>
#include <map>

#include "trainer/losses.h"

namespace candor {

namespace {

const std::map<std::string, PolicyLoss> kLosses = {{"cispo", PolicyLoss::kCispo},
                                                   {"ppo_clip", PolicyLoss::kPpoClip},
                                                   {"dr_grpo", PolicyLoss::kDrGrpo},
                                                   {"rloo", PolicyLoss::kRloo},
                                                   {"gspo", PolicyLoss::kGspo},
                                                   {"sapo", PolicyLoss::kSapo},
                                                   {"decoupled_ppo", PolicyLoss::kDecoupledPpo},
                                                   {"clip_cov", PolicyLoss::kClipCov},
                                                   {"kl_cov", PolicyLoss::kKlCov}};
const std::map<std::string, OldPolicy> kOldPolicies = {
    {"rollout", OldPolicy::kRollout}, {"learner", OldPolicy::kLearner}, {"interpolated", OldPolicy::kInterpolated}};
const std::map<std::string, RejectBy> kRejections = {
    {"none", RejectBy::kNothing},        {"token", RejectBy::kToken}, {"sequence", RejectBy::kSequence},
    {"geometric", RejectBy::kGeometric}, {"k2", RejectBy::kK2},       {"k3", RejectBy::kK3}};

template <typename T>
Result<T> Find(const std::map<std::string, T>& known, const std::string& name, const std::string& key) {
  if (auto found = known.find(name); found != known.end()) return found->second;
  std::string names;
  for (const auto& [one, value] : known) names += (names.empty() ? "" : ", ") + one;
  return Fail(ErrorCode::kInvalidInput, "unknown " + key + " \"" + name + "\"", "trainer." + key, "one of " + names);
}

Result<CorrectionSettings> CheckCorrection(const TrainerOptions& o) {
  CorrectionSettings s;
  CANDOR_ASSIGN(s.reject, Find(kRejections, o.correction.reject, "reject"));
  s.tis_max = o.tis_max, s.reject_low = o.correction.reject_low, s.reject_high = o.correction.reject_high;
  s.tis_level = o.correction.tis_level == "sequence" ? TisLevel::kSequence : TisLevel::kToken;
  if (!(s.reject_low < s.reject_high))
    return Fail(ErrorCode::kInvalidInput, "reject_low must lie below reject_high: nothing would be kept", "trainer.reject_low");
  return s;
}

}  // namespace

Result<LossSettings> CheckLoss(const TrainerOptions& o) {
  LossSettings s;
  CANDOR_ASSIGN(s.loss, Find(kLosses, o.loss, "loss"));
  CANDOR_ASSIGN(s.old_policy, Find(kOldPolicies, o.old_policy, "old_policy"));
  CANDOR_ASSIGN(s.correction, CheckCorrection(o));
  if (o.dual_clip > 0.0 && !(o.dual_clip > 1.0))
    return Fail(ErrorCode::kInvalidInput, "dual_clip must be 0 (none) or more than 1", "trainer.dual_clip", "3 is the usual value");
  if (s.loss == PolicyLoss::kDecoupledPpo) {
    CANDOR_TRY(CheckOldPolicy(o));
    if (s.correction.tis_max <= 0.0) s.correction.tis_max = std::numeric_limits<double>::infinity();  // the weight belongs to the loss
  }
  s.clip_low = o.clip_low, s.clip_high = o.clip_high, s.clip_max = o.clip_max, s.dual_clip = o.dual_clip;
  s.sapo_positive = o.form.sapo_positive, s.sapo_negative = o.form.sapo_negative;
  s.cov_fraction = o.form.cov_fraction, s.cov_low = o.form.cov_low, s.cov_high = o.form.cov_high, s.cov_kl = o.form.cov_kl;
  return s;
}

}  // namespace candor
