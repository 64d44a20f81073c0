// `candor dashboard RUN_DIR`: where the live coordinator's page is and how to reach it from elsewhere. The token stands in the URL's
// fragment, which browsers keep to themselves: it is in no request line and no log.
#include <fmt/format.h>

#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/live_status.h"
#include "cli/recipe.h"
#include "cli/run_processes.h"
#include "coordinator/http.h"
#include "core/rendezvous.h"
#include "core/transport.h"

namespace candor::cli {

namespace {

constexpr int kAnswerS = 3;

// "http://host:port" -> host, port.
std::pair<std::string, std::string> HostAndPort(std::string url) {
  if (url.starts_with("http://")) url.erase(0, 7);
  const size_t colon = url.rfind(':');
  return colon == std::string::npos ? std::pair{url, std::string("80")} : std::pair{url.substr(0, colon), url.substr(colon + 1)};
}

Status Show(const std::string& run_dir) {
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run_dir));
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run_dir));
  CANDOR_ASSIGN(const CoordinatorAddress address, FindCoordinator(run_dir));
  const auto [host, port] = HostAndPort(address.http);
  const Result<std::string> direct = HttpGet(address.http, "/api/status", keys.run_token, kAnswerS);
  const bool loopback = host == "127.0.0.1" || host == "localhost";
  if (!direct && (!loopback || address.node == HostName()))
    return Fail(ErrorCode::kUnavailable,
                "the coordinator of epoch " + std::to_string(address.epoch) + " does not answer: " + direct.error().Message(), address.http,
                "candor status " + run_dir + " says what is known of the run");
  if (!direct) {  // its HTTP is its own machine's; the control socket may still be reached
    const auto status = AskStatus(run_dir, recipe.run.name, kAnswerS * 1000);
    std::printf("the coordinator runs on %s and serves HTTP to that machine only%s\n", address.node.c_str(),
                status ? "; it lives" : "; it could not be asked from here either");
  }
  const std::string machine = address.node.empty() ? HostName() : address.node;
  const std::string at = loopback ? "127.0.0.1" : host;
  std::printf("open        http://127.0.0.1:%s/#token=%s\n", port.c_str(), keys.run_token.c_str());
  std::printf("from afar   ssh -N -L %s:%s:%s %s     (then open the same address there)\n", port.c_str(), at.c_str(), port.c_str(),
              machine.c_str());
  if (!loopback) std::printf("or direct   %s/#token=%s\n", address.http.c_str(), keys.run_token.c_str());
  std::printf("The address holds the run's token: whoever has it can read the run (not change it).\n");
  return {};
}

}  // namespace

int RunDashboard(int argc, const char* const* argv) {
  std::string run_dir;
  CommandLine app{
      "Reaches the live coordinator of a run with the run's token and prints the address of its page, and the ssh line that brings it to "
      "your browser.",
      "candor dashboard"};
  app.Add("RUN_DIR", &run_dir, "the run's folder").Required();
  app.AddFooter("Example:\n  candor dashboard runs/cities");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("dashboard", Show(run_dir));
}

}  // namespace candor::cli
