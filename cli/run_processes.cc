#include "cli/run_processes.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "cli/supervisor.h"

namespace candor::cli {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> WordsOf(const fs::path& process) {
  std::ifstream file(process / "cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

char StateOf(const fs::path& process) {
  std::ifstream file(process / "stat");
  std::string stat;
  std::getline(file, stat);
  const size_t close = stat.rfind(')');
  return close == std::string::npos || close + 2 >= stat.size() ? '?' : stat[close + 2];
}

// The word after `option`, as a path seen from the process's own folder.
bool NamesFolder(const std::vector<std::string>& words, const fs::path& process, const fs::path& run_dir) {
  const auto at = std::find(words.begin(), words.end(), "--run-dir");
  if (at == words.end() || at + 1 == words.end()) return false;
  std::error_code ignored;
  fs::path named(at[1]);
  if (named.is_relative()) named = fs::read_symlink(process / "cwd", ignored) / named;
  return fs::weakly_canonical(named, ignored) == run_dir;
}

}  // namespace

std::vector<RunProcess> ProcessesOf(const std::string& run_dir) {
  std::vector<RunProcess> found;
  std::error_code ignored;
  const fs::path folder = fs::weakly_canonical(run_dir, ignored);
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    if (!std::isdigit(static_cast<unsigned char>(entry.path().filename().string()[0]))) continue;
    const std::vector<std::string> words = WordsOf(entry.path());
    if (words.size() < 2 || !fs::path(words[0]).filename().string().starts_with("candor") || !NamesFolder(words, entry.path(), folder))
      continue;
    RunProcess process{words[1], std::stoi(entry.path().filename().string()), StateOf(entry.path())};
    if (const auto at = std::find(words.begin(), words.end(), "--index"); at != words.end() && at + 1 != words.end())
      process.name += "-" + at[1];
    found.push_back(std::move(process));
  }
  std::sort(found.begin(), found.end(),
            [](const RunProcess& a, const RunProcess& b) { return std::tie(a.name, a.pid) < std::tie(b.name, b.pid); });
  return found;
}

std::vector<LastWords> LastWordsOf(const std::string& run_dir) {
  std::vector<LastWords> all;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(run_dir + "/logs", ignored)) {
    if (entry.path().extension() != ".log") continue;
    const auto age = fs::file_time_type::clock::now() - entry.last_write_time(ignored);
    std::string line = TailOfFile(entry.path().string(), 1);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    line.erase(0, line.find_first_not_of(' '));
    if (!line.empty()) all.push_back({entry.path().stem().string(), std::chrono::duration<double>(age).count(), line});
  }
  std::sort(all.begin(), all.end(), [](const LastWords& a, const LastWords& b) { return a.name < b.name; });
  return all;
}

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "this host";
}

}  // namespace candor::cli
