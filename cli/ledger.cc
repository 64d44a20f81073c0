// candor ledger: what became of every group of a run. Reads the ledger beside a running coordinator as well (as a secondary, which never
// disturbs it).
#include "coordinator/ledger.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/commands.h"
#include "coordinator/accounting.h"

namespace candor::cli {

namespace {

Result<Balance> BalanceOf(const std::string& run_dir) {
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
  CLI::App app{
      "What became of every group of a run: issued = trained + evaluated + dropped + in flight. Exits with 1 when the books do not "
      "balance.",
      "candor ledger"};
  app.add_option("run_dir", run_dir, "the run's folder")->required();
  app.add_flag("--json", json, "as JSON, with the count of every step");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  Result<Balance> balance = BalanceOf(run_dir);
  if (!balance) {
    std::fprintf(stderr, "candor ledger: %s\n", balance.error().Message().c_str());
    return static_cast<int>(ExitCodeOf(balance.error().code));
  }
  std::printf("%s\n", json ? BalanceJson(*balance).c_str() : BalanceText(*balance).c_str());
  return balance->Balances() ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
