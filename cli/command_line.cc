#include "cli/command_line.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/fs.h"
#include "core/options.h"

namespace candor::cli {

namespace {

// The option of `app` or of its subcommands that a misspelt one probably meant, or "".
std::string NearestOption(const CLI::App& app, const std::string& given) {
  std::vector<std::string> known;
  auto collect = [&](const CLI::App& one) {
    for (const CLI::Option* option : one.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  };
  collect(app);
  for (const CLI::App* sub : app.get_subcommands()) collect(*sub);
  return NearestName(given.substr(0, given.find('=')), known);
}

}  // namespace

std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::string line = app.get_name() + ": " + error.what();
    for (int i = 1; i < argc; ++i)
      if (const std::string word = argv[i]; dynamic_cast<const CLI::ExtrasError*>(&error) && word.starts_with("--"))
        if (std::string nearest = NearestOption(app, word); !nearest.empty() && nearest != word.substr(0, word.find('=')))
          line += "; did you mean " + nearest + "?";
    std::fprintf(stderr, "%s; see %s --help\n", line.c_str(), app.get_name().c_str());
    return static_cast<int>(ExitCode::kUsage);
  }
}

int ReportFailure(const std::string& command, const Error& error) {
  std::fflush(stdout);  // what was found before the failure comes first
  std::fprintf(stderr, "candor %s: %s\n", command.c_str(), error.Message().c_str());
  return static_cast<int>(ExitCodeOf(error.code));
}

int ExitWith(const std::string& command, const Status& status) { return status ? 0 : ReportFailure(command, status.error()); }

int FinishOutput(int code) {
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written || code != 0) return code;
  std::fprintf(stderr, "candor: cannot write to standard output: %s\n", std::strerror(errno));
  return static_cast<int>(ExitCode::kFailed);
}

Result<RecipeArguments> SplitRecipeArguments(const std::vector<std::string>& given) {
  RecipeArguments split;
  for (const std::string& one : given)
    (one.find('=') != std::string::npos && !one.ends_with(".toml") ? split.overrides : split.files).push_back(one);
  if (split.files.empty()) return Fail(ErrorCode::kInvalidInput, "no recipe was named", "", "give a file, for example recipes/tiny.toml");
  return split;
}

Status PrepareOutput(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path whole = fs::absolute(path, error).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  const std::string probe = (whole.parent_path() / (".candor-probe-" + std::to_string(::getpid()))).string();
  Status made = MakeFolders(whole.parent_path().string());
  if (made) made = CreateExclusive(probe, "");
  ::unlink(probe.c_str());
  if (made) return {};
  return Fail(made.error().code, "nothing can be written there: " + made.error().what, path, "name another place");
}

}  // namespace candor::cli
