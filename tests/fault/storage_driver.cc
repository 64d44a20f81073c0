// What control_storage_test.py runs under storage_faults: a coordinator's ledger and a reward worker's spool take a known sequence, and
// every acknowledgement is noted outside of the faulted file system.
//
//   storage_driver commit RUN_DIR ACKS COUNT   opens the ledger (an epoch, a clone), announces itself, commits COUNT records and spools
//                                              COUNT groups; a line "r <number>" or "g <id>" in ACKS for each that was acknowledged.
//                                              Exits with 3 when the ledger fails (crash-only)
//   storage_driver check RUN_DIR ACKS          every acknowledged record and group is there, at most one record more; goes on from it
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "coordinator/ledger.h"
#include "core/rendezvous.h"
#include "reward/spool.h"

namespace {

using candor::GroupId;
using candor::Ledger;
using candor::Spool;

candor::RunPlan Plan() {
  candor::RunPlan plan;
  plan.run_id = "storage", plan.steps = 1000, plan.prompts_per_step = 1000, plan.group_size = 2;
  plan.datasets = {{"train", 10, 1.0}};
  return plan;
}

std::string PayloadOf(uint64_t id) { return std::string(3000 + id % 7, static_cast<char>('a' + id % 26)) + std::to_string(id); }
candor::LedgerRecord RecordOf(uint64_t number) {
  return candor::GroupDropped{candor::MakeGroupId(1, static_cast<uint32_t>(number)), candor::DropReason::kFailed, std::to_string(number)};
}

int Complain(const candor::Error& error, int code) {
  std::fprintf(stderr, "storage_driver: %s\n", error.Message().c_str());
  return code;
}

struct Acks {
  std::set<uint64_t> records, groups;
  explicit Acks(const std::string& path) {
    std::ifstream file(path);
    char kind = 0;
    for (uint64_t number = 0; file >> kind >> number;) (kind == 'r' ? records : groups).insert(number);
  }
};

int Commit(const std::string& run_dir, const std::string& acks, uint64_t count) {
  const uint64_t spooled_before = Acks(acks).groups.size();
  std::FILE* out = std::fopen(acks.c_str(), "a");
  if (!out) return 2;
  auto ledger = Ledger::Open(run_dir, Plan(), "driver");
  if (!ledger) return Complain(ledger.error(), 3);
  if (auto told = candor::AnnounceCoordinator(run_dir, {(*ledger)->epoch(), "tcp://127.0.0.1:1"}, ""); !told)
    return Complain(told.error(), 3);
  auto spool = Spool::Open(run_dir + "/spool/reward-0", uint64_t{1} << 30);
  if (!spool) return Complain(spool.error(), 3);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t number = (*ledger)->records();
    if (auto done = (*ledger)->Commit({RecordOf(number)}); !done) return Complain(done.error(), 3);
    std::fprintf(out, "r %llu\n", static_cast<unsigned long long>(number));
    std::fflush(out);
    const uint64_t id = spooled_before + i;
    auto put = (*spool)->Put(candor::MakeGroupId(1, static_cast<uint32_t>(id)), {1}, PayloadOf(id));
    for (int again = 0; !put && again < 3; ++again)  // a reward worker keeps the group and tries again
      put = (*spool)->Put(candor::MakeGroupId(1, static_cast<uint32_t>(id)), {1}, PayloadOf(id));
    if (!put) return Complain(put.error(), 4);
    std::fprintf(out, "g %llu\n", static_cast<unsigned long long>(id));
    std::fflush(out);
  }
  std::fclose(out);
  return 0;
}

int Check(const std::string& run_dir, const std::string& acks_path) {
  const Acks acks(acks_path);
  uint64_t found = 0;
  auto ledger = Ledger::Open(run_dir, Plan(), "check");
  if (!ledger) return Complain(ledger.error(), 10);
  bool same = true;
  if (auto read = (*ledger)->ForEach([&](const candor::LedgerRecord& record) -> candor::Status {
        auto* dropped = std::get_if<candor::GroupDropped>(&record);
        same = same && dropped && dropped->why == std::to_string(found);
        ++found;
        return {};
      });
      !read)
    return Complain(read.error(), 11);
  if (!same) return std::fprintf(stderr, "a record is not what was committed\n"), 12;
  const uint64_t acked = acks.records.empty() ? 0 : *acks.records.rbegin() + 1;
  if (found < acked)
    return std::fprintf(stderr, "%llu acknowledged records, %llu found\n", (unsigned long long)acked, (unsigned long long)found), 13;
  if (found > acked + 1)
    return std::fprintf(stderr, "%llu acknowledged records, but %llu found\n", (unsigned long long)acked, (unsigned long long)found), 14;
  if (auto more = (*ledger)->Commit({RecordOf(found)}); !more) return Complain(more.error(), 15);
  auto spool = Spool::Open(run_dir + "/spool/reward-0", uint64_t{1} << 30);
  if (!spool) return Complain(spool.error(), 16);
  for (uint64_t id : acks.groups) {
    auto payload = (*spool)->Fetch(candor::MakeGroupId(1, static_cast<uint32_t>(id)), "");
    if (!payload) return Complain(payload.error(), 17);
    if (*payload != PayloadOf(id)) return std::fprintf(stderr, "group %llu changed\n", (unsigned long long)id), 18;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 5 && std::strcmp(argv[1], "commit") == 0) return Commit(argv[2], argv[3], std::strtoull(argv[4], nullptr, 10));
  if (argc == 4 && std::strcmp(argv[1], "check") == 0) return Check(argv[2], argv[3]);
  std::fprintf(stderr, "usage: storage_driver commit RUN_DIR ACKS COUNT | check RUN_DIR ACKS\n");
  return 2;
}
