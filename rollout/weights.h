// A published policy version on disk: RUN_DIR/weights/v<N>/ with the files of a Hugging Face folder and manifest.json, which is written
// last and lists every file with its size and hash. A version is used only after all of it was verified. No torch. Any thread.
#pragma once
#include <string>

#include "core/ids.h"
#include "core/result.h"
#include "proto/messages.h"

namespace candor {

// The folder of `version`, given what the coordinator says about the newest one: the versions lie side by side as v<N>.
Result<std::string> FolderOfVersion(const VersionInfo& newest, PolicyVersion version);
// Checks manifest.json (its own hash when `manifest_hash` is not empty) and every chunk it lists; the error names the file and the bytes
// that are wrong.
//   {"version": 3, "files": [{"name": "model.safetensors", "bytes": 269060552, "hash": "<XXH3-128>"} ...]}
// A file may instead list chunks: {"name": .., "bytes": .., "chunks": [{"offset": 0, "bytes": .., "hash": ..} ..]}, which cover it without
// gaps.
Status VerifyVersion(const std::string& folder, PolicyVersion version, const std::string& manifest_hash);

}  // namespace candor
