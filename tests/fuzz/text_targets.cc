// Text of strangers: rows, recipes, what a policy wrote, what a verifier answered, tokenizers, templates, model configurations.
#include "calibration/rows.h"
#include "cli/recipe.h"
#include "core/channel_expression.h"
#include "model/config.h"
#include "reward/verifiers/json_protocol.h"
#include "tests/fuzz/targets.h"
#include "text/chat_template.h"
#include "text/rows.h"
#include "text/tags.h"

namespace candor::fuzz {

namespace {

void Refused(const Error& error) { Promise(!error.what.empty(), "a refusal says why"); }

void RunRow(std::string_view bytes) {
  Result<DataRow> row = ParseRow(bytes, "rows.jsonl:1", {}, {});
  if (!row) return Refused(row.error());
  Promise(!row->id.empty(), "a row has an id");
}
std::vector<std::string> RowSeeds() {
  return {R"({"prompt": "Which country is Lyon in?", "answer": ["France", 4], "id": "q1", "slice": ["geo", "eu"]})",
          R"({"prompt": [{"role": "user", "content": "2+2"}], "reward_model": {"ground_truth": "4"}, "data_source": "math"})",
          R"({"messages": [{"role": "system", "content": "be brief"}, {"role": "assistant", "content": [{"type": "text", "text": "é"}]}]})",
          R"({"prompt": "p", "completion": "c", "x": {"y": [1e308, -0.0, null, true, "\ud83d\ude00"]}})"};
}

void RunCalibrationRows(std::string_view bytes) {
  int64_t unknown = 0;
  Result<std::vector<calibration::Row>> rows = calibration::ParseRows(bytes, "rows.jsonl", &unknown);
  if (!rows) return Refused(rows.error());
  for (const calibration::Row& row : *rows) {
    Promise(0.0 <= row.label && row.label <= 1.0, "a label lies in [0, 1]");
    if (row.confidence) Promise(0.0 <= row.confidence->value() && row.confidence->value() <= 1.0, "a confidence lies in [0, 1]");
  }
}
std::vector<std::string> CalibrationRowSeeds() {
  return {"{\"confidence\": 0.8, \"correct\": true, \"slice\": \"geo\", \"prompt\": \"q17\"}\n{\"confidence\": null, \"correct\": 0.5}\n",
          "{\"correct\": false, \"slice\": [\"a\", 3]}\n\n{\"label\": \"unknown\"}\n"};
}

void RunRecipe(std::string_view bytes) {
  RecipeSource source;
  if (Status added = source.AddText(bytes, "recipe.toml"); !added) return Refused(added.error());
  cli::Recipe recipe;
  OptionTable table;
  cli::Declare(table, recipe);
  if (Status bound = source.Bind(table); !bound) return Refused(bound.error());
  const std::string text = cli::ResolvedText(recipe);
  RecipeSource again;
  Promise(again.AddText(text, "resolved.toml").has_value(), "a resolved recipe is a recipe");
  cli::Recipe second;
  OptionTable second_table;
  cli::Declare(second_table, second);
  Promise(again.Bind(second_table).has_value() && cli::ResolvedText(second) == text, "a resolved recipe resolves to itself");
}
std::vector<std::string> RecipeSeeds() {
  return {
      "[run]\nname = \"a\"\nmodel = \"m\"\nseed = 3\n[data]\n[[data.train]]\npath = \"p\"\nweight = 0.5\n",
      "[[objective]]\nchannel = \"accuracy + brier\"\nsegment = \"all\"\nweight = 1.0\n[[verifier]]\nname = \"v\"\nkind = \"numeric\"\n",
      "reward.threads = 4\nformat.tags = ['think', \"answer\"]\n[coordinator]\nlisten = '''tcp://127.0.0.1:0'''\nstaleness = 0x1\n",
      "[trainer]\nlr = 1e-5\nsteps = 1_000\n# comment\n[[eval]]\nname = \"e\"\npath = \"x\"\n",
      "\xc3\x9bsk = 1\nname = \"a\" \xc3\xa9\n"};  // letters outside strings once led toml++ to code that is not there
}

void RunTags(std::string_view bytes) {
  const std::vector<std::string> all = {"think", "answer", "analysis", "confidence"}, few = {"think", "answer"};
  static const TagFormat verbal = *TagFormat::From(all, "verbal"), slot = *TagFormat::From(few, "slot"),
                         none = *TagFormat::From({}, "none");
  const std::vector<int64_t> ends = {static_cast<int64_t>(bytes.size() / 2), static_cast<int64_t>(bytes.size())};
  for (const TagFormat* format : {&verbal, &slot, &none}) {
    const ParsedTags parsed = ParseTags(*format, bytes);
    Promise(parsed.valid == parsed.error.empty(), "an invalid text has a reason, a valid one has none");
    if (format == &verbal) Promise(parsed.valid == parsed.confidence.has_value(), "a verbal text is valid exactly with a confidence");
    for (const TagPart& part : parsed.parts)
      Promise(part.outer.begin <= part.inner.begin && part.inner.begin <= part.inner.end && part.inner.end <= part.outer.end &&
                  part.outer.end <= static_cast<int64_t>(bytes.size()),
              "parts lie inside the text");
    Promise(TokenSegments(*format, parsed, ends).size() == ends.size(), "each token has a segment");
  }
  if (Result<Confidence> p = ParseConfidence(bytes)) Promise(0.0 <= p->value() && p->value() <= 1.0, "a confidence lies in [0, 1]");
}
std::vector<std::string> TagSeeds() {
  return {"<think>hm</think><answer>France</answer><analysis>a</analysis><confidence>0.85</confidence>",
          "<think>x</think> <answer>4</answer>",
          "<answer>1</answer><answer>2</answer>",
          "85%",
          "1e-3",
          "\n<confidence>",
          "<think><answer></think></answer><confidence>nan</confidence>"};
}

void RunChannelExpression(std::string_view bytes) {
  Result<ChannelExpression> parsed = ChannelExpression::Parse(bytes);
  if (!parsed) return Refused(parsed.error());
}
std::vector<std::string> ChannelSeeds() { return {"accuracy + brier", "0.5*format + 0.5*accuracy - -(a/b_c.d)", "rlcr_code", "((1e3))*x"}; }

void RunVerifierReply(std::string_view bytes) {
  Result<Verdict> verdict = DecodeGradeReply(bytes, "1/0#1");
  if (!verdict) return Refused(verdict.error());
  Promise(0.0 <= verdict->soft_label && verdict->soft_label <= 1.0, "a soft label lies in [0, 1]");
  Promise(verdict->rewards.size() <= kMaxRewards, "rewards are bounded");
}
std::vector<std::string> VerifierSeeds() {
  return {R"({"id": "1/0#1", "label": "correct", "rewards": {"length": 0.5, "b": true}, "reason": "because"})",
          R"({"id": "1/0#1", "label": 0.25})", R"({"id": "1/0#1", "rewards": {"x": 1}})", R"({"id": "other", "label": "wrong"})"};
}

void RunTokenizer(std::string_view bytes) {
  Result<Tokenizer> tokenizer = Tokenizer::FromJson(bytes, "tokenizer.json");
  if (!tokenizer) return Refused(tokenizer.error());
  Result<std::vector<int32_t>> ids = tokenizer->Encode("ab a\xc3\xa9 12", true);
  if (ids) (void)tokenizer->Decode(*ids, true);
  DecodeStream stream = tokenizer->MakeDecodeStream(false);
  for (int32_t id = -1; id < 4; ++id) (void)stream.Push(id);
}
std::vector<std::string> TokenizerSeeds() {
  return {
      R"({"version":"1.0","added_tokens":[{"id":3,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":null,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})",
      R"({"version":"1.0","added_tokens":[],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\d|\\s+"},"behavior":"Isolated","invert":false},"model":{"type":"WordLevel","vocab":{"a":0,"[UNK]":1},"unk_token":"[UNK]"}})"};
}

