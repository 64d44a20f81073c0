// Internal to core/transport_*.cc: the two key operations that need libzmq, so that zmq.h stays in one file.
#pragma once
#include <string>

#include "core/transport.h"

namespace candor {

inline constexpr int kRoleCount = 5;

Result<KeyPair> MakeCurveKeyPair();
// The public key that belongs to a secret one; "" when it is not a key.
std::string CurvePublicKey(const std::string& secret_key);
std::optional<Role> RoleFromName(const std::string& name);
// Who may open a connection to a server of which role.
bool MayConnect(Role client, Role server);

}  // namespace candor
