#include "cli/torch/bench_publish.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/scratch.h"

namespace candor::cli {

Result<std::string> RunPublishBench(const std::string& model_folder, PublishBenchOptions options) {
  const Scratch scratch("publish");
  CANDOR_TRY(scratch.status());
  options.scratch = scratch.path();
  CANDOR_ASSIGN(const PublishBenchResult r, PublishBench(model_folder, options));
  nlohmann::ordered_json json = {{"name", "publish"},
                                 {"lr", options.lr},
                                 {"full_bytes", r.full_bytes},
                                 {"delta_bytes", r.delta_bytes},
                                 {"delta_over_full", static_cast<double>(r.delta_bytes) / static_cast<double>(r.full_bytes)},
                                 {"changed_values_share", r.changed_share},
                                 {"full_publish_seconds", r.full_publish_seconds},
                                 {"delta_publish_seconds", r.delta_publish_seconds},
                                 {"delta_encode_seconds", r.encode_seconds},
                                 {"delta_apply_seconds", r.apply_seconds},
                                 {"plain_tcp_gb_s", r.plain_tcp_gb_s},
                                 {"full_broadcast_gb_s", r.full_broadcast_gb_s},
                                 {"full_broadcast_over_plain_tcp", r.full_broadcast_gb_s / r.plain_tcp_gb_s}};
  for (const auto& [receivers, broadcast] : r.by_receivers) {
    json[fmt::format("egress_over_full_{}", receivers)] = broadcast.full_egress;
    json[fmt::format("egress_over_delta_{}", receivers)] = broadcast.delta_egress;
    json[fmt::format("full_seconds_{}", receivers)] = broadcast.full_seconds;
    json[fmt::format("delta_seconds_{}", receivers)] = broadcast.delta_seconds;
  }
  return json.dump();
}

}  // namespace candor::cli
