// Where a verifier's URL may lead. A recipe, a data set or a redirect that names an internal address must not turn the reward tier into a
// client of whatever listens there (a cloud's metadata service, a neighbour's database). So by default only public addresses are spoken to,
// and what counts is the address that a connection is really opened to, not what a name said a moment before.
//
//   allow_hosts    these hosts, as written in the URL, may lie on loopback or private addresses
//   allow_private  every host may
// Link-local addresses (169.254.169.254 is the metadata service of every cloud) are reached only when the address itself is in allow_hosts.
// Pure, any thread.
#pragma once
#include <sys/socket.h>

#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

enum class AddressKind : uint8_t {
  kPublic,
  kPrivate,    // loopback, RFC 1918, shared (100.64/10), unique local
  kForbidden,  // unspecified, link-local, multicast, reserved, documentation
};
// IPv4 inside IPv6 (mapped, translated, 6to4) counts as what it holds. Families other than IPv4 and IPv6 are kForbidden.
AddressKind KindOf(const sockaddr& address);

struct UrlRules {
  std::vector<std::string> allow_hosts;
  bool allow_private = false;

  // May a connection for `host` be opened to this address?
  bool Allows(const std::string& host, const sockaddr& address) const;
};

// Checked before a run: http or https, no user name, no control characters or spaces, and a host that is not an address which the rules
// refuse (in any spelling: 127.1, 0x7f000001, 017700000001, [::ffff:127.0.0.1]). Returns the host, lower case, as the rules see it.
Result<std::string> CheckUrl(const std::string& url, const UrlRules& rules, const std::string& where);

}  // namespace candor
