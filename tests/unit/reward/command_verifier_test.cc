// Verifiers of the user's own that misbehave: every one must end as an unknown with a reason, within its deadline, and the next completion
// must be graded.
#include "reward/verifiers/command_verifier.h"

#include <signal.h>

#include <chrono>
#include <thread>

#include "core/fs.h"
#include "reward/verifiers/json_protocol.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::Ask;
using testing::Row;
using testing::TempFolder;

constexpr const char* kLoop = R"(
import json, os, sys, time, subprocess, signal
for line in sys.stdin:
    r = json.loads(line)
    a = r["answer"]
    def reply(**body):
        sys.stdout.write(json.dumps({"id": r["id"], **body}) + "\n"); sys.stdout.flush()
    if a == "sleep": time.sleep(60)
    elif a == "garbage": print("I think this is right", flush=True)
    elif a == "exit": sys.exit(3)
    elif a == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    elif a == "stop": os.kill(os.getpid(), signal.SIGSTOP)
    elif a == "close": os.close(1); time.sleep(60)
    elif a == "other id": print(json.dumps({"id": "someone else's", "label": "correct"}), flush=True)
    elif a == "flood": 
        while True: sys.stdout.write("x" * 65536)
    elif a == "stderr flood":
        while True: sys.stderr.write("y" * 65536)
    elif a == "chatty": sys.stderr.write("z" * 300000); reply(label="correct")
    elif a == "fork":
        subprocess.Popen(["sleep", "61.25"]); subprocess.Popen(["sleep", "61.25"], start_new_session=True); time.sleep(60)
    elif a == "twice": reply(label="correct"); reply(label="wrong")
    elif a == "nan": sys.stdout.write('{"id": "%s", "label": NaN}\n' % r["id"]); sys.stdout.flush()
    elif a == "deep": sys.stdout.write("[" * 200000 + "\n"); sys.stdout.flush()
    elif a == "memory": x = bytearray(2 << 30); reply(label="correct")
    elif a == "fds": reply(label="correct" if len(os.listdir("/proc/self/fd")) <= 4 else "wrong", reason=str(os.listdir("/proc/self/fd")))
    elif a == "echo": reply(label=r["row"]["say"]["label"], rewards=r["row"]["say"].get("rewards", {}))
    else: reply(label="correct" if a == "France" else "wrong", rewards={"length": len(r["completion"])}, reason="because")
)";

std::unique_ptr<Verifier> Make(const TempFolder& folder, double timeout_s = 0.7, int64_t processes = 1, int64_t memory_mb = 0) {
  VerifierOptions options;
  options.name = "mine";
  options.command = {"python3", "-S", folder.Write("reward.py", kLoop)};
  options.timeout_s = timeout_s;
  options.startup_s = 5;
  options.processes = processes;
  options.memory_mb = memory_mb;
  Result<std::unique_ptr<Verifier>> verifier = MakeVerifier(options);
  EXPECT_TRUE(verifier.has_value()) << (verifier ? "" : verifier.error().Message());
  return std::move(*verifier);
}

void ExpectUnknown(const Verdict& verdict, const std::string& reason) {
  EXPECT_EQ(verdict.label, Label::kUnknown);
  EXPECT_TRUE(verdict.rewards.empty());
  EXPECT_NE(verdict.reason.find(reason), std::string::npos) << verdict.reason;
}

bool AnyProcessNamed(const std::string& argument) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    Result<std::string> line = ReadFile(entry.path().string() + "/cmdline", 1 << 20);
    if (line && line->find("sleep") != std::string::npos && line->find(argument) != std::string::npos) return true;
  }
  return false;
}

TEST(CommandVerifier, GradesAndGivesRewards) {
  TempFolder folder;
  auto verifier = Make(folder);
  DataRow row = Row({"France"});
  Verdict verdict = verifier->Grade(Ask(row, "France"));
  EXPECT_EQ(verdict.label, Label::kCorrect) << verdict.reason;
  EXPECT_EQ(verdict.rewards.at("length"), 6.0);
  EXPECT_EQ(verdict.reason, "because");
  EXPECT_EQ(verifier->Grade(Ask(row, "Spain")).label, Label::kWrong);
  GradeRequest broken = Ask(row, "France");
  broken.has_answer = false;  // "answer": null
  EXPECT_EQ(verifier->Grade(broken).label, Label::kWrong);
}

