// The verifiers that are part of Candor: pure comparisons of the parsed answer with the row's accepted answers. An empty set of accepted
// answers means that every answer is wrong.
#pragma once
#include <memory>

#include "reward/verifiers/verifier.h"

namespace candor {

// kind: exact_match | accepted_set | f1 | numeric | choice; nullptr for any other.
std::unique_ptr<Verifier> MakeBuiltinVerifier(const VerifierOptions& options);

}  // namespace candor
