// Settings of the coordinator, with their option table (core/options.h).
#pragma once
#include <cstdint>
#include <string>

#include "core/options.h"

namespace candor {

struct CoordinatorOptions {
  int64_t staleness = 1;
  double lease_timeout_s = 3;
  double progress_timeout_s = 300;
  double restart_grace_s = 2;
  double linger_s = 10;
  double hang_timeout_s = 15;
  double start_timeout_s = 600;
  std::string listen = "tcp://127.0.0.1:0";
  std::string host;
  std::string http_host = "127.0.0.1";
  int64_t http_port = 0;
  int64_t http_threads = 8;
};

// Which prompts are worth a rollout (coordinator/curriculum.h).
struct CurriculumOptions {
  std::string skip = "none";
  double retire_at = 0.0;
  double retired_share = 0.1;
  int64_t fill_batches = 1;
};

inline void Declare(OptionTable& t, CurriculumOptions& o) {
  t.Section("curriculum", "Which prompts are generated for, and when a step has enough of them.");
  t.String("skip", &o.skip,
           {.help = "greso: prompts that were all right or all wrong in their last visits are passed over at random before anything is "
                    "generated, the more often the longer that lasts",
            .choices = {"none", "greso"}});
  t.Double("retire_at", &o.retire_at,
           {.min = 0, .max = 1, .help = "a prompt whose pass rate over all its visits is at least this is retired; 0 = none is"});
  t.Double("retired_share", &o.retired_share,
           {.min = 0,
            .max = 1,
            .help = "share of a retired prompt's visits that are generated all the same and train the confidence slot alone"});
  t.Int("fill_batches", &o.fill_batches,
        {.min = 1,
         .max = 1000,
         .unit = "batches",
         .help =
             "a step whose groups did not pass reward.filter gets more prompts until prompts_per_step have; after so many batches the run "
             "ends with an error; 1 = a step may be short"});
}

inline void Declare(OptionTable& t, CoordinatorOptions& o) {
  t.Section("coordinator", "Who generates what and when; the books; the HTTP interface.");
  t.Int("staleness", &o.staleness,
        {.min = 0, .max = 64, .unit = "steps", .help = "how many steps generation may run ahead of learning; 0 = synchronous"});
  t.Double("lease_timeout_s", &o.lease_timeout_s,
           {.min = 0.1, .max = 86400, .unit = "s", .help = "a worker silent for so long loses its groups to others"});
  t.Double("progress_timeout_s", &o.progress_timeout_s,
           {.min = 0.1,
            .max = 86400,
            .unit = "s",
            .help = "a group whose worker lives but writes no token of it for so long is given to others"});
  t.Double("restart_grace_s", &o.restart_grace_s,
           {.min = 0,
            .max = 600,
            .unit = "s",
            .help = "after a restart, time for workers to announce what they are at before new groups go out"});
  t.Double("linger_s", &o.linger_s,
           {.min = 0, .max = 86400, .unit = "s", .help = "how long a finished run still answers, so that every worker hears of the end"});
  t.Double(
      "hang_timeout_s", &o.hang_timeout_s,
      {.min = 1,
       .max = 86400,
       .unit = "s",
       .help = "candor run kills and restarts a role that lives but was not heard for so long (the learner: twice that, or five steps)"});
  t.Double("start_timeout_s", &o.start_timeout_s,
           {.min = 1, .max = 86400, .unit = "s", .help = "likewise a role that was started so long ago and has not joined the run"});
  t.String("listen", &o.listen, {.help = "address of the control socket; tcp://0.0.0.0:0 for workers on other hosts"});
  t.String(
      "host", &o.host,
      {.help = "name or address by which workers on other hosts reach the coordinator; empty = loopback on one machine, the node's name in "
               "a Slurm job"});
  t.String("http_host", &o.http_host,
           {.help = "address of the HTTP interface; anything but loopback lets other hosts ask (with the run's token)"});
  t.Int("http_port", &o.http_port,
        {.min = 0, .max = 65535, .help = "port of the HTTP interface; 0 = any free one, written to RUN_DIR/endpoint.<epoch>"});
  t.Int("http_threads", &o.http_threads, {.min = 1, .max = 256, .unit = "threads", .help = "requests served at once"});
}

}  // namespace candor
