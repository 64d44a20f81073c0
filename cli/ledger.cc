// candor ledger: what became of every group of a run. Reads the ledger beside a running coordinator as well (as a secondary, which never
// disturbs it).
#include "coordinator/ledger.h"

#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/recipe.h"
#include "coordinator/accounting.h"

namespace candor::cli {

namespace {

Result<Balance> BalanceOf(const std::string& run_dir) {
  CANDOR_TRY(LoadResolvedRecipe(run_dir));
  CANDOR_ASSIGN(LedgerReader reader, OpenNewestLedger(run_dir));
  Auditor auditor(reader.plan);
  CANDOR_TRY(reader.ForEach([&](const LedgerRecord& record) -> Status {
    auditor.Add(record);
    return {};
  }));
  return auditor.Result();
}

}  // namespace

int RunLedger(int argc, const char* const* argv) {
  std::string run_dir;
  bool json = false;
  CommandLine app{
      "What became of every group of a run: issued = trained + evaluated + dropped + in flight. Exits with 1 when the books do not "
      "balance.",
      "candor ledger"};
  app.Add("RUN_DIR", &run_dir, "the run's folder").Required();
  app.AddFlag("--json", &json, "as JSON, with the count of every step");
  app.AddFooter("Examples:\n  candor ledger runs/cities\n  candor ledger runs/cities --json | jq .in_flight");
  if (const auto code = app.Parse(argc, argv)) return *code;
  Result<Balance> balance = BalanceOf(run_dir);
  if (!balance) return ReportFailure("ledger", balance.error());
  std::printf("%s\n", json ? BalanceJson(*balance).c_str() : BalanceText(*balance).c_str());
  return balance->Balances() ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
