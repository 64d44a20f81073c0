// The lossless difference of one chunk of weights from the version before: the positions whose value changed and their new values. Values
// are overwritten, never combined with the old ones, so that applying a delta twice gives the same bytes. Pure functions, any thread.
//
// Format (docs/formats.md), little endian:
//    0  8 bytes   "CNDELTA1"
//    8  u32       bytes of an element: 2 or 4
//   12  u32       changed elements
//   16  u64       bytes of the chunk
//   24  u32       packing of the body: 0 = as it is, 1 = one zstd frame
//   28  u32       bytes of the body before packing
//   32  32 bytes  XXH3-128 of the base chunk, hex
//   64            body: for each changed element the gap to the changed one before it (LEB128; the first counts from 0), then the new
//   values
//                 as byte planes: all first bytes, all second bytes, ...
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace candor {

inline constexpr size_t kHashDigits = 32;                         // of a content hash: XXH3-128, hex
inline constexpr uint64_t kChunkContentMax = uint64_t{64} << 20;  // bytes that one chunk may have
inline constexpr double kDeltaShareMax = 0.8;                     // of the full chunk: a larger delta is not worth it

// nullopt where a full chunk is the better choice. Both have the same size, a multiple of element_bytes (2 or 4), at most kChunkContentMax.
std::optional<std::string> EncodeDelta(std::string_view base, std::string_view next, uint32_t element_bytes, const std::string& base_hash);

// The new chunk. `base_hash` is that of `base`, known to be right. Every malformed delta is an error of its own (kInvalidInput), another
// base is kVersionSkew; nothing is allocated that the chunk's own size does not justify. Whether the result is what was meant only its
// hash can tell: the caller compares it with the manifest's.
Result<std::string> ApplyDelta(std::string_view base, const std::string& base_hash, std::string_view delta);

}  // namespace candor
