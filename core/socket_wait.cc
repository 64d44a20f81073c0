#include "core/socket_wait.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "core/clock.h"

namespace candor {

bool WaitForSocket(int fd, short events, int64_t end_ms) {
  for (int64_t left; (left = end_ms - SteadyMs()) > 0;) {
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
  return false;
}

int ConnectSocket(int fd, const sockaddr_in& to, int64_t end_ms) {
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  if (!WaitForSocket(fd, POLLOUT, end_ms)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace candor
