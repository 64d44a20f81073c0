#include "reward/verifiers/url_rules.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace candor {

namespace {

struct Block {
  uint32_t address;
  int bits;
  AddressKind kind;
};
constexpr uint32_t At(uint32_t a, uint32_t b, uint32_t c) { return a << 24 | b << 16 | c << 8; }
// IANA's registry of special-purpose addresses.
constexpr Block kBlocks4[] = {{At(0, 0, 0), 8, AddressKind::kForbidden},      {At(10, 0, 0), 8, AddressKind::kPrivate},
                              {At(100, 64, 0), 10, AddressKind::kPrivate},    {At(127, 0, 0), 8, AddressKind::kPrivate},
                              {At(169, 254, 0), 16, AddressKind::kForbidden}, {At(172, 16, 0), 12, AddressKind::kPrivate},
                              {At(192, 0, 0), 24, AddressKind::kForbidden},   {At(192, 0, 2), 24, AddressKind::kForbidden},
                              {At(192, 88, 99), 24, AddressKind::kForbidden}, {At(192, 168, 0), 16, AddressKind::kPrivate},
                              {At(198, 18, 0), 15, AddressKind::kForbidden},  {At(198, 51, 100), 24, AddressKind::kForbidden},
                              {At(203, 0, 113), 24, AddressKind::kForbidden}, {At(224, 0, 0), 4, AddressKind::kForbidden},
                              {At(240, 0, 0), 4, AddressKind::kForbidden}};

AddressKind KindOf4(uint32_t address) {
  for (const Block& block : kBlocks4)
    if ((address ^ block.address) >> (32 - block.bits) == 0) return block.kind;
  return AddressKind::kPublic;
}

uint32_t Embedded(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 | static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

AddressKind KindOf6(const uint8_t* a) {
  const bool zeros_10 = std::all_of(a, a + 10, [](uint8_t byte) { return byte == 0; });
  if (zeros_10 && a[10] == 0xff && a[11] == 0xff) return KindOf4(Embedded(a + 12));  // ::ffff:a.b.c.d
  if (zeros_10 && a[10] == 0 && a[11] == 0)                                          // ::, ::1, ::a.b.c.d
    return Embedded(a + 12) == 1 ? AddressKind::kPrivate : AddressKind::kForbidden;
  if (a[0] == 0x00 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b) return KindOf4(Embedded(a + 12));  // 64:ff9b::a.b.c.d
  if (a[0] == 0x20 && a[1] == 0x02) return KindOf4(Embedded(a + 2));                                   // 6to4
  if ((a[0] & 0xfe) == 0xfc) return AddressKind::kPrivate;                                             // fc00::/7
  const bool global = (a[0] & 0xe0) == 0x20;                                                           // 2000::/3
  const bool protocol_block = a[0] == 0x20 && a[1] == 0x01 && a[2] < 0x02;                             // 2001::/23: Teredo and others
  const bool documentation = a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0d && a[3] == 0xb8;
  return global && !protocol_block && !documentation ? AddressKind::kPublic : AddressKind::kForbidden;
}

bool SameHost(std::string_view a, std::string_view b) {
  const auto bare = [](std::string_view host) {
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (host.ends_with('.')) host.remove_suffix(1);
    return host;
  };
  a = bare(a), b = bare(b);
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool Named(const std::vector<std::string>& hosts, const std::string& host) {
  return std::any_of(hosts.begin(), hosts.end(), [&](const std::string& allowed) { return SameHost(allowed, host); });
}

// The address that a host spells, in any of the forms that inet_aton and inet_pton take.
bool AsAddress(const std::string& host, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  std::string bare = host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
  if (const size_t zone = bare.find('%'); zone != std::string::npos) bare.resize(zone);
  auto* four = reinterpret_cast<sockaddr_in*>(&out);
  auto* six = reinterpret_cast<sockaddr_in6*>(&out);
  if (::inet_pton(AF_INET6, bare.c_str(), &six->sin6_addr) == 1) return six->sin6_family = AF_INET6, true;
  if (!bare.empty() && bare.back() == '.') bare.pop_back();
  if (::inet_aton(bare.c_str(), &four->sin_addr) == 1) return four->sin_family = AF_INET, true;
  return false;
}

struct UrlDelete {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
std::string Part(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK || text == nullptr) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

}  // namespace

AddressKind KindOf(const sockaddr& address) {
  if (address.sa_family == AF_INET) return KindOf4(ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr));
  if (address.sa_family == AF_INET6) return KindOf6(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr);
  return AddressKind::kForbidden;
}

bool UrlRules::Allows(const std::string& host, const sockaddr& address) const {
  const AddressKind kind = KindOf(address);
  if (kind == AddressKind::kPublic) return true;
  if (kind == AddressKind::kPrivate) return allow_private || Named(allow_hosts, host);
  sockaddr_storage spelt;
  return address.sa_family != AF_UNSPEC && AsAddress(host, spelt) && Named(allow_hosts, host);
}

Result<std::string> CheckUrl(const std::string& url, const UrlRules& rules, const std::string& where) {
  constexpr const char* kShape = "write url = \"http://host:port/path\"";
  constexpr size_t kMaxUrlBytes = 4096;
  const std::string shown = url.substr(0, 100);
  const auto bad = [&](const std::string& what, const char* fix) {
    return Fail(ErrorCode::kInvalidInput, fmt::format("its url '{}' {}", shown, what), where, fix);
  };
  if (!url.starts_with("http://") && !url.starts_with("https://")) return bad("is neither http:// nor https://", kShape);
  if (url.size() > kMaxUrlBytes) return bad(fmt::format("is longer than {} bytes", kMaxUrlBytes), kShape);
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f || c == '\\'; }))
    return bad("holds spaces, backslashes or control characters", kShape);
  std::unique_ptr<CURLU, UrlDelete> parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK)
    return bad("cannot be read, or holds a user name", kShape);
  std::string host = Part(parsed.get(), CURLUPART_HOST);
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  sockaddr_storage spelt;
  if (host.empty()) return bad("has no host", kShape);
  if (AsAddress(host, spelt) && !rules.Allows(host, reinterpret_cast<const sockaddr&>(spelt)))
    return bad("leads to an address that is not public",
               "if that is meant, name it: allow_hosts = [\"<host as in the url>\"], or allow_private = true");
  return host;
}

}  // namespace candor
