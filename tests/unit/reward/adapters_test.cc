// The adapters for other libraries' reward functions, run as a user would, and the HTTP verifier against a server of a dozen lines.
#include <sys/wait.h>

#include <thread>

#include "reward/verifiers/command_verifier.h"
#include "tests/unit/reward/python_server.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::Ask;
using testing::Row;
using testing::TempFolder;

std::unique_ptr<Verifier> Make(std::vector<std::string> command) {
  VerifierOptions options;
  options.name = "theirs";
  options.command = std::move(command);
  options.timeout_s = 5;
  Result<std::unique_ptr<Verifier>> verifier = MakeVerifier(options);
  EXPECT_TRUE(verifier.has_value()) << (verifier ? "" : verifier.error().Message());
  return std::move(*verifier);
}

std::string Adapter(const std::string& name) {
  ::setenv("CANDOR_ADAPTERS", CANDOR_SOURCE_DIR "/reward/adapters", 1);
  return FindAdapter(name).value_or("");
}

TEST(VerlAdapter, CallsComputeScoreAsVerlDoes) {
  TempFolder folder;
  std::string module = folder.Write("score.py", R"(
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    print("a stray print must not garble the replies")
    if solution_str == "boom": raise ValueError("cannot grade")
    return {"score": 2.0 if solution_str == ground_truth else -1.0, "acc": solution_str == ground_truth, "source": data_source, "len": extra_info["n"]}
def plain(data_source, solution_str, ground_truth, extra_info=None):
    return 0.25
)");
  auto verifier = Make({"python3", "-S", Adapter("verl_compute_score.py"), module + ":compute_score"});
  DataRow row = Row({"42"}, R"({"data_source":"gsm8k","reward_model":{"ground_truth":"42"},"extra_info":{"n":7}})");
  Verdict right = verifier->Grade(Ask(row, "42"));
  EXPECT_EQ(right.label, Label::kCorrect) << right.reason;
  EXPECT_EQ(right.rewards.at("score"), 2.0);
  EXPECT_EQ(right.rewards.at("len"), 7.0);
  EXPECT_EQ(right.rewards.count("source"), 0u);
  EXPECT_EQ(verifier->Grade(Ask(row, "41")).label, Label::kWrong);
  Verdict boom = verifier->Grade(Ask(row, "boom"));
  EXPECT_EQ(boom.label, Label::kUnknown);
  EXPECT_NE(boom.reason.find("cannot grade"), std::string::npos);
  Verdict plain = Make({"python3", "-S", Adapter("verl_compute_score.py"), module + ":plain"})->Grade(Ask(row, "x"));
  EXPECT_EQ(plain.soft_label, 0.25) << plain.reason;
  EXPECT_EQ(plain.label, Label::kWrong);
}

TEST(Adapters, AModuleThatIsNotThereIsNamedByItsException) {
  auto verifier = Make({"python3", "-S", Adapter("verl_compute_score.py"), "no_such_module_of_mine:compute_score"});
  DataRow row = Row({"42"});
  const Verdict verdict = verifier->Grade(Ask(row, "42"));
  EXPECT_EQ(verdict.label, Label::kUnknown);
  EXPECT_NE(verdict.reason.find("stderr ends: ModuleNotFoundError: No module named 'no_such_module_of_mine'"), std::string::npos)
      << verdict.reason;
}

// A grader of one's own on candor_adapter.serve; NumPy's numbers are what this happened with.
TEST(Adapters, WhatIsNoJsonIsUnknownWithItsExceptionAndTheChildLives) {
  TempFolder folder;
  const std::string adapter = Adapter("candor_adapter.py");
  const std::string script = folder.Write("grader.py", R"(
import os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import candor_adapter
seen = []
def grade(request):
    seen.append(request)
    return {"set": {"label": {1, 2}}, "nan": {"label": float("nan")}, "none": None}.get(request["completion"], {"label": len(seen) == 4})
candor_adapter.serve(grade)
)");
  auto verifier = Make({"python3", "-S", script, adapter});
  DataRow row = Row({"42"});
  for (const char* no_json : {"set", "nan", "none"}) {
    const Verdict refused = verifier->Grade(Ask(row, no_json));
    EXPECT_EQ(refused.label, Label::kUnknown);
    EXPECT_NE(refused.reason.find("Error: "), std::string::npos) << no_json << ": " << refused.reason;
  }
  EXPECT_EQ(verifier->Grade(Ask(row, "x")).label, Label::kCorrect) << "the fourth question to one process";
}

