#include "core/http_guard.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <iterator>

namespace candor {

namespace {

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Without the port, which is a number, in lower case.
std::string HostWithoutPort(std::string host) {
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find_first_not_of("0123456789", colon + 1) == std::string::npos) host.resize(colon);
  return LowerCase(std::move(host));
}

bool IsIpAddress(std::string host) {
  if (host.find('\0') != std::string::npos) return false;  // inet_pton would read up to it
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  in6_addr ignored{};
  return ::inet_pton(AF_INET, host.c_str(), &ignored) == 1 || ::inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

}  // namespace

bool SameSecret(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  return difference == 0;
}

bool IsOurHost(const std::string& host_header, const std::string& configured) {
  const std::string host = HostWithoutPort(host_header);
  char self[256] = "";
  ::gethostname(self, sizeof self - 1);
  const std::string own = LowerCase(self), candidates[] = {"localhost", LowerCase(configured), own, own.substr(0, own.find('.'))};
  return IsIpAddress(host) || std::find(std::begin(candidates), std::end(candidates), host) != std::end(candidates);
}

bool IsLoopback(const std::string& host) {
  in_addr four{};
  if (::inet_pton(AF_INET, host.c_str(), &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
  return host == "localhost" || host == "::1";
}

}  // namespace candor
