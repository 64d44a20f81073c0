// `candor export MODEL OUT`: writes a policy as a folder that Hugging Face transformers loads, with a model card and, where the policy has
// a confidence slot, confidence.json and a script that reads it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "core/fs.h"
#include "model/dtype.h"
#include "model/policy_folder.h"
#include "text/chat_template.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
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

// From the recipe of a run: which tokens the slot compares, what comes before it, and the system prompt that asked for the format.
Result<std::optional<ConfidenceSpec>> SpecOfRecipe(const FormatOptions& format, const std::string& folder) {
  if (format.confidence != "slot") return std::nullopt;
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(const ChatTemplate chat_template, ChatTemplate::Load(folder));
  CANDOR_ASSIGN(const PromptBuilder prompts, PromptBuilder::Make(&tokenizer, &chat_template, format));
  ConfidenceSpec spec;
  spec.high_id = prompts.slot().high;
  spec.low_id = prompts.slot().low;
  spec.high_token = format.slot_high;
  spec.low_token = format.slot_low;
  spec.after = std::string(kSlotPrefix);
  spec.reply_end.clear();
  for (const PolicyTag tag : prompts.format().tags) {
    if (tag != PolicyTag::kConfidence) spec.reply_end = std::string(CloseTag(tag));  // the last tag that the policy writes itself
  }
  spec.system_prompt = prompts.system_prompt();
  return spec;
}

Status Export(const ExportArguments& arguments) {
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
    CANDOR_ASSIGN(std::optional<ConfidenceSpec> spec, SpecOfRecipe(recipe.format, folder));  // knows the system prompt as well
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
  CLI::App app{"Writes a policy as a Hugging Face folder.", "candor export"};
  app.footer(kExamples);
  app.add_option("MODEL", arguments.model, "Hugging Face folder, or the folder of a run")->required();
  app.add_option("OUT", arguments.out, "the folder to write; replaced only if Candor wrote it")->required();
  app.add_option("--dtype", arguments.dtype, "number format of the weights")->check(CLI::IsMember({"bf16", "fp32"}));
  app.add_option("--shard-gb", arguments.shard_gb, "largest weight file, in 10^9 bytes")->check(CLI::Range(0.0001, 1e6));
  app.add_option("--recalibration", arguments.recalibration, "a and b of sigmoid(a x + b)")->expected(2);
  app.add_option("--name", arguments.name, "title of the model card");
  app.add_option("--license", arguments.license, "licence named in the model card");
  app.add_option("--base-model", arguments.base_model, "base model named in the card (default: the run's)");
  app.add_option("--dataset", arguments.datasets, "data sets named in the card");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  const Status status = Export(arguments);
  if (status) return static_cast<int>(ExitCode::kOk);
  std::fprintf(stderr, "candor export: %s\n", status.error().Message().c_str());
  return static_cast<int>(ExitCodeOf(status.error().code));
}

}  // namespace candor::cli
