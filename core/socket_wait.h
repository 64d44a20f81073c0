// Waiting for TCP sockets by a deadline (SteadyMs()); a signal does not end a wait. Any thread.
#pragma once
#include <netinet/in.h>

#include <cstdint>

namespace candor {

// False when it is `end_ms` before the socket is ready for `events` (POLLIN, POLLOUT), or where it cannot be waited for.
bool WaitForSocket(int fd, short events, int64_t end_ms);
// Connects a non-blocking socket: 0, or the errno of why not (ETIMEDOUT: not by then). A blocking one may take TCP's two minutes first.
int ConnectSocket(int fd, const sockaddr_in& to, int64_t end_ms);

}  // namespace candor
