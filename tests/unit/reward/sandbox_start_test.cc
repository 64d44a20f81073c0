// What goes wrong before a policy's code is read is the machine's failure, and says nothing about the code.
#include "core/fs.h"
#include "reward/verifiers/python_tests.h"
#include "reward/verifiers/sandbox.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

constexpr const char* kQuestion = "{\"nonce\": \"n\", \"code\": \"def two(): return 2\", \"tests\": \"assert two() == 2\"}\n";

// Without isolation, so that it runs where user namespaces are forbidden.
SandboxSetup MakeSetup(const std::string& before_server = "", const std::string& before_tester = "") {
  const std::string adapters = CANDOR_SOURCE_DIR "/reward/adapters";
  SandboxSetup setup;
  setup.isolated = false;
  setup.server_script = before_server + *ReadFile(adapters + "/code_server.py", 1 << 20);
  setup.tester_script = before_tester + *ReadFile(adapters + "/code_tester.py", 1 << 20);
  return setup;
}

TEST(SandboxStart, TheCodesTimeRunsFromWhenBothProcessesStand) {
  for (const bool server : {true, false}) {
    SandboxSetup setup = server ? MakeSetup("import time\ntime.sleep(1.5)\n") : MakeSetup("", "import time\ntime.sleep(1.5)\n");
    setup.limits.seconds = 1.0;
    const auto line = RunSandboxed(setup, kQuestion);
    ASSERT_TRUE(line) << line.error().Message();
    EXPECT_EQ(ReadTestVerdict(*line, "n")->label, Label::kCorrect) << *line;
  }
}

TEST(SandboxStart, WhatDoesNotStartIsNotTheCodesFault) {
  const std::string ends = "import os\nos._exit(0)\n", hangs = "import time\ntime.sleep(60)\n", talks = "print('hello', flush=True)\n";
  for (SandboxSetup setup : {MakeSetup(ends), MakeSetup("", ends), MakeSetup(hangs), MakeSetup("", hangs), MakeSetup("", talks)}) {
    setup.limits.start_seconds = 2.0;
    const auto line = RunSandboxed(setup, kQuestion);
    ASSERT_FALSE(line) << *line;
    EXPECT_EQ(line.error().code, ErrorCode::kIo) << line.error().Message();
    EXPECT_NE(line.error().what.find("did not start"), std::string::npos) << line.error().Message();
  }
  SandboxSetup setup = MakeSetup();
  setup.limits.seconds = 0.5;
  const auto loops = RunSandboxed(setup, "{\"nonce\": \"n\", \"code\": \"while True: pass\", \"tests\": \"assert True\"}\n");
  ASSERT_FALSE(loops);
  EXPECT_EQ(loops.error().code, ErrorCode::kUnavailable) << "the control: code that loops is wrong";
}

}  // namespace
}  // namespace candor