TEST(CommandVerifier, EveryMisbehaviourIsUnknownAndTheNextIsGraded) {
  TempFolder folder;
  auto verifier = Make(folder);
  DataRow row = Row({"France"});
  ASSERT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  const std::pair<const char*, const char*> cases[] = {
      {"garbage", "not a JSON object"}, {"exit", "exited with code 3"}, {"crash", "signal 11"},
      {"close", "closed its stdout"},   {"other id", "id is not 1/0"},  {"flood", "without ending the line"},
      {"stderr flood", "to stderr"},    {"nan", "not a JSON object"},   {"deep", "nested too deeply"}};
  for (auto [answer, reason] : cases) {
    SCOPED_TRACE(answer);
    auto start = std::chrono::steady_clock::now();
    ExpectUnknown(verifier->Grade(Ask(row, answer)), reason);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  }
}

TEST(CommandVerifier, AHangIsKilledAtItsDeadline) {
  TempFolder folder;
  auto verifier = Make(folder, 0.4);
  DataRow row = Row({"France"});
  ASSERT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  for (const char* answer : {"sleep", "stop"}) {
    auto start = std::chrono::steady_clock::now();
    ExpectUnknown(verifier->Grade(Ask(row, answer)), "did not answer within 0.4 s");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(2500));
    EXPECT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  }
}

TEST(CommandVerifier, DescendantsDieWithTheChildEvenInTheirOwnSession) {
  TempFolder folder;
  auto verifier = Make(folder, 0.6);
  DataRow row = Row({"France"});
  ASSERT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  std::thread grade([&] { ExpectUnknown(verifier->Grade(Ask(row, "fork")), "did not answer"); });
  bool seen = false;
  for (int i = 0; i < 50 && !seen; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(10))) seen = AnyProcessNamed("61.25");
  grade.join();
  EXPECT_TRUE(seen);  // else the test shows nothing
  for (int i = 0; i < 100 && AnyProcessNamed("61.25"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(AnyProcessNamed("61.25"));
}

TEST(CommandVerifier, AnUnaskedSecondReplyDoesNotReachTheNextCompletion) {
  TempFolder folder;
  auto verifier = Make(folder);
  DataRow row = Row({"France"});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(verifier->Grade(Ask(row, "twice")).label, Label::kCorrect);
    EXPECT_NE(verifier->Grade(Ask(row, "France")).label,
              Label::kWrong);  // correct, or unknown when the second line came late: never the other's label
  }
  EXPECT_EQ(verifier->Grade(Ask(row, "twice")).label, Label::kCorrect);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(verifier->Grade(Ask(row, "France")).label, Label::kCorrect);
  EXPECT_EQ(verifier->Grade(Ask(row, "chatty")).label, Label::kCorrect);  // 300 kB of notes on stderr are fine
}

TEST(CommandVerifier, LargeCompletionsPassThroughFullPipes) {
  TempFolder folder;
  auto verifier = Make(folder, 5.0);
  DataRow row = Row({"France"});
  std::string large(3 << 20, 'q');
  GradeRequest request{"1/0", row.prompt, large, "France", true, &row};
  Verdict verdict = verifier->Grade(request);
  EXPECT_EQ(verdict.rewards["length"], static_cast<double>(large.size())) << verdict.reason;
}

TEST(CommandVerifier, LimitsAndDescriptorsAreItsOwn) {
  TempFolder folder;
  auto verifier = Make(folder, 5.0, 1, 512);
  DataRow row = Row({"France"});
  ExpectUnknown(verifier->Grade(Ask(row, "memory")), "MemoryError");
  Verdict fds = verifier->Grade(Ask(row, "fds"));  // 0, 1, 2 and the listing itself
  EXPECT_EQ(fds.label, Label::kCorrect) << fds.reason;
}

