// Finds, compiles and renders chat templates; see chat_template.h.
#include "text/chat_template.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "text/config_file.h"
#include "text/rust_interface.h"

namespace candor {
namespace {

using text::Data;
using text::RustBytes;
using text::RustIds;
using text::RustStatus;
using Json = nlohmann::ordered_json;
using FileJson = nlohmann::json;

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;  // published templates are below 50 kB

constexpr const char* kDefaultSource = R"({%- for message in messages -%}
{%- if message.role == 'system' -%}{{ message.content }}{{ '\n\n' }}
{%- elif message.role == 'user' -%}User: {{ message.content }}{{ '\n\n' }}
{%- elif message.role == 'assistant' -%}Assistant: {% generation %}{{ message.content }}{% endgeneration %}{{ (eos_token or '') + '\n\n' }}
{%- else -%}{{ raise_exception("the plain default template knows the roles system, user and assistant, not '" + message.role + "'") }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}Assistant:{%- endif -%}
)";

// The tokens that templates may name. transformers gives a template every entry of its special tokens map, as text.
void CollectSpecialTokens(const FileJson& config, FileJson& tokens) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const auto it = config.find(key);
    if (tokens.contains(key) || it == config.end()) continue;
    if (it->is_string()) tokens[key] = *it;
    if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) tokens[key] = (*it)["content"];
  }
}

// "chat_template" of a config: text, or a list of {"name", "template"} of which "default" counts. "" where there is none.
Result<std::string> TemplateOfConfig(const FileJson& config, const std::string& where) {
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return std::string();
  if (it->is_string()) return it->get<std::string>();
  std::string names;
  if (it->is_array()) {
    for (const FileJson& entry : *it) {
      if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
      if (entry["name"] == "default" && entry["template"].is_string()) return entry["template"].get<std::string>();
      names += (names.empty() ? "" : ", ") + entry["name"].dump();
    }
  }
  constexpr size_t kMaxNames = 200;
  if (names.size() > kMaxNames) names = names.substr(0, kMaxNames) + "...";
  return Fail(ErrorCode::kInvalidInput,
              "chat_template has no template named \"default\"" + (names.empty() ? "" : " (it has " + names + ")"), where,
              "write the one to use into chat_template.jinja beside it");
}

CandorBorrowed Borrow(std::string_view text) { return {Data(text), text.size()}; }

std::string ReadableName(const std::string& name) { return name.empty() ? "chat template" : name; }

}  // namespace

struct ChatTemplate::Compiled {
  CandorChat* handle = nullptr;
};

void ChatTemplate::FreeCompiled::operator()(Compiled* compiled) const {
  candor_chat_free(compiled->handle);
  delete compiled;
}

const char* ChatTemplate::DefaultSource() { return kDefaultSource; }

Result<std::string> MessagesToJson(std::span<const ChatMessage> messages_N) {
  Json json = Json::array();
  for (const ChatMessage& message : messages_N) json.push_back({{"role", message.role}, {"content", message.content}});
  try {
    return json.dump();
  } catch (const Json::exception& e) {
    return Fail(ErrorCode::kInvalidInput, std::string("a message is not UTF-8: ") + e.what());
  }
}

Result<ChatTemplate> ChatTemplate::FromSource(std::string source, const std::string& name, const std::string& special_tokens_json) {
  ChatTemplate made;
  made.name_ = ReadableName(name);
  made.source_ = std::move(source);
  made.special_tokens_ = special_tokens_json;
  made.compiled_.reset(new Compiled);
  RustBytes error;
  const int32_t code = candor_chat_new(Data(made.source_), made.source_.size(), &made.compiled_->handle, error.out());
  CANDOR_TRY(RustStatus(code, error, made.name_, "the template is not valid Jinja; restore it from the model's source"));
  return made;
}

