// The HTTP interface of a real coordinator: nothing without the token, nothing for a foreign Host, bounded requests; and no secret of the
// run where others can read it.
#include <gtest/gtest.h>
#include <httplib.h>

#include <filesystem>
#include <thread>

#include "core/fs.h"
#include "tests/security/real_run.h"

namespace candor::security {
namespace {

int PortOf(const std::string& url) { return std::atoi(url.substr(url.rfind(':') + 1).c_str()); }

const char* const kRoutes[] = {"/metrics", "/api/status", "/api/metrics", "/api/calibration"};

TEST(Http, NeedsTheTokenAndAnOwnHost) {
  RealRun run;
  run.StartCoordinator();
  httplib::Client client("127.0.0.1", PortOf(run.http()));
  EXPECT_TRUE(run.http().starts_with("http://127.0.0.1:")) << "loopback unless told otherwise";
  const std::string token = run.keys().run_token;
  int tries = 0, refused = 0;
  const auto get = [&](const std::string& path, const httplib::Headers& headers) {
    auto response = client.Get(path, headers);
    return response ? response->status : 0;
  };
  const auto expect_refused = [&](const std::string& path, const httplib::Headers& headers, const std::string& what) {
    const int status = get(path, headers);
    EXPECT_TRUE(status == 0 || status >= 400) << what << " " << path << ": " << status;
    ++tries, refused += status == 0 || status >= 400;
  };
  for (const std::string route : kRoutes) {
    expect_refused(route, {}, "no token");
    expect_refused(route, {{"Authorization", "Bearer " + std::string(token.size(), '0')}}, "a wrong token");
    expect_refused(route, {{"Authorization", "Bearer " + token.substr(0, token.size() - 1)}}, "most of the token");
    expect_refused(route, {{"Authorization", "Bearer "}}, "an empty token");
    expect_refused(route, {{"Authorization", "Basic " + token}}, "another scheme");
    expect_refused(route + "?token=", {}, "an empty parameter");
    expect_refused(route + "?token=" + token + "0", {}, "more than the token");
    expect_refused(route, {{"Authorization", "Bearer " + token}, {"Host", "evil.example.com"}}, "a rebound name");
    expect_refused(route, {{"Authorization", "Bearer " + token}, {"Host", "localhost.evil.example.com:80"}},
                   "a name that begins like ours");
  }
  const httplib::Headers good = {{"Authorization", "Bearer " + token}};
  for (const char* path : {"/../keys/token", "/%2e%2e/keys/token", "//keys/token", "/api/../../../etc/passwd", "/keys/token"})
    expect_refused(path, good, "a path");
  expect_refused("/api/status?x=" + std::string(20000, 'x'), good, "a long URL");
  expect_refused("/api/status", {{"Authorization", "Bearer " + token}, {"X", std::string(100000, 'x')}}, "a long header");
  for (const char* query :
       {"/api/metrics?from=-1", "/api/metrics?from=1e9", "/api/metrics?from=99999999999999999999999", "/api/calibration?stream=..%2f"})
    expect_refused(query, good, "a bad query");
  auto post = client.Post("/api/status", good, std::string(1 << 20, 'x'), "text/plain");
  EXPECT_TRUE(!post || post->status >= 400);
  for (const char* host : {"localhost", "127.0.0.1:1", "[::1]:80"})
    EXPECT_EQ(get("/api/status", {{"Authorization", "Bearer " + token}, {"Host", host}}), 200) << host;
  EXPECT_EQ(get("/api/status?token=" + token, {}), 200);
  std::printf("candor-figure R11 http_refused=%d of %d tries\n", refused, tries);
}

// Whoever can list processes or read logs must not become a member of the run.
TEST(Secrets, AreNotInArgumentsEnvironmentOrLogs) {
  RealRun run;
  run.StartCoordinator();
  run.StartReward();
  GoodWorker worker(run);
  (void)worker.Measure(0.3);
  httplib::Client client("127.0.0.1", PortOf(run.http()));
  (void)client.Get("/api/status?token=" + run.keys().run_token);
  (void)client.Get("/api/nothing?token=" + run.keys().run_token);
  std::vector<std::string> secrets = {run.keys().run_token};
  for (const KeyPair& pair : run.keys().by_role) secrets.push_back(pair.secret_key);
  int places = 0;
  const auto look = [&](const std::string& path) {
    const Result<std::string> text = ReadFile(path);
    if (!text) return;
    ++places;
    for (const std::string& secret : secrets) EXPECT_EQ(text->find(secret), std::string::npos) << path << " holds a secret";
  };
  for (const auto& entry : std::filesystem::directory_iterator("/proc"))
    for (const char* file : {"/cmdline", "/environ"}) look(entry.path().string() + file);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run.dir()))
    if (entry.is_regular_file() && entry.path().string().find("/keys/") == std::string::npos) look(entry.path().string());
  EXPECT_GT(places, 10);
  // The search can find: the key files hold what it looks for, and are ours alone.
  EXPECT_NE(ReadFile(run.dir() + "/keys/token")->find(secrets[0]), std::string::npos);
  for (const auto& entry : std::filesystem::directory_iterator(run.dir() + "/keys"))
    EXPECT_EQ(static_cast<int>(entry.status().permissions()), 0600) << entry.path();
  std::printf("candor-figure R11 secrets_found=0 in %d places (arguments, environments, logs)\n", places);
}

TEST(Secrets, AKeyThatOthersCanReadStopsTheStart) {
  RealRun run;
  std::filesystem::permissions(run.dir() + "/keys/trainer.key", std::filesystem::perms(0640));
  run.LaunchCoordinator();
  EXPECT_NE(run.CoordinatorExit(20000), 0);
  EXPECT_NE(ReadFile(run.dir() + "/coordinator.out")->find("mode 0640"), std::string::npos);
}

}  // namespace
}  // namespace candor::security