TEST(CommandVerifier, ManyThreadsShareTheChildrenAndGetTheirOwnAnswers) {
  TempFolder folder;
  auto verifier = Make(folder, 5.0, 2);
  DataRow row = Row({"France"});
  std::atomic<int> bad = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        std::string completion(static_cast<size_t>(t * 100 + i), 'x'), id = std::to_string(t) + "/" + std::to_string(i);
        GradeRequest request{id, row.prompt, completion, i % 2 ? "France" : "Spain", true, &row};
        Verdict verdict = verifier->Grade(request);
        if (verdict.label != (i % 2 ? Label::kCorrect : Label::kWrong) ||
            verdict.rewards["length"] != static_cast<double>(completion.size()))
          ++bad;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad, 0);
}

TEST(CommandVerifier, AProgramThatCannotRunIsAnErrorAtTheStart) {
  VerifierOptions options;
  options.name = "mine";
  options.command = {"no-such-program-anywhere"};
  EXPECT_EQ(MakeVerifier(options).error().code, ErrorCode::kNotFound);
  options.command = {};
  options.kind = "command";
  EXPECT_EQ(MakeVerifier(options).error().code, ErrorCode::kInvalidInput);
  options.kind = "http";
  options.url = "file:///etc/passwd";
  EXPECT_EQ(MakeVerifier(options).error().code, ErrorCode::kInvalidInput);
}

TEST(CommandVerifier, AScriptThatFailsToStartSaysWhyInTheReason) {
  TempFolder folder;
  VerifierOptions options;
  options.name = "mine";
  options.command = {"python3", "-S", folder.Write("broken.py", "raise SystemExit('the model file is missing')\n")};
  Result<std::unique_ptr<Verifier>> verifier = MakeVerifier(options);
  ASSERT_TRUE(verifier.has_value());
  DataRow row = Row({"France"});
  ExpectUnknown((*verifier)->Grade(Ask(row, "France")), "the model file is missing");
}

TEST(JsonProtocol, RepliesAreReadStrictly) {
  auto decode = [](const std::string& reply) { return DecodeGradeReply(reply, "7"); };
  EXPECT_EQ(decode(R"({"id":"7","label":0.8,"rewards":{"x":1,"y":true,"z":null}})")->label, Label::kCorrect);
  EXPECT_EQ(decode(R"({"id":"7","label":0.8})")->soft_label, 0.8);
  EXPECT_EQ(decode(R"({"id":"7","label":0.2})")->label, Label::kWrong);
  EXPECT_EQ(decode(R"({"id":"7","label":false})")->label, Label::kWrong);
  EXPECT_EQ(decode(R"({"id":"7","rewards":{"x":2.5}})")->label, Label::kUnknown);
  EXPECT_EQ(decode(R"({"id":"7","rewards":{"x":2.5}})")->rewards.at("x"), 2.5);
  EXPECT_EQ(decode(R"({"id":"7","rewards":{"x":1,"y":null},"label":"wrong"})")->rewards.size(), 1u);
  for (const char* bad : {R"({"id":"7"})", R"({"label":"correct"})", R"({"id":7,"label":"correct"})", R"({"id":"7","label":"yes"})",
                          R"({"id":"7","label":1.5})", R"({"id":"7","label":-0.1})", R"({"id":"7","label":"correct","rewards":[1]})",
                          R"({"id":"7","label":"correct","rewards":{"x":"1"}})", R"({"id":"7","label":"correct","rewards":{"x":1e999}})",
                          R"({"id":"7","label":"correct","rewards":{"accuracy":1}})", R"({"id":"7","label":"correct","rewards":{"a b":1}})",
                          R"({"id":"7","label":"correct","rewards":{"":1}})", R"({"id":"7","label":"correct","rewards":{"rlcr_paper":1}})",
                          "null", "[]", "", "{"})
    EXPECT_FALSE(decode(bad).has_value()) << bad;
}

}  // namespace
}  // namespace candor
