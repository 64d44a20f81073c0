// The lines of tools/make_text_references.py, made again from fragments.json, and the hash that stands for their ids.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"

namespace candor::text_test {

// Where the references lie; another folder (made with --out, --all) can be named for a wider look.
inline std::string Golden(const std::string& name) {
  const char* other = std::getenv("CANDOR_TEXT_GOLDEN");
  return (other != nullptr ? std::string(other) : std::string(CANDOR_SOURCE_DIR) + "/tests/golden/text") + "/" + name;
}
inline std::string SmolFolder() { return std::string(CANDOR_SOURCE_DIR) + "/models/SmolLM2-135M-Instruct"; }

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline void AppendUtf8(uint32_t c, std::string& out) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 63));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  }
}

struct Recipe {
  uint64_t seed = 0;
  uint64_t lines = 0;
  uint64_t block = 0;
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  std::vector<std::string> fragments;

  static Recipe Load() {
    const nlohmann::json json = nlohmann::json::parse(ReadAll(Golden("fragments.json")));
    return {json["seed"], json["lines"], json["block"], json["ranges"], json["fragments"]};
  }

  std::vector<std::string> Words(const std::string& fragment) const {
    std::vector<std::string> words(1);
    for (const char c : fragment) {
      if (c == ' ')
        words.emplace_back();
      else
        words.back() += c;
    }
    return words;
  }

  std::string Line(uint64_t i) const {
    const auto draw = [&](uint64_t k) { return SplitMix64(SplitMix64(seed ^ i) ^ k); };
    std::string text;
    for (uint64_t j = 1; j < 2 + draw(0) % 10; ++j) {
      const uint64_t r = draw(j);
      if (r % 16 == 0) {
        for (uint64_t m = 0; m < 1 + (r >> 8) % 5; ++m) {
          const uint64_t c = draw(1000 * j + m);
          const auto [low, high] = ranges[c % ranges.size()];
          AppendUtf8(static_cast<uint32_t>(low + (c >> 8) % (high - low + 1)), text);
        }
      } else if (r % 16 == 1) {
        text += std::to_string((r >> 16) % 1000000000);
      } else {
        const std::string& part = fragments[(r >> 8) % fragments.size()];
        const std::vector<std::string> words = Words(part);
        text += (r >> 32) % 3 > 0 ? words[(r >> 36) % words.size()] : part;
      }
      text += std::vector<std::string>{"", " ", "\n", "  "}[(r >> 56) % 4];
    }
    return text;
  }

  std::vector<std::string> AllLines() const {
    std::vector<std::string> all(lines);
    for (uint64_t i = 0; i < lines; ++i) all[i] = Line(i);
    return all;
  }
};

// FNV-1a, 64 bits, as hex.
class Fnv {
 public:
  void AddByte(uint8_t byte) { hash_ = (hash_ ^ byte) * 0x100000001B3ull; }
  void Add(std::string_view bytes) {
    for (const char c : bytes) AddByte(static_cast<uint8_t>(c));
  }
  void Add32(uint32_t x) {
    for (int shift = 0; shift < 32; shift += 8) AddByte(static_cast<uint8_t>(x >> shift));
  }
  std::string Hex() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

 private:
  uint64_t hash_ = 0xCBF29CE484222325ull;
};

}  // namespace candor::text_test
