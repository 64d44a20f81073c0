// Alarms of the last step's numbers: each with what raises it, beside a step that raises none.
#include "coordinator/alarms.h"

#include <gmock/gmock.h>

#include "state_fixture.h"

namespace candor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<Alarm> OfLine(const MetricLine& changes) {
  state_fixture::Fixture f;
  f.Lease();  // a rollout has joined as well: the step alone can raise something
  StatusExtras extras;
  extras.last_line = {{"traces", 64},
                      {"labels/unknown", 1},
                      {"format_ok/all/mean", 0.9},
                      {"calibration/train/ece", 0.1},
                      {"calibration/train/ece_floor", 0.05},
                      {"calibration/train/signed_gap", 0.05},
                      {"optim/skipped", 0}};
  for (const auto& [name, value] : changes) extras.last_line[name] = value;
  return PresentAlarms(f.state, extras, f.now);
}

std::vector<std::string> Names(const std::vector<Alarm>& alarms) {
  std::vector<std::string> names;
  for (const Alarm& alarm : alarms) names.push_back(alarm.name);
  return names;
}

TEST(Alarms, AnOrdinaryStepRaisesNone) { EXPECT_THAT(Names(OfLine({})), IsEmpty()); }

TEST(Alarms, EachHasItsCause) {
  EXPECT_THAT(Names(OfLine({{"optim/skipped", 1}})), ElementsAre("step_skipped"));
  EXPECT_THAT(Names(OfLine({{"labels/unknown", 4}})), ElementsAre("verifier_unsure"));
  EXPECT_THAT(Names(OfLine({{"format_ok/all/mean", 0.49}})), ElementsAre("form_lost"));
  EXPECT_THAT(Names(OfLine({{"format_ok/all/mean", 0}})), ElementsAre("form_lost"));
  EXPECT_THAT(Names(OfLine({{"groups/drop/failed", 2}})), ElementsAre("groups_lost"));
  EXPECT_THAT(Names(OfLine({{"calibration/train/ece", 0.16}})), ElementsAre("over_confident"));
  EXPECT_THAT(Names(OfLine({{"calibration/train/ece", 0.16}, {"calibration/train/signed_gap", -0.05}})), ElementsAre("under_confident"));
}

TEST(Alarms, SayTheirNumbers) {
  EXPECT_THAT(OfLine({{"format_ok/all/mean", 0.125}}).at(0).what, HasSubstr("12 %"));
  EXPECT_THAT(OfLine({{"labels/unknown", 4}}).at(0).what, HasSubstr("4 of 64"));
}

}  // namespace
}  // namespace candor
