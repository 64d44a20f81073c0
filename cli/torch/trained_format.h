// A policy folder tells in confidence.json how its confidence is read; a recipe tells it in [format]. From one to the other.
#pragma once
#include <optional>
#include <string>

#include "model/policy_folder.h"
#include "text/data_options.h"

namespace candor::cli {

// The format that the policy was trained to write: what an exported folder is asked with when no recipe says otherwise.
FormatOptions FormatOfSpec(const ConfidenceSpec& spec);
// Which tokens the slot compares, what comes before it, and the system prompt that asked for the format; nullopt without a slot. `folder`
// has the tokenizer.
Result<std::optional<ConfidenceSpec>> SpecOfFormat(const FormatOptions& format, const std::string& folder);

}  // namespace candor::cli
