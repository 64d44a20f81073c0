// Records that only a holder of the run's keys can write: JSON with a message authentication code (HMAC-SHA-512/256) over it. "The trainer
// is done" and "the run is done" are such records, because an exit code proves nothing on a cluster: srun returns 0 when it lost a node.
// Any thread.
#pragma once
#include <string>

#include "core/result.h"
#include "core/transport.h"

namespace candor {

// Writes {"record": body, "mac": hex} atomically. `body` is a JSON object as text; `purpose` is part of what is signed, so that one kind of
// record cannot stand in for another.
Status WriteSignedRecord(const std::string& path, const std::string& purpose, const std::string& body, const RunKeys& keys);
// The body. kNotFound: there is none; kUnauthorized: it was not written with this run's keys, or was changed, or has another purpose.
Result<std::string> ReadSignedRecord(const std::string& path, const std::string& purpose, const RunKeys& keys);

}  // namespace candor
