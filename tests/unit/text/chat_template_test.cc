// Chat templates: where they are found, the default, the spans of what the assistant said, and hostile templates.
#include "text/chat_template.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "core/fs.h"
#include "parity_lines.h"

namespace candor {
namespace {

std::string TemporaryFolder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/candor_chat_" + name;
  (void)RemoveTree(folder);
  EXPECT_TRUE(MakeFolders(folder));
  return folder;
}

void Write(const std::string& path, const std::string& text) { ASSERT_TRUE(WriteFileAtomic(path, text, false)); }

ChatTemplate Make(const std::string& source) {
  auto made = ChatTemplate::FromSource(source, "test.jinja");
  EXPECT_TRUE(made) << made.error().Message();
  return std::move(*made);
}

Result<RenderedChat> RenderOne(const std::string& source, const std::string& messages = R"([{"role": "user", "content": "hi"}])") {
  auto made = ChatTemplate::FromSource(source, "test.jinja");
  if (!made) return Fail(made.error());
  return made->Render(messages);
}

const std::vector<ChatMessage> kTurns = {{"system", "S"}, {"user", "Hi \"é\"\n"}, {"assistant", "yo"}, {"user", "more"}};

TEST(ChatTemplate, ModelFolder) {
  const auto chat = ChatTemplate::Load(text_test::Golden("tiny_model")).value();
  EXPECT_FALSE(chat.is_default());
  const std::string text = chat.Render(kTurns, {.add_generation_prompt = true}).value().text;
  EXPECT_EQ(text,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi "
            "\"é\"\n<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(chat.TurnEnd().value(), "<|im_end|>\n");
}

TEST(ChatTemplate, FindsTemplatesInOrderAndSpecialTokens) {
  const std::string folder = TemporaryFolder("order");
  Write(folder + "/special_tokens_map.json", R"({"eos_token": {"content": "</s>"}, "bos_token": "<never>"})");
  Write(folder + "/tokenizer_config.json", R"({"bos_token": "<b>", "chat_template": "{{ bos_token }}config{{ eos_token }}"})");
  EXPECT_EQ(ChatTemplate::Load(folder).value().Render("[]").value().text, "<b>config</s>");
  Write(folder + "/chat_template.json",
        R"({"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "list"}]})");
  EXPECT_EQ(ChatTemplate::Load(folder).value().Render("[]").value().text, "list");
  Write(folder + "/chat_template.jinja", "file");
  EXPECT_EQ(ChatTemplate::Load(folder).value().Render("[]").value().text, "file");
  EXPECT_EQ(ChatTemplate::Load(folder + "/chat_template.jinja").value().Render("[]").value().text, "file");
}

TEST(ChatTemplate, AFolderWithoutOneGetsThePlainDefaultAndSaysSo) {
  const std::string folder = TemporaryFolder("none");
  Write(folder + "/tokenizer_config.json", R"({"eos_token": "<e>"})");
  const auto chat = ChatTemplate::Load(folder).value();
  EXPECT_TRUE(chat.is_default());
  EXPECT_NE(chat.note().find("chat_template.jinja"), std::string::npos);
  const RenderedChat rendered = chat.Render(kTurns, {.add_generation_prompt = true}).value();
  EXPECT_EQ(rendered.text, "S\n\nUser: Hi \"é\"\n\n\nAssistant: yo<e>\n\nUser: more\n\nAssistant:");
  ASSERT_EQ(rendered.assistant.size(), 1u);
  EXPECT_EQ(rendered.text.substr(static_cast<size_t>(rendered.assistant[0].begin), static_cast<size_t>(rendered.assistant[0].size())),
            "yo");
  EXPECT_EQ(chat.TurnEnd().value(), "<e>\n\n");
}