Result<ChatTemplate> ChatTemplate::Load(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    if (!path.ends_with(".jinja")) {
      return Fail(ErrorCode::kNotFound, "neither a model folder nor a .jinja file", path, "name a folder in Hugging Face's layout");
    }
    CANDOR_ASSIGN(std::string source, ReadFile(path, kMaxTemplateBytes));
    return FromSource(std::move(source), path);
  }
  const std::string config_file = path + "/tokenizer_config.json";
  CANDOR_ASSIGN(const FileJson config, ReadOptionalObject<FileJson>(config_file));
  CANDOR_ASSIGN(const FileJson token_map, ReadOptionalObject<FileJson>(path + "/special_tokens_map.json"));
  FileJson tokens = FileJson::object();
  CollectSpecialTokens(config, tokens);
  CollectSpecialTokens(token_map, tokens);

  std::string name = path + "/chat_template.jinja";
  std::string source;
  if (FileExists(name)) {
    CANDOR_ASSIGN(source, ReadFile(name, kMaxTemplateBytes));
    return FromSource(std::move(source), name, tokens.dump());
  }
  name = path + "/chat_template.json";
  CANDOR_ASSIGN(const FileJson processor, ReadOptionalObject<FileJson>(name));
  CANDOR_ASSIGN(source, TemplateOfConfig(processor, name));
  if (source.empty()) {
    name = config_file;
    CANDOR_ASSIGN(source, TemplateOfConfig(config, name));
  }
  if (!source.empty()) return FromSource(std::move(source), name, tokens.dump());

  CANDOR_ASSIGN(ChatTemplate made, FromSource(kDefaultSource, "the plain default template", tokens.dump()));
  made.is_default_ = true;
  made.note_ = path +
               " has no chat template; prompts are written as \"User: ...\\n\\nAssistant:\". If the model was trained on another form, put "
               "it into " +
               path + "/chat_template.jinja";
  return made;
}

Result<RenderedChat> ChatTemplate::Render(std::string_view messages_json, const RenderOptions& options) const {
  CandorChatRequest request{};
  request.messages = Borrow(messages_json);
  request.special_tokens = Borrow(special_tokens_);
  request.tools = Borrow(options.tools_json);
  request.extra = Borrow(options.extra_json);
  request.add_generation_prompt = options.add_generation_prompt ? 1 : 0;
  request.has_now = options.now_unix_s.has_value() ? 1 : 0;
  request.now_unix_s = options.now_unix_s.value_or(0);
  RustBytes out;
  RustIds spans;
  RustBytes error;
  const int32_t code = candor_chat_render(compiled_->handle, &request, out.out(), spans.out(), error.out());
  CANDOR_TRY(RustStatus(code, error, name_));
  RenderedChat chat;
  chat.text = out.str();
  for (size_t i = 0; i + 1 < spans.size(); i += 2) {
    chat.assistant.push_back({static_cast<int64_t>(spans[i]), static_cast<int64_t>(spans[i + 1])});
  }
  return chat;
}

Result<RenderedChat> ChatTemplate::Render(std::span<const ChatMessage> messages_N, const RenderOptions& options) const {
  CANDOR_ASSIGN(const std::string json, MessagesToJson(messages_N));
  return Render(json, options);
}

Result<std::string> ChatTemplate::TurnEnd() const {
  // Text that no template changes or looks for.
  constexpr std::string_view kProbe = "Qx7candorprobe7xQ";
  const ChatMessage messages_N[] = {{"user", "Hello"}, {"assistant", std::string(kProbe)}};
  CANDOR_ASSIGN(const RenderedChat chat, Render(std::span<const ChatMessage>(messages_N)));
  const size_t at = chat.text.rfind(kProbe);
  if (at == std::string::npos) {
    return Fail(ErrorCode::kInvalidInput, "the template does not print what the assistant says", name_,
                "check the chat template of the model");
  }
  return chat.text.substr(at + kProbe.size());
}

}  // namespace candor
