// What all commands share at their edges: how a command line is read, how a failure is told, and that output which could not be written is
// noticed. Exit codes: core/result.h.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/result.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace candor::cli {

// Where an argument's value goes: a variable that outlives the parse. What it holds before is the default.
using ArgumentTarget = std::variant<std::string*, int*, int64_t*, uint32_t*, uint64_t*, double*, std::vector<std::string>*,
                                    std::vector<uint32_t>*, std::vector<int64_t>*, std::vector<double>*>;

// One argument of a command line, while it is being described. A handle: copies mean the same argument, which its CommandLine owns.
class Argument {
 public:
  Argument& Required();
  Argument& ShowDefault();                     // help names the value that the variable holds now
  Argument& Range(double least, double most);  // both are allowed
  Argument& Positive();
  Argument& OneOf(const std::vector<std::string>& words);
  Argument& ExistingFile();
  Argument& Excludes(const Argument& other);  // not both
  Argument& Needs(const Argument& other);
  Argument& Values(int number);           // so many words after it; -1: one or more
  Argument& SeparatedBy(char delimiter);  // a list in one word: 1,2,3
  Argument& Hidden();                     // works, but help is silent about it

  bool Given() const;  // after the parse

 private:
  friend class CommandLine;
  enum class Kind { kText, kWhole, kReal };
  Argument(CLI::Option* option, Kind kind) : option_(option), kind_(kind) {}
  CLI::Option* option_;
  Kind kind_;
};

// What a command takes, its help, and the reading of argv. The only place that knows CLI11, whose header costs three seconds of code
// generation in every file that includes it. Named "--x", an argument is an option; named "X", it is one by its position.
class CommandLine {
 public:
  // `name` as typed: "candor run".
  CommandLine(const std::string& about, const std::string& name);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Argument Add(const std::string& name, ArgumentTarget target, const std::string& about = "");
  Argument AddFlag(const std::string& name, bool* given, const std::string& about = "");
  void AddFooter(const std::string& text);  // below the help: examples
  // A command with subcommands needs one of them to be given. The result lives as long as this.
  CommandLine& AddSubcommand(const std::string& name, const std::string& about);

  // nullopt: go on. Otherwise the exit code to leave with: help was printed (0), or the command line is wrong (2) and the reason stands on
  // stderr, with the option that was probably meant.
  std::optional<int> Parse(int argc, const char* const* argv);
  bool Given() const;  // of a subcommand, after the parse

 private:
  explicit CommandLine(CLI::App* subcommand);
  std::unique_ptr<CLI::App> owned_;  // empty in a subcommand, which its parent owns
  CLI::App* app_;
  std::vector<std::unique_ptr<CommandLine>> subcommands_;
};

// "candor run: what (where); fix" on stderr; returns the exit code.
int ReportFailure(const std::string& command, const Error& error);
// 0, or what ReportFailure says.
int ExitWith(const std::string& command, const Status& status);

// The last act of a program: `code`, unless its output did not reach its destination (a full disk), which is a failure.
int FinishOutput(int code);

// A command's recipe arguments: "*.toml" and whatever holds no "=" are files, the rest are overrides such as trainer.lr=1e-5.
struct RecipeArguments {
  std::vector<std::string> files, overrides;
};
Result<RecipeArguments> SplitRecipeArguments(const std::vector<std::string>& given);

// Makes the folders above `path` and tries to write there, so that hours of work do not end in "cannot create".
Status PrepareOutput(const std::string& path);

}  // namespace candor::cli
