// Chat templates print byte for byte what transformers' Jinja2 prints, with the same assistant spans, and refuse what it refuses; and the
// check can fail.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "parity_lines.h"
#include "text/chat_template.h"

namespace candor {
namespace {

using Json = nlohmann::ordered_json;
using text_test::Golden;
using text_test::ReadAll;

struct Outcome {
  int equal = 0;
  int both_refuse = 0;
  int different = 0;
  std::string first_difference;
};

std::string Show(const Json& test_case) {
  return test_case["template"].get<std::string>() + "/" + test_case["chat"].get<std::string>() +
         " prompt=" + test_case["add_generation_prompt"].dump() + " extra=" + test_case["extra"].dump();
}

std::string Around(const std::string& text, size_t at) {
  return Json(text.substr(at < 60 ? 0 : at - 60, 120)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// "" where the render is the reference's.
std::string Compare(const Result<RenderedChat>& got, const Json& want) {
  if (want.contains("error")) return got ? "rendered what the reference refuses: " + want["error"].get<std::string>() : "";
  if (!got) return got.error().Message();
  const std::string text = want["text"];
  if (got->text != text) {
    const size_t at = static_cast<size_t>(std::mismatch(text.begin(), text.end(), got->text.begin(), got->text.end()).first - text.begin());
    return "text differs at byte " + std::to_string(at) + "\n want " + Around(text, at) + "\n got  " + Around(got->text, at);
  }
  std::vector<ByteRange> spans;
  for (const Json& span : want["spans"]) spans.push_back({span[0].get<int64_t>(), span[1].get<int64_t>()});
  return got->assistant == spans ? "" : "assistant spans differ";
}

Outcome RunCases(const std::function<std::string(std::string)>& change_source) {
  const Json golden = Json::parse(ReadAll(Golden("template_cases.json")));
  Outcome outcome;
  for (const Json& test_case : golden["cases"]) {
    const std::string name = test_case["template"];
    const auto made =
        ChatTemplate::FromSource(change_source(ReadAll(Golden("templates/" + name + ".jinja"))), name, golden["special"].dump());
    RenderOptions options;
    options.add_generation_prompt = test_case["add_generation_prompt"];
    options.extra_json = test_case["extra"].dump();
    options.now_unix_s = golden["now_unix_s"].get<int64_t>();
    if (test_case["chat"] == "tool") options.tools_json = golden["tools"].dump();
    const std::string messages = golden["chats"][test_case["chat"].get<std::string>()].dump();
    const auto got = made ? made->Render(messages, options) : Result<RenderedChat>(Fail(made.error()));
    const std::string difference = Compare(got, test_case);
    if (difference.empty()) {
      ++(test_case.contains("error") ? outcome.both_refuse : outcome.equal);
    } else {
      ++outcome.different;
      if (outcome.first_difference.size() < 4000) outcome.first_difference += Show(test_case) + ": " + difference + "\n";
    }
  }
  return outcome;
}

TEST(TemplateParity, EqualsJinja2) {
  const Outcome outcome = RunCases([](std::string source) { return source; });
  EXPECT_EQ(outcome.different, 0) << outcome.first_difference;
  EXPECT_GE(outcome.equal, 100);
  EXPECT_GE(outcome.both_refuse, 1);
  std::printf("%d equal, %d both refuse, %d different\n", outcome.equal, outcome.both_refuse, outcome.different);
}

// Negative control: templates whose trim marks are dropped print other white space.
TEST(TemplateParity, NoticesDroppedTrimMarks) {
  const Outcome outcome = RunCases([](std::string source) {
    for (size_t at = 0; (at = source.find("{%-", at)) != std::string::npos;) source.erase(at + 2, 1);
    return source;
  });
  EXPECT_GT(outcome.different, 50);
}

}  // namespace
}  // namespace candor