TEST(TrlAdapter, PassesListsAndColumnsAndTakesNoneAsUnknown) {
  TempFolder folder;
  std::string module = folder.Write("rewards.py", R"(
def matches(prompts, completions, answer, **kwargs):
    text = completions[0] if isinstance(completions[0], str) else completions[0][0]["content"]
    if text == "skip": return [None]
    return [1.0 if text == answer[0] else 0.0]
async def later(completions, **kwargs):
    return [3.5]
)");
  auto verifier = Make({"python3", "-S", Adapter("trl_reward.py"), module + ":matches"});
  DataRow row = Row({"Paris"}, R"({"prompt":"capital?","answer":"Paris"})");
  EXPECT_EQ(verifier->Grade(Ask(row, "Paris")).label, Label::kCorrect);
  EXPECT_EQ(verifier->Grade(Ask(row, "Paris")).rewards.at("matches"), 1.0);
  EXPECT_EQ(verifier->Grade(Ask(row, "Rome")).label, Label::kWrong);
  EXPECT_EQ(verifier->Grade(Ask(row, "skip")).label, Label::kUnknown);
  DataRow chat = Row({"Paris"}, R"({"prompt":[{"role":"user","content":"capital?"}],"answer":"Paris"})");
  EXPECT_EQ(verifier->Grade(Ask(chat, "Paris")).label, Label::kCorrect);
  EXPECT_EQ(Make({"python3", "-S", Adapter("trl_reward.py"), module + ":later"})->Grade(Ask(row, "x")).rewards.at("later"), 3.5);
}

TEST(MathVerifier, NumbersNeedNoChildAndAMissingPackageIsUnknownWithAdvice) {
  TempFolder folder;
  Adapter("");
  VerifierOptions options;
  options.name = "math";
  options.kind = "math";
  // A Python without site packages has no math-verify for certain.
  options.command = {"python3", "-S", Adapter("math_verify_adapter.py")};
  Result<std::unique_ptr<Verifier>> verifier = MakeVerifier(options);
  ASSERT_TRUE(verifier.has_value());
  DataRow row = Row({"0.5"});
  EXPECT_EQ((*verifier)->Grade(Ask(row, "\\frac{1}{2}")).label, Label::kCorrect);
  Verdict other = (*verifier)->Grade(Ask(row, "x^2"));
  EXPECT_EQ(other.label, Label::kUnknown);
  EXPECT_NE(other.reason.find("pip install math-verify"), std::string::npos) << other.reason;
}

// A child that serves HTTP on a port of its own; its first line of output is the port.
class HttpChild : public testing::PythonServer {
 public:
  explicit HttpChild(const TempFolder& folder)
      : testing::PythonServer(folder, "server.py", R"(
import http.server, json, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_POST(self):
        r = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        a, status, body = r["answer"], 200, {"id": r["id"], "label": "correct", "rewards": {"h": 1}}
        if a == "slow": time.sleep(3)
        if a == "500": status = 500
        if a == "move": status = 302
        data = json.dumps(body).encode()
        if a == "large": data = b"x" * (2 << 20)
        if a == "garbage": data = b"<html>"
        self.send_response(status)
        if a == "move": self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(data))); self.end_headers()
        try: self.wfile.write(data)
        except OSError: pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
open("PORT.tmp", "w").write(str(s.server_port))
import os; os.rename("PORT.tmp", "PORT")
s.serve_forever()
)") {}
};

TEST(HttpVerifier, GradesAndTurnsEveryFailureIntoUnknown) {
  TempFolder folder;
  HttpChild server(folder);
  ASSERT_FALSE(server.port.empty());
  VerifierOptions options;
  options.name = "service";
  options.url = "http://127.0.0.1:" + server.port + "/grade";
  EXPECT_EQ(MakeVerifier(options).error().code, ErrorCode::kInvalidInput) << "loopback must be allowed by name";
  options.allow_hosts = {"127.0.0.1"};
  options.timeout_s = 0.5;
  Result<std::unique_ptr<Verifier>> verifier = MakeVerifier(options);
  ASSERT_TRUE(verifier.has_value());
  DataRow row = Row({"France"});
  EXPECT_EQ((*verifier)->Grade(Ask(row, "France")).rewards["h"], 1.0);
  const std::pair<const char*, const char*> cases[] = {
      {"slow", "no reply"}, {"500", "status 500"}, {"move", "status 302"}, {"large", "larger than"}, {"garbage", "not a JSON object"}};
  for (auto [answer, reason] : cases) {
    Verdict verdict = (*verifier)->Grade(Ask(row, answer));
    EXPECT_EQ(verdict.label, Label::kUnknown) << answer;
    EXPECT_NE(verdict.reason.find(reason), std::string::npos) << answer << ": " << verdict.reason;
  }
  EXPECT_EQ((*verifier)->Grade(Ask(row, "France")).label, Label::kCorrect);
  options.url = "http://127.0.0.1:1/";
  EXPECT_EQ((*MakeVerifier(options))->Grade(Ask(row, "France")).label, Label::kUnknown);
}

}  // namespace
}  // namespace candor