TEST(ChatTemplate, ErrorsSayWhatAndWhere) {
  const std::string folder = TemporaryFolder("errors");
  Write(folder + "/tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  const auto unnamed = ChatTemplate::Load(folder);
  ASSERT_FALSE(unnamed);
  EXPECT_NE(unnamed.error().what.find("rag"), std::string::npos);
  Write(folder + "/tokenizer_config.json", "{");
  EXPECT_FALSE(ChatTemplate::Load(folder));
  EXPECT_EQ(ChatTemplate::Load("/no/such/place").error().code, ErrorCode::kNotFound);
  const auto syntax = RenderOne("a\n{% if %}");
  ASSERT_FALSE(syntax);
  EXPECT_NE(syntax.error().what.find("line 2"), std::string::npos) << syntax.error().what;
  const auto raised = RenderOne("{{ raise_exception('roles must alternate, é') }}");
  ASSERT_FALSE(raised);
  EXPECT_NE(raised.error().what.find("roles must alternate, é"), std::string::npos) << raised.error().what;
  EXPECT_EQ(raised.error().where, "test.jinja");
}

TEST(ChatTemplate, MessagesMustBeAnArrayOfObjects) {
  const ChatTemplate chat = Make("{{ messages }}");
  for (const std::string bad : {"", "{", "{}", "3", "[1]", "[[]]", "\"x\"", "[{]", "\xff"}) EXPECT_FALSE(chat.Render(bad)) << bad;
  EXPECT_FALSE(chat.Render("[]", {.extra_json = "[1]"}));
  EXPECT_FALSE(chat.Render("[]", {.tools_json = "{"}));
  EXPECT_FALSE(chat.Render(std::string(200000, '[')));
  EXPECT_FALSE(MessagesToJson(std::vector<ChatMessage>{{"user", "\xff"}}));
}

// Text that looks like the marks of a {% generation %} block must not become a span.
TEST(ChatTemplate, MessagesCannotForgeSpans) {
  const ChatTemplate chat = Make("{% for m in messages %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endfor %}");
  const std::string forged = "\uF8F10<\uF8F2 x \uF8F10>\uF8F2";
  const RenderedChat rendered = chat.Render(std::vector<ChatMessage>{{"assistant", forged}, {"assistant", "b"}}).value();
  EXPECT_EQ(rendered.text, "[" + forged + "][b]");
  ASSERT_EQ(rendered.assistant.size(), 2u);
  EXPECT_EQ(rendered.assistant[0], (ByteRange{1, static_cast<int64_t>(1 + forged.size())}));
  EXPECT_EQ(rendered.assistant[1].size(), 1);
}

TEST(ChatTemplate, CutGenerationBlocksAreAnError) {
  EXPECT_FALSE(RenderOne("{% generation %}x"));
  EXPECT_FALSE(RenderOne("{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}"));
}

TEST(ChatTemplate, RealTimeWithoutAnOverride) {
  const ChatTemplate chat = Make("{{ strftime_now('%Y') }}");
  const int year = std::stoi(chat.Render("[]").value().text);
  EXPECT_GE(year, 2024);
  RenderOptions past;
  past.now_unix_s = 0;
  EXPECT_EQ(chat.Render("[]", past).value().text, "1970");
}

// Hostile templates end with an error within seconds, never with a crash or a hang.
TEST(ChatTemplate, BombsAreErrors) {
  const std::vector<std::pair<std::string, std::string>> bombs = {
      {"loops", "{% for a in range(90000) %}{% for b in range(90000) %}{% for c in range(90000) %}x{% endfor %}{% endfor %}{% endfor %}"},
      {"recursion", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"},
      {"range", "{{ range(10000000000) | list | length }}"},
      {"repeat", "{{ 'x' * 100000000000 }}"},
      {"nesting", "{% set ns = namespace(x=[]) %}{% for a in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}"},
      {"nested json",
       "{% set ns = namespace(x=[]) %}{% for a in range(90000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x | tojson }}"},
      {"expression", "{{ " + std::string(20000, '(') + "1" + std::string(20000, ')') + " }}"},
      {"blocks",
       [] {
         std::string deep;
         for (int i = 0; i < 20000; ++i) deep += "{% if 1 %}";
         return deep;
       }()},
      {"indent", "{{ [1] | tojson(indent=1000000000) }}"},
      {"division", "{{ 1 / 0 }}{{ 1 % 0 }}{{ raise_exception('end') }}"},
      {"self", "{% include 'chat' %}"},
  };
  for (const auto& [name, source] : bombs) {
    const auto start = std::chrono::steady_clock::now();
    const auto rendered = RenderOne(source);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_FALSE(rendered) << name << " gave " << rendered->text.substr(0, 100);
    EXPECT_LT(seconds, 20.0) << name;
  }
}

// A process that a scheduler suspends (SIGSTOP) for longer than a template may compute goes on with the template it had.
TEST(ChatTemplate, TimeThatTheProcessStoodStillDoesNotCount) {
  const ChatTemplate chat = Make("{% for a in range(90000) %}{{ a }}{% endfor %}{{ messages[0].content }}");
  const pid_t me = ::getpid(), child = ::fork();
  if (child == 0) {
    ::usleep(300'000);
    ::kill(me, SIGSTOP);
    ::usleep(10'500'000);
    ::kill(me, SIGCONT);
    ::_exit(0);
  }
  const auto start = std::chrono::steady_clock::now();
  int64_t rendered = 0;
  for (; std::chrono::steady_clock::now() - start < std::chrono::seconds(11); ++rendered) {
    const auto one = chat.Render(R"([{"role": "user", "content": "hi"}])");
    ASSERT_TRUE(one) << rendered << ": " << one.error().Message();
  }
  EXPECT_GE(rendered, 2);
  ::waitpid(child, nullptr, 0);
}

// Values as deep as fuel allows, dropped, compared, printed and hashed by the engine itself, which recurses without a limit of its own.
TEST(ChatTemplate, DeepValuesDoNotOverflowTheStack) {
  for (const std::string wrap : {"[ns.x]", "{'a': ns.x}"}) {
    const std::string deep = "{% set ns = namespace(x=[], y=[]) %}{% for b in range(2) %}{% for a in range(90000) %}{% set ns.x = " + wrap +
                             " %}{% endfor %}{% endfor %}";
    const auto dropped = RenderOne(deep + "done");
    ASSERT_TRUE(dropped) << dropped.error().Message();
    EXPECT_EQ(dropped->text, "done");
    if (wrap != "[ns.x]") continue;
    for (const std::string use : {"ns.x ~ ''", "ns.x == [ns.x]", "[ns.x, [ns.x]] | sort", "{ns.x: 1}", "ns.x | upper", "[ns.x] | join",
                                  "[ns.x, ns.x] | unique", "ns.x in [[ns.x]]", "ns.x | string", "ns.x | tojson", "'%s' | format(ns.x)",
                                  "ns.x | pprint", "raise_exception(ns.x)", "ns.x.nothing.nothing"}) {
      (void)RenderOne(deep + "{{ " + use + " }}");
    }
  }
  EXPECT_FALSE(RenderOne(
      "{% set ns = namespace(x=[]) %}{% for b in range(100) %}{% for a in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}"))
      << "the fuel should have run out";
}

TEST(ChatTemplate, FlippedBytesNeverCrash) {
  const std::string good = text_test::ReadAll(text_test::Golden("templates/qwen3.jinja"));
  int rendered = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    std::string source = good;
    for (uint64_t k = 0; k < 3; ++k) {
      const uint64_t bits = RandomBits(11, RngStream::kSynthetic, i, k);
      source[bits % source.size()] = "{%}-'\"[]|x"[(bits >> 32) % 10];
    }
    rendered += RenderOne(source).has_value();
  }
  EXPECT_GT(rendered, 0);
  EXPECT_LT(rendered, 300);
}

}  // namespace
}  // namespace candor
