// A user's verifier as an HTTP service: one POST of JSON per completion (json_protocol.h), answered with 200 and the verdict. Anything else
// — a refused connection, a time-out, another status, a body over 1 MiB, a redirect — is an unknown with the reason. Addresses are the
// recipe author's own (url_rules.h).
#pragma once
#include <memory>

#include "reward/verifiers/verifier.h"

namespace candor {

// Errors: no url, or one that is neither http nor https.
Result<std::unique_ptr<Verifier>> MakeHttpVerifier(const VerifierOptions& options);

}  // namespace candor
