// Option tables of the data and format sections of a recipe.
#include "text/data_options.h"

namespace candor {

void Declare(OptionTable& table, DataOptions& options) {
  table.Section("data", "which rows train, and where their parts are");
  table.TableList<DataFile>(
      "train", &options.train,
      [](OptionTable& element, DataFile& file) {
        element.String("path", &file.path, {.help = "a .jsonl file, or a folder of them", .required = true});
        element.Double(
            "weight", &file.weight,
            {.min = 1e-6, .max = 1e6, .unit = "times", .help = "how often each row occurs in one pass; 0.5 takes every other row"});
      },
      {.help = "files of training rows, interleaved by weight"});
  table.String("prompt_field", &options.fields.prompt,
               {.help = "field with the prompt, text or messages; dots reach into objects; empty: prompt or messages"});
  table.String("answer_field", &options.fields.answer,
               {.help = "field with the accepted answer or answers; empty: answer or reward_model.ground_truth"});
  table.String("completion_field", &options.fields.completion,
               {.help = "field with the reference reply of supervised rows; empty: completion"});
  table.String("id_field", &options.fields.id, {.help = "field with the row's name; empty: id"});
  table.String("slice_field", &options.fields.slice,
               {.help = "field with the slice or slices results are also reported for; empty: slice"});
}

void Declare(OptionTable& table, FormatOptions& options) {
  table.Section("format", "what the policy is asked to write");
  table.StringList("tags", &options.tags,
                   {.help = "tags in order, of think, answer, analysis, confidence; an empty list grades the whole reply"});
  table.String("confidence", &options.confidence,
               {.help = "verbal: a number inside <confidence>; slot: read from two tokens; none", .choices = {"verbal", "slot", "none"}});
  table.String("system_prompt", &options.system_prompt,
               {.help = "auto: instructions made from the tags; empty: none; else the text itself"});
  table.String("system_role", &options.system_role,
               {.help = "user: put the system prompt before the first question, for templates without a system role",
                .choices = {"system", "user"}});
  table.String("prompt_template", &options.prompt_template, {.help = "the user's turn; {prompt} stands for the row's prompt"});
  table.String("slot_high", &options.slot_high, {.help = "token that says the answer is more likely right than wrong (confidence = slot)"});
  table.String("slot_low", &options.slot_low, {.help = "token that says the opposite"});
}

}  // namespace candor
