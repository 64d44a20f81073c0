#include "cli/command_line.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <type_traits>

#include "core/check.h"
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

// The type of one value of a target.
template <typename T>
struct ScalarOf {
  using type = T;
};
template <typename T>
struct ScalarOf<std::vector<T>> : ScalarOf<T> {};

}  // namespace

Argument& Argument::Required() {
  option_->required();
  return *this;
}

Argument& Argument::ShowDefault() {
  option_->capture_default_str();
  return *this;
}

Argument& Argument::Range(double least, double most) {
  CANDOR_CHECK(kind_ != Kind::kText, "a range of texts");
  if (kind_ == Kind::kWhole)  // help shows the type
    option_->check(CLI::Range(static_cast<int64_t>(least), static_cast<int64_t>(most)));
  else
    option_->check(CLI::Range(least, most));
  return *this;
}

Argument& Argument::Positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Argument& Argument::OneOf(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}

Argument& Argument::ExistingFile() {
  option_->check(CLI::ExistingFile);
  return *this;
}

Argument& Argument::Excludes(const Argument& other) {
  option_->excludes(other.option_);
  return *this;
}

Argument& Argument::Needs(const Argument& other) {
  option_->needs(other.option_);
  return *this;
}

Argument& Argument::Values(int number) {
  option_->expected(number);
  return *this;
}

Argument& Argument::SeparatedBy(char delimiter) {
  option_->delimiter(delimiter);
  return *this;
}

Argument& Argument::Hidden() {
  option_->group("");
  return *this;
}

bool Argument::Given() const { return option_->count() > 0; }

CommandLine::CommandLine(const std::string& about, const std::string& name)
    : owned_(std::make_unique<CLI::App>(about, name)), app_(owned_.get()) {}
CommandLine::CommandLine(CLI::App* subcommand) : app_(subcommand) {}
CommandLine::~CommandLine() = default;

Argument CommandLine::Add(const std::string& name, ArgumentTarget target, const std::string& about) {
  return std::visit(
      [&](auto* variable) {
        using Variable = std::remove_pointer_t<decltype(variable)>;
        using Value = typename ScalarOf<Variable>::type;
        constexpr auto kKind = std::is_floating_point_v<Value> ? Argument::Kind::kReal
                               : std::is_integral_v<Value>     ? Argument::Kind::kWhole
                                                               : Argument::Kind::kText;
        CLI::Option* option = app_->add_option(name, *variable, about);
        if constexpr (!std::is_same_v<Variable, Value>)  // a list is shown as one types it
          option->default_function([variable] { return fmt::format("{}", fmt::join(*variable, " ")); });
        return Argument(option, kKind);
      },
      target);
}

Argument CommandLine::AddFlag(const std::string& name, bool* given, const std::string& about) {
  return Argument(app_->add_flag(name, *given, about), Argument::Kind::kText);
}

void CommandLine::AddFooter(const std::string& text) { app_->footer(text); }

CommandLine& CommandLine::AddSubcommand(const std::string& name, const std::string& about) {
  app_->require_subcommand(1);
  subcommands_.push_back(std::unique_ptr<CommandLine>(new CommandLine(app_->add_subcommand(name, about))));
  return *subcommands_.back();
}

bool CommandLine::Given() const { return app_->parsed(); }

std::optional<int> CommandLine::Parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app_->exit(error);  // --help
    std::string line = app_->get_name() + ": " + error.what();
    for (int i = 1; i < argc; ++i)
      if (const std::string word = argv[i]; dynamic_cast<const CLI::ExtrasError*>(&error) && word.starts_with("--"))
        if (std::string nearest = NearestOption(*app_, word); !nearest.empty() && nearest != word.substr(0, word.find('=')))
          line += "; did you mean " + nearest + "?";
    std::fprintf(stderr, "%s; see %s --help\n", line.c_str(), app_->get_name().c_str());
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