void RunTemplate(std::string_view bytes) {
  Result<ChatTemplate> made = ChatTemplate::FromSource(std::string(bytes), "chat_template.jinja", R"({"bos_token": "<s>"})");
  if (!made) return Refused(made.error());
  Result<RenderedChat> chat = made->Render(std::string_view(R"([{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}])"));
  if (!chat) return Refused(chat.error());
  for (const ByteRange& part : chat->assistant)
    Promise(0 <= part.begin && part.begin <= part.end && part.end <= static_cast<int64_t>(chat->text.size()), "spans lie inside the text");
}
std::vector<std::string> TemplateSeeds() {
  return {ChatTemplate::DefaultSource(),
          "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m.content | trim + '<|im_end|>' }}{% endfor %}",
          "{%- macro f(x) -%}{{ x }}{%- endmacro -%}{% generation %}{{ f(messages[1].content) }}{% endgeneration %}",
          "{% set ns = namespace(a=0) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ raise_exception('no') }}"};
}

void RunMessages(std::string_view bytes) {
  static const ChatTemplate plain = *ChatTemplate::FromSource(TemplateSeeds()[1], "template");
  Result<RenderedChat> chat = plain.Render(bytes);
  if (!chat) return Refused(chat.error());
}
std::vector<std::string> MessageJsonSeeds() {
  return {R"([{"role":"user","content":"hi"}])",
          R"([{"role":"tool","content":null,"tool_calls":[{"function":{"arguments":{"a":[1,2]}}}]}])"};
}

void RunModelConfig(std::string_view bytes) {
  const size_t half = bytes.find('\n');
  Result<ModelConfig> config =
      ParseModelConfig(std::string(bytes.substr(0, half)), half == bytes.npos ? "" : std::string(bytes.substr(half + 1)), "config.json");
  if (!config) return Refused(config.error());
  Promise(config->num_heads > 0 && config->hidden_size > 0 && config->vocab_size > 0 && config->head_dim % 16 == 0, "sizes are sizes");
  Promise(ParseModelConfig(ConfigJson(*config, "float32"), "", "again").has_value(), "a config can be written and read again");
}
std::vector<std::string> ModelConfigSeeds() {
  return {
      R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu","vocab_size":64,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":128,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true,"eos_token_id":[1,2]})",
      R"({"model_type":"qwen3","hidden_act":"silu","vocab_size":64,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":4,"head_dim":16,"max_position_embeddings":128,"rms_norm_eps":1e-6})"
      "\n{\"eos_token_id\": 3, \"pad_token_id\": 0}"};
}

}  // namespace

std::vector<Target> TextTargets() {
  return {{"data_row", RunRow, RowSeeds, 30000},
          {"calibration_rows", RunCalibrationRows, CalibrationRowSeeds, 30000},
          {"recipe_toml", RunRecipe, RecipeSeeds, 6000},
          {"trace_tags", RunTags, TagSeeds, 30000},
          {"channel_expression", RunChannelExpression, ChannelSeeds, 30000},
          {"verifier_reply", RunVerifierReply, VerifierSeeds, 30000},
          {"tokenizer_json", RunTokenizer, TokenizerSeeds, 6000},
          {"chat_template", RunTemplate, TemplateSeeds, 6000},
          {"chat_messages", RunMessages, MessageJsonSeeds, 10000},
          {"model_config", RunModelConfig, ModelConfigSeeds, 30000}};
}

}  // namespace candor::fuzz
