// `candor bench publish`: what it costs to bring new weights to the rollouts, on a real model after a real step.
#pragma once
#include <string>

#include "core/result.h"
#include "trainer/publish_bench.h"

namespace candor::cli {

// The result as one JSON object; its keys are explained in the command's --help.
Result<std::string> RunPublishBench(const std::string& model_folder, PublishBenchOptions options);

}  // namespace candor::cli
