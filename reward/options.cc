#include "reward/options.h"

namespace candor {

void Declare(OptionTable& t, VerifierOptions& o) {
  t.String("name", &o.name,
           {.help = "what [reward] verifier and the channels call it; its own label becomes a channel of this name", .required = true});
  t.String("kind", &o.kind,
           {.help = "how answers are compared; may be left out beside command or url",
            .choices = {"", "exact_match", "accepted_set", "f1", "numeric", "choice", "math", "command", "http", "python_tests"}});
  t.StringList("command", &o.command,
               {.help = "kind command (or another Python for math): program and arguments, run without a shell; reads one JSON line per "
                        "completion, writes one"});
  t.String("url", &o.url,
           {.help = "kind http: where each completion is posted as JSON; only public addresses unless allowed below; redirects and proxies "
                    "are not followed"});
  t.StringList(
      "allow_hosts", &o.allow_hosts,
      {.help =
           "kind http: hosts, as written in url, that may lie on loopback or private addresses (a judge of your own: [\"127.0.0.1\"])"});
  t.Bool(
      "allow_private", &o.allow_private,
      {.help = "kind http: every host may lie on loopback or private addresses (link-local ones only when allow_hosts names the address)"});
  t.String("tests_field", &o.tests_field,
           {.help = "kind python_tests: the row's field with the tests: Python that asserts, or a list of {\"input\", \"output\"}"});
  t.String("sandbox", &o.sandbox,
           {.help = "kind python_tests: bwrap, or none where user namespaces are forbidden and the code is trusted",
            .choices = {"bwrap", "none"}});
  t.Double("timeout_s", &o.timeout_s,
           {.min = 0.01,
            .max = 3600,
            .unit = "s",
            .help = "longest time for one completion; then the process is killed and the label is unknown"});
  t.Double("startup_s", &o.startup_s,
           {.min = 0, .max = 3600, .unit = "s", .help = "added to timeout_s for the first completion of a new process (imports, models)"});
  t.Int("processes", &o.processes, {.min = 1, .max = 256, .unit = "processes", .help = "children (or open requests) at a time"});
  t.Int("memory_mb", &o.memory_mb,
        {.min = 0, .unit = "MiB", .help = "address space of one child; 0 = no limit (torch and CUDA reserve far more than they use)"});
  t.Int("cpu_s", &o.cpu_s, {.min = 0, .unit = "s", .help = "processor time of one child over its whole life; 0 = no limit"});
  t.Int("max_processes", &o.max_processes,
        {.min = 0,
         .unit = "processes",
         .help = "processes and threads that the user may have while a child forks (RLIMIT_NPROC, does not bind root); 0 = no limit"});
  t.Double("f1_threshold", &o.f1_threshold,
           {.min = 0, .max = 1, .help = "kind f1: from this F1 on an answer is correct; the F1 itself is the channel f1"});
  t.Double("absolute_tolerance", &o.absolute_tolerance,
           {.min = 0, .max = 1e300, .help = "kinds numeric and math: correct when |answer - accepted| is at most this"});
  t.Double("relative_tolerance", &o.relative_tolerance,
           {.min = 0, .max = 1, .help = "kinds numeric and math: or at most this times |accepted|"});
  t.String("choices_field", &o.choices_field, {.help = "kind choice: the row's field with the choices; without it letters are compared"});
}

// What the filters compare a group with.
static void DeclareFilters(OptionTable& t, RewardOptions& o) {
  t.Double("filter_low", &o.filter_low, {.min = 0, .max = 1, .help = "filter mid_band: least pass rate of a group that is kept"});
  t.Double("filter_high", &o.filter_high, {.min = 0, .max = 1, .help = "filter mid_band: largest pass rate of a group that is kept"});
  t.Double("filter_min_variance", &o.filter_min_variance,
           {.min = 0,
            .max = 1,
            .help = "filter vcrl: least variance of the accuracy within a group that is kept, as a share of the largest there is"});
  t.Double("filter_min_spread", &o.filter_min_spread,
           {.min = 0,
            .unit = "nats",
            .help = "filter reference_spread: a group is kept where some token of the row's reference answer has at least this standard "
                    "deviation of its log-probability over the group's reasonings"});
  t.Double("filter_max_rank", &o.filter_max_rank,
           {.min = 0,
            .max = 1e9,
            .help = "filter reference_spread: a group is also dropped, as too hard, where behind every reasoning the worst tokens of the "
                    "row's reference answer have a mean rank above this (1 = the policy's first choice); 0 = never"});
  t.Double("filter_worst_share", &o.filter_worst_share,
           {.min = 0, .max = 1, .help = "which tokens filter_max_rank looks at: this share, those of the highest rank, at least one"});
  t.Double("filter_beta", &o.filter_beta,
           {.min = 0,
            .max = 1e6,
            .help = "filter moving_std: a group is kept whose rewards have at least this share of the moving mean of groups' standard "
                    "deviations"});
  t.Double("filter_ema", &o.filter_ema,
           {.min = 0, .max = 0.999999, .help = "filter moving_std: how much of the moving mean each step leaves standing"});
  t.Int("filter_average_from", &o.filter_average_from,
        {.min = 1, .help = "filter moving_std: the first step whose deviations are averaged; before filter_from all weigh the same"});
  t.Int("filter_from", &o.filter_from, {.min = 2, .help = "filter moving_std: the first step that is filtered"});
}

// What else outcomes can mean: reflection on the reference, abstaining, votes, stored baselines, noise.
static void DeclareOutcomes(OptionTable& t, RewardOptions& o) {
  t.Double("dro_gamma", &o.dro_gamma,
           {.min = 0,
            .max = 100,
            .unit = "per token",
            .help = "channel dro_propagated: how fast the doubt about a token of the reference fades behind it"});
  t.Double(
      "dro_reflective", &o.dro_reflective,
      {.min = 0,
       .max = 1,
       .help = "channel dro_propagated: tokens of the reference whose spread is at least this share of the largest pass their doubt on"});
  t.Double("length_beta", &o.length_beta,
           {.min = 0,
            .max = 1000,
            .help = "channel reference_length: what an answer loses that is off by as many characters as the reference has"});
  t.StringList("abstain", &o.abstain,
               {.help = "answers that decline to answer, such as [\"I don't know\"], compared after normalisation; they fill the channels "
                        "abstained, thresholded and tiar, and are an outcome of their own for the filter"});
  t.Double("answer_threshold", &o.answer_threshold,
           {.min = 0,
            .max = 0.999,
            .help = "t of the channel thresholded: 1 correct, 0 abstained, -t/(1 - t) wrong, so that answering pays where the answer is "
                    "right with more than probability t"});
  t.Double("hybrid_group_share", &o.hybrid_group_share,
           {.min = 0,
            .max = 1,
            .help = "channels hybrid_brier and hybrid_gap: how much of a stated confidence's target is the mean of the group's labels; the "
                    "rest is the answer's own"});
  t.Double("majority_min_share", &o.majority_min_share,
           {.min = 0, .max = 1, .help = "channel majority: least share of a group's votes that makes its most frequent answer a label"});
  t.String(
      "baseline_field", &o.baseline_field,
      {.help = "row's field with the scores of stored answers of a reference policy (a number or a list); fills the channels baseline, "
               "their mean, and contrast, accuracy minus it; candor baseline writes it"});
  t.Double("label_noise", &o.label_noise,
           {.min = 0,
            .max = 0.49,
            .help = "e: how often the verifier's label is flipped, measured on a gold set; the channels denoised and denoised_brier are "
                    "corrected for it"});
  t.Double("label_false_positive", &o.label_false_positive,
           {.min = 0,
            .max = 0.95,
            .help = "how often the verifier or judge calls a wrong answer correct, where that is not label_noise; `candor judge test` "
                    "measures both"});
  t.Double("label_false_negative", &o.label_false_negative,
           {.min = 0, .max = 0.95, .help = "how often it calls a correct answer wrong; together with the other below 1"});
}

void Declare(OptionTable& t, CriterionOptions& o) {
  t.String("channel", &o.channel, {.help = "the channel that is judged: a verifier's name or one of its rewards", .required = true});
  t.Double("weight", &o.weight, {.min = 0, .help = "share of this criterion in the rubric"});
  t.Double("veto_below", &o.veto_below, {.help = "below this the rubric is 0 whatever the other criteria say; unset = never"});
}

void Declare(OptionTable& t, RewardOptions& o) {
  t.Section("reward", "How completions are verified, scored and kept until a checkpoint covers them.");
  t.String("verifier", &o.verifier,
           {.help = "whose label counts: the name of a [[verifier]], or exact_match, accepted_set, f1, numeric, choice, math or "
                    "python_tests with their "
                    "defaults; empty = the first [[verifier]], else "
                    "exact_match"});
  t.String("filter", &o.filter,
           {.help = "groups that are kept out of the policy gradient (they still train the slot and are still observed): accuracy, those "
                    "whose accuracy does not vary; agreement, the same by the channel majority; mid_band and vcrl, further those of a "
                    "pass rate outside a band or of too small a variance; reference_spread, those whose reasoning does not change "
                    "how likely the row's reference answer is; reward, those in which no policy gradient's value varies; moving_std, those "
                    "in which it varies less than a share of the run's moving mean",
            .choices = {"accuracy", "none", "agreement", "mid_band", "vcrl", "reference_spread", "reward", "moving_std"}});
  DeclareFilters(t, o);
  DeclareOutcomes(t, o);
  t.String("signal", &o.signal,
           {.help = "the confidence that is scored: slot or verbal; empty = as the format's confidence says",
            .choices = {"", "slot", "verbal", "none"}});
  t.Int("workers", &o.workers, {.min = 1, .max = 4096, .unit = "processes", .help = "reward processes"});
  t.Int("threads", &o.threads, {.min = 1, .max = 256, .unit = "threads", .help = "completions verified at a time by one reward process"});
  t.Int("max_in_flight", &o.max_in_flight,
        {.min = 1,
         .max = 65536,
         .unit = "groups",
         .help = "groups accepted but not yet on disk; beyond it senders keep theirs and try again"});
  t.String("bind", &o.bind, {.help = "address to serve on; port 0 picks one"});
  t.Int("spool_limit_mb", &o.spool_limit_mb,
        {.min = 1, .unit = "MiB", .help = "scored groups kept on disk; beyond it no more are accepted until a checkpoint releases some"});
  t.Section("", "");
  t.TableList<VerifierOptions>("verifier", &o.verifiers, [](OptionTable& element, VerifierOptions& options) { Declare(element, options); },
                               {.help = "A verifier of your own, or a built-in one with other settings. All of them run; [reward] verifier "
                                        "says whose label counts (the first one when "
                                        "it is not set). Every reward it returns is a channel."});
  t.TableList<JudgeOptions>(
      "judge", &o.judges, [](OptionTable& element, JudgeOptions& options) { Declare(element, options); },
      {.help = "A model that judges answers over an OpenAI-compatible endpoint. Its judgement is a channel under its name; "
               "where [reward] verifier names it, also the label. What it does not answer is unknown, never wrong."});
  t.TableList<CriterionOptions>("criterion", &o.criteria,
                                [](OptionTable& element, CriterionOptions& options) { Declare(element, options); },
                                {.help = "A criterion of the channel rubric: the weighted mean of all of them, 0 where one lies below its "
                                         "veto, missing where one is missing."});
}

}  // namespace candor
