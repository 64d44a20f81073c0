#include "weights/delta.h"

#include <fmt/format.h>
#include <zstd.h>

#include <bit>
#include <cstring>
#include <vector>

#include "core/check.h"

namespace candor {

namespace {

static_assert(std::endian::native == std::endian::little, "the format's numbers are copied as they lie in memory");
constexpr std::string_view kMagic = "CNDELTA1";
constexpr size_t kHeaderBytes = 64;
constexpr int kZstdLevel = 1;
constexpr uint64_t kGapBytesMax = 5;

struct Header {
  uint32_t element_bytes = 0, count = 0;
  uint64_t content_bytes = 0;
  uint32_t packing = 0, body_bytes = 0;
};
static_assert(sizeof(Header) == 24);

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Indices of the elements that differ; stops early, with `limit` + 1 of them, where they are too many.
std::vector<uint32_t> Changed(std::string_view base, std::string_view next, uint32_t element_bytes, size_t limit) {
  std::vector<uint32_t> changed;
  const size_t words = next.size() / 8 * 8;
  const auto element = [&](size_t byte) {
    if (std::memcmp(base.data() + byte, next.data() + byte, element_bytes) != 0)
      changed.push_back(static_cast<uint32_t>(byte / element_bytes));
  };
  for (size_t byte = 0; byte < words && changed.size() <= limit; byte += 8) {
    uint64_t a = 0, b = 0;
    std::memcpy(&a, base.data() + byte, 8), std::memcpy(&b, next.data() + byte, 8);
    if (a == b) continue;
    for (size_t at = byte; at < byte + 8; at += element_bytes) element(at);
  }
  for (size_t byte = words; byte < next.size(); byte += element_bytes) element(byte);
  return changed;
}

std::string Body(const std::vector<uint32_t>& changed, std::string_view next, uint32_t element_bytes) {
  std::string body;
  body.reserve(changed.size() * (element_bytes + 2));
  uint64_t before = 0;
  for (uint32_t index : changed) AppendVarint(body, index - before), before = index;
  for (uint32_t plane = 0; plane < element_bytes; ++plane)
    for (uint32_t index : changed) body.push_back(next[size_t{index} * element_bytes + plane]);
  return body;
}

tl::unexpected<Error> Malformed(const std::string& what) {
  return Fail(ErrorCode::kInvalidInput, "malformed delta: " + what, "", "fetch the chunk from another source");
}

Result<Header> ReadHeader(std::string_view delta, std::string_view base, const std::string& base_hash) {
  if (delta.size() < kHeaderBytes) return Malformed(fmt::format("{} bytes are shorter than its header", delta.size()));
  if (delta.substr(0, kMagic.size()) != kMagic) return Malformed("it does not begin with " + std::string(kMagic));
  Header header;
  std::memcpy(&header, delta.data() + kMagic.size(), sizeof header);
  if (header.element_bytes != 2 && header.element_bytes != 4) return Malformed(fmt::format("elements of {} bytes", header.element_bytes));
  if (header.content_bytes != base.size())
    return Malformed(fmt::format("it is for a chunk of {} bytes, the base has {}", header.content_bytes, base.size()));
  if (header.content_bytes > kChunkContentMax || header.content_bytes % header.element_bytes != 0)
    return Malformed(fmt::format("a chunk of {} bytes in elements of {}", header.content_bytes, header.element_bytes));
  if (header.count > header.content_bytes / header.element_bytes)
    return Malformed(fmt::format("{} changed elements of {}", header.count, header.content_bytes / header.element_bytes));
  if (header.packing > 1) return Malformed(fmt::format("unknown packing {}", header.packing));
  const uint64_t least = uint64_t{header.count} * (1 + header.element_bytes);
  const uint64_t most = uint64_t{header.count} * (kGapBytesMax + header.element_bytes);
  if (header.body_bytes < least || header.body_bytes > most)
    return Malformed(fmt::format("a body of {} bytes for {} changed elements", header.body_bytes, header.count));
  const std::string_view wanted = delta.substr(kHeaderBytes - kHashDigits, kHashDigits);
  if (wanted != base_hash)
    return Fail(ErrorCode::kVersionSkew, fmt::format("the delta is for the base {}, not for {}", wanted, base_hash), "",
                "fetch the next full version and the deltas after it");
  return header;
}

Result<std::string> Unpack(const Header& header, std::string_view packed) {
  if (header.packing == 0) {
    if (packed.size() != header.body_bytes)
      return Malformed(fmt::format("{} bytes of body, its header says {}", packed.size(), header.body_bytes));
    return std::string(packed);
  }
  const unsigned long long said = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (said != header.body_bytes) return Malformed("its zstd frame is not of the size that the header says");
  std::string body(header.body_bytes, '\0');
  const size_t got = ZSTD_decompress(body.data(), body.size(), packed.data(), packed.size());
  if (ZSTD_isError(got)) return Malformed(std::string("zstd: ") + ZSTD_getErrorName(got));
  if (got != body.size()) return Malformed("its zstd frame ends early");
  return body;
}

}  // namespace

std::optional<std::string> EncodeDelta(std::string_view base, std::string_view next, uint32_t element_bytes, const std::string& base_hash) {
  CANDOR_CHECK(base.size() == next.size() && next.size() <= kChunkContentMax);
  CANDOR_CHECK((element_bytes == 2 || element_bytes == 4) && next.size() % element_bytes == 0 && base_hash.size() == kHashDigits);
  const auto worth = static_cast<size_t>(static_cast<double>(next.size()) * kDeltaShareMax);
  const std::vector<uint32_t> changed = Changed(base, next, element_bytes, worth / element_bytes);
  if (changed.size() * element_bytes > worth) return std::nullopt;
  std::string body = Body(changed, next, element_bytes);
  Header header{element_bytes, static_cast<uint32_t>(changed.size()), next.size(), 0, static_cast<uint32_t>(body.size())};
  std::string packed(ZSTD_compressBound(body.size()), '\0');
  const size_t packed_bytes = ZSTD_compress(packed.data(), packed.size(), body.data(), body.size(), kZstdLevel);
  if (!ZSTD_isError(packed_bytes) && packed_bytes < body.size()) {
    packed.resize(packed_bytes);
    body = std::move(packed);
    header.packing = 1;
  }
  if (kHeaderBytes + body.size() > worth && !changed.empty()) return std::nullopt;
  std::string delta(kMagic);
  delta.append(reinterpret_cast<const char*>(&header), sizeof header);
  return delta + base_hash + body;
}

Result<std::string> ApplyDelta(std::string_view base, const std::string& base_hash, std::string_view delta) {
  CANDOR_ASSIGN(const Header header, ReadHeader(delta, base, base_hash));
  CANDOR_ASSIGN(const std::string body, Unpack(header, delta.substr(kHeaderBytes)));
  const size_t values = body.size() - size_t{header.count} * header.element_bytes;  // the gaps end here
  const uint64_t elements = header.content_bytes / header.element_bytes;
  std::string next(base);
  size_t at = 0;
  uint64_t index = 0;
  for (uint32_t i = 0; i < header.count; ++i) {
    uint64_t gap = 0;
    for (uint32_t shift = 0;; shift += 7) {
      if (at == values || shift >= 7 * kGapBytesMax) return Malformed(fmt::format("the gap of change {} does not end", i));
      const auto byte = static_cast<uint8_t>(body[at++]);
      gap |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) break;
    }
    if (i > 0 && gap == 0) return Malformed(fmt::format("change {} is at the position of the one before", i));
    index += gap;
    if (index >= elements) return Malformed(fmt::format("change {} is at element {} of {}", i, index, elements));
    for (uint32_t plane = 0; plane < header.element_bytes; ++plane)
      next[index * header.element_bytes + plane] = body[values + size_t{plane} * header.count + i];
  }
  if (at != values) return Malformed(fmt::format("{} bytes between the gaps and the values", values - at));
  return next;
}

}  // namespace candor
