// What `candor doctor` found, printed as it is found.
#pragma once
#include <string>
#include <vector>

namespace candor::cli {

enum class Verdict { kGood, kOptional, kBad };

class Checkup {
 public:
  void Add(Verdict verdict, const std::string& what, const std::string& detail);
  // Opens the first of the names that can be opened.
  void Library(const std::string& what, const std::vector<std::string>& names, bool required, const std::string& fix);
  int bad() const { return bad_; }

 private:
  int bad_ = 0;
};

// doctor_machine.cc: this machine's limits and kernel, and the file system of a folder.
void CheckLimits(Checkup& checkup);
void CheckNamespaces(Checkup& checkup);
void CheckFileSystem(Checkup& checkup, const std::string& folder);
// doctor_cluster.cc: what learners on GPUs and under Slurm need.
void CheckDriver(Checkup& checkup);
void CheckNccl(Checkup& checkup);
void CheckPmix(Checkup& checkup);
// The run's live coordinator: does it answer, and do the two clocks agree?
void CheckCoordinator(Checkup& checkup, const std::string& run_dir);

}  // namespace candor::cli
