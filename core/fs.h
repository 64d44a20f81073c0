// Files the careful way: whole-file reads with a limit, atomic durable writes (temporary file, fsync, rename, fsync of the folder), locks
// by link(2), hashes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace candor {

Result<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 32);
// After it returns, the file holds all of `bytes` or what it held before, whatever dies.
Status WriteFileAtomic(const std::string& path, std::string_view bytes, bool durable = true);
Status MakeFolders(const std::string& path);
Status SyncFolder(const std::string& path);
Status RemoveTree(const std::string& path);
bool FileExists(const std::string& path);
// A name that stays in its folder, whoever wrote it: not empty, not . or .., at most 255 bytes, without / and control characters.
bool IsPlainFileName(std::string_view name);
// XXH3-128 of the bytes, 32 hex digits.
std::string HashHex(std::string_view bytes);
Result<std::string> HashFileHex(const std::string& path);
// Creates `path` holding `bytes` only if it does not exist yet, by link(2), which is atomic on shared file systems. kUnavailable when
// somebody else was first.
Status CreateExclusive(const std::string& path, std::string_view bytes);

}  // namespace candor
