#include "core/fault_point.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace candor {

namespace {

enum class Act { kKill, kStop, kExit, kDelay, kFail };

struct Rule {
  std::string text, point, process;
  Act act = Act::kKill;
  int number = 0;  // exit code or milliseconds
  int hit = 0;     // 0: every visit
};

[[noreturn]] void RefuseRule(const std::string& text) {
  std::fprintf(stderr, "candor: CANDOR_FAULT: \"%s\" is not POINT[/PROCESS]=kill|stop|exit:N|delay:MS|fail[@HIT]\n", text.c_str());
  std::_Exit(2);
}

std::optional<int> Number(std::string_view text) {
  int number = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (bad != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

Rule ParseRule(const std::string& text) {
  Rule rule;
  rule.text = text;
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) RefuseRule(text);
  rule.point = text.substr(0, equals);
  std::string action = text.substr(equals + 1);
  if (const size_t slash = rule.point.find('/'); slash != std::string::npos) {
    rule.process = rule.point.substr(slash + 1);
    rule.point.resize(slash);
  }
  std::optional<int> hit;
  if (const size_t at = action.find('@'); at != std::string::npos) {
    hit = Number(std::string_view(action).substr(at + 1));
    if (!hit || *hit == 0) RefuseRule(text);
    action.resize(at);
  }
  std::optional<int> number;
  if (const size_t colon = action.find(':'); colon != std::string::npos) {
    number = Number(std::string_view(action).substr(colon + 1));
    if (!number) RefuseRule(text);
    action.resize(colon);
  }
  static const std::map<std::string, Act> kActs = {
      {"kill", Act::kKill}, {"stop", Act::kStop}, {"exit", Act::kExit}, {"delay", Act::kDelay}, {"fail", Act::kFail}};
  const auto found = kActs.find(action);
  if (found == kActs.end()) RefuseRule(text);
  rule.act = found->second;
  if (number.has_value() != (rule.act == Act::kExit || rule.act == Act::kDelay)) RefuseRule(text);
  rule.number = number.value_or(0);
  rule.hit = hit.value_or(rule.act == Act::kDelay ? 0 : 1);
  return rule;
}

std::vector<Rule> RulesOf(const char* asked) {
  std::vector<Rule> rules;
  std::string text;
  for (const char* c = asked ? asked : "";; ++c) {
    if (*c == ',' || *c == '\0') {
      if (!text.empty()) rules.push_back(ParseRule(text));
      text.clear();
    } else if (*c != ' ') {
      text += *c;
    }
    if (*c == '\0') return rules;
  }
}

struct Faults {
  std::mutex mutex;
  std::vector<Rule> rules = RulesOf(std::getenv("CANDOR_FAULT"));
  std::map<std::string, int> visits;
  std::string process;
};
Faults& TheFaults() {
  static Faults faults;
  return faults;
}

// True when this process is the one that acts.
bool Claim(const Rule& rule, const std::string& process) {
  const char* folder = std::getenv("CANDOR_FAULT_DIR");
  if (!folder || rule.act == Act::kDelay) return true;
  const std::string path = fmt::format("{}/{}.{}", folder, rule.point, rule.process.empty() ? "any" : rule.process);
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::string line = fmt::format("{} {} {} {}\n", ::getpid(), now, rule.text.substr(rule.text.find('=') + 1), process);
  const bool written = ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  ::close(fd);
  return written;
}

bool Perform(const Rule& rule) {
  switch (rule.act) {
    case Act::kKill:
      ::kill(::getpid(), SIGKILL);
      break;
    case Act::kStop:
      ::kill(::getpid(), SIGSTOP);
      break;
    case Act::kExit:
      std::_Exit(rule.number);
    case Act::kDelay:
      std::this_thread::sleep_for(std::chrono::milliseconds(rule.number));
      break;
    case Act::kFail:
      return true;
  }
  return false;
}

}  // namespace

namespace internal {

const bool g_faults_asked = std::getenv("CANDOR_FAULT") != nullptr;
FaultVisitor g_fault_visitor = nullptr;

bool VisitFaultPoint(const char* point) {
  Faults& faults = TheFaults();
  std::vector<Rule> due;
  std::string process;
  {
    std::lock_guard lock(faults.mutex);
    const int visit = ++faults.visits[point];
    process = faults.process;
    for (const Rule& rule : faults.rules)
      if (rule.point == point && (rule.process.empty() || rule.process == process) && (rule.hit == 0 || rule.hit == visit))
        due.push_back(rule);
  }
  bool fails = false;
  static std::mutex acting;  // a thread that dies between another one's claim and act would leave a claim on which nobody acts
  for (const Rule& rule : due) {
    std::unique_lock lock(acting, std::defer_lock);
    if (rule.act != Act::kDelay) lock.lock();
    if (Claim(rule, process)) fails = Perform(rule) || fails;
  }
  return fails;
}

}  // namespace internal

void SetFaultVisitor(FaultVisitor visitor) { internal::g_fault_visitor = visitor; }

void SetProcessName(const std::string& name) {
  std::lock_guard lock(TheFaults().mutex);
  if (TheFaults().process.empty()) TheFaults().process = name;
}

}  // namespace candor
