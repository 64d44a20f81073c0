// `candor export MODEL OUT`: writes a policy as a folder that Hugging Face transformers loads, with a model card and, where the policy has
// a confidence slot, confidence.json and a script that reads it.
#include <cmath>
#include <cstdio>

#include "cli/command_line.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "cli/torch/trained_format.h"
#include "core/fs.h"
#include "model/dtype.h"
#include "model/policy_folder.h"
#include "text/chat_template.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

constexpr const char* kExportExamples = R"(Examples:
  candor export runs/cities exported/cities                       the trained policy of a run
  candor export runs/cities out --dtype fp32 --shard-gb 2
  candor export runs/cities out --recalibration 1.3 -0.2          stores sigmoid(a x + b) of the confidence's logit x
  candor export models/SmolLM2-135M-Instruct copy --dtype bf16)";

struct ExportArguments {
  std::string model, out, dtype = "bf16", name, license, base_model;
  std::vector<std::string> datasets;
  std::vector<double> recalibration;
  double shard_gb = 5.0;
};

Status Export(const ExportArguments& arguments) {
  CANDOR_TRY(PrepareOutput(arguments.out));
  CANDOR_ASSIGN(const std::string folder, ModelFolderOf(arguments.model));
  CANDOR_ASSIGN(const DType dtype, ParseDType(arguments.dtype));
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(folder));
  PolicyFolderOptions options;
  options.tokenizer_folder = folder;
  options.shard_bytes = static_cast<int64_t>(arguments.shard_gb * 1e9);
  CANDOR_ASSIGN(options.confidence, ReadConfidenceSpec(folder));
  options.card = {arguments.name, arguments.base_model, arguments.license, arguments.datasets, {}, ""};
  if (FileExists(RunDir{arguments.model}.Resolved())) {
    CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(arguments.model));
    CANDOR_ASSIGN(std::optional<ConfidenceSpec> spec, SpecOfFormat(recipe.format, folder));  // knows the system prompt as well
    if (spec && options.confidence) spec->recalibration = options.confidence->recalibration;
    if (spec) options.confidence = std::move(spec);
    if (options.card.base_model.empty()) options.card.base_model = recipe.run.model;
    if (options.card.name.empty()) options.card.name = recipe.run.name;
    CANDOR_ASSIGN(options.card.recipe_toml, ReadFile(RunDir{arguments.model}.Resolved()));
  }
  if (options.card.name.empty()) options.card.name = arguments.out;
  if (!arguments.recalibration.empty()) {
    if (!options.confidence)
      return Fail(ErrorCode::kInvalidInput, "there is no confidence slot to recalibrate", arguments.model, "leave --recalibration out");
    if (!std::isfinite(arguments.recalibration[0]) || !std::isfinite(arguments.recalibration[1]))
      return Fail(ErrorCode::kInvalidInput, "--recalibration holds what is no number", "", "give the a and b of a fit");
    options.confidence->recalibration = ConfidenceSpec::Recalibration{arguments.recalibration[0], arguments.recalibration[1]};
  }
  CANDOR_ASSIGN(const Parameters parameters, LoadParameters(folder, config, ToScalarType(dtype)));
  CANDOR_TRY(WritePolicyFolder(arguments.out, config, parameters, options));
  std::printf("%s: %s of %ld parameters in %s%s\n", arguments.out.c_str(), Name(config.family), static_cast<long>(CountParameters(config)),
              Name(dtype), options.confidence ? ", with confidence.json and read_confidence.py" : "");
  return {};
}

}  // namespace

int RunExport(int argc, const char* const* argv) {
  ExportArguments arguments;
  CommandLine app{"Writes a policy as a Hugging Face folder.", "candor export"};
  app.AddFooter(kExportExamples);
  app.Add("MODEL", &arguments.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("OUT", &arguments.out, "the folder to write; replaced only if Candor wrote it").Required();
  app.Add("--dtype", &arguments.dtype, "number format of the weights").OneOf({"bf16", "fp32"});
  app.Add("--shard-gb", &arguments.shard_gb, "largest weight file, in 10^9 bytes").Range(0.0001, 1e6);
  app.Add("--recalibration", &arguments.recalibration, "a and b of sigmoid(a x + b)").Values(2);
  app.Add("--name", &arguments.name, "title of the model card");
  app.Add("--license", &arguments.license, "licence named in the model card");
  app.Add("--base-model", &arguments.base_model, "base model named in the card (default: the run's)");
  app.Add("--dataset", &arguments.datasets, "data sets named in the card");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("export", Export(arguments));
}

}  // namespace candor::cli
