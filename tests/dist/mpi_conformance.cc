// One rank of the conformance suite over MPI; started by mpirun. Exit code 0 when this rank saw everything it should.
#include <cstdio>

#include "core/collective.h"
#include "tests/dist/collective_conformance.h"

int main(int argc, char**) {
  auto collective = candor::MakeMpiCollective({.deadline_ms = argc > 1 ? 1500 : 60000});
  if (!collective) {
    std::fprintf(stderr, "%s\n", collective.error().Message().c_str());
    return 1;
  }
  if (argc > 1 && (*collective)->rank() == (*collective)->size() - 1)
    return 0;  // the negative control: one rank leaves, the others must notice
  std::string difference = candor::CheckCollective(**collective);
  if (!difference.empty()) std::fprintf(stderr, "rank %d: %s\n", (*collective)->rank(), difference.c_str());
  return difference.empty() ? 0 : 1;
}
