#include "reward/judges/judge_options.h"

namespace candor {

void Declare(OptionTable& t, JudgeOptions& o) {
  t.String("name", &o.name, {.help = "its channel, and what [reward] verifier calls it where its label counts", .required = true});
  t.String(
      "prompt", &o.prompt,
      {.help = "file that says what it is asked and how its answer is read: one of recipes/judges/*.toml or your own", .required = true});
  t.String("url", &o.url,
           {.help = "base of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1; only public addresses unless allowed below",
            .required = true});
  t.String("model", &o.model, {.help = "the model's name there; empty = whatever is served"});
  t.String("api_key_env", &o.api_key_env, {.help = "environment variable with the endpoint's key"});
  t.String("api_key_file", &o.api_key_file, {.help = "or the file with it"});
  t.StringList("allow_hosts", &o.allow_hosts, {.help = "hosts, as written in url, that may lie on loopback or private addresses"});
  t.Bool("allow_private", &o.allow_private, {.help = "every host may lie on loopback or private addresses"});
  t.Int("votes", &o.votes,
        {.min = 1, .max = 256, .unit = "answers", .help = "asked for each completion (each order of a pair, each step) and averaged"});
  t.Int("min_votes", &o.min_votes, {.min = 1, .max = 256, .unit = "answers", .help = "fewer that can be read are no judgement"});
  t.Double("temperature", &o.temperature, {.min = 0, .max = 2, .help = "of the judge; several votes need one above 0"});
  t.Int("max_tokens", &o.max_tokens, {.min = 1, .max = 1e6, .unit = "tokens", .help = "longest answer of the judge"});
  t.Double("correct_from", &o.correct_from,
           {.min = 0, .max = 1, .help = "its mean from which an answer counts as correct, where its label counts"});
  t.String("aggregate", &o.aggregate,
           {.help = "judges of steps: what the verdicts on the steps become as the judge's own channel; the others are channels too",
            .choices = {"min", "mean", "product"}});
  t.String("tournament", &o.tournament,
           {.help = "judges of pairs: who meets whom within a group, G(G - 1)/2 pairs or G - 1; each pair is asked about in both orders",
            .choices = {"round_robin", "knockout"}});
  t.String("meta", &o.meta, {.help = "file of a judge of judgements (kind meta); with meta_keep"});
  t.Int("meta_keep", &o.meta_keep, {.min = 0, .max = 256, .unit = "answers", .help = "votes that it keeps: those it trusts most"});
  t.Double("timeout_s", &o.timeout_s,
           {.min = 0.01, .max = 3600, .unit = "s", .help = "longest time for one answer; then it is asked again"});
  t.Int("retries", &o.retries,
        {.min = 0, .max = 20, .help = "how often a question is repeated that found nobody, took too long or met a busy server (429, 5xx)"});
  t.String("code_sandbox", &o.code_sandbox,
           {.help = "of a judge that runs code: bwrap, or none where user namespaces are forbidden and the judge is trusted",
            .choices = {"bwrap", "none"}});
  t.Double("code_timeout_s", &o.code_timeout_s,
           {.min = 0.01, .max = 3600, .unit = "s", .help = "of a judge that runs code: longest time for one program"});
  t.Int("concurrency", &o.concurrency, {.min = 1, .max = 1024, .unit = "requests", .help = "open at a time by one reward process"});
}

}  // namespace candor
