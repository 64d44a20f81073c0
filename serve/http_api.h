// The HTTP side of `candor serve`: POST /v1/chat/completions and /v1/completions, GET /v1/models, /v1/models/NAME and /healthz. Everything
// under /v1 asks for the token where there is one (Authorization: Bearer). A request whose Host is neither an address nor a name of this
// machine is refused (421), and so is a POST that is not application/json: a web page cannot send that here without asking first, and
// nobody answers its question. Own threads, one per open connection.
#pragma once
#include <memory>
#include <string>

#include "core/result.h"
#include "serve/engine_loop.h"
#include "serve/reply.h"

namespace candor {

struct ApiOptions {
  std::string host = "127.0.0.1";
  int port = 0;       // 0: any free one
  std::string token;  // "" = nobody is asked for one
  size_t body_bytes_max = size_t{4} << 20;
  int connections = 64;
  RequestLimits limits;
};

class ApiServer {
 public:
  // Model and loop must outlive the server. Errors: an address that is not the loopback without a token, one that cannot be bound.
  static Result<std::unique_ptr<ApiServer>> Start(const ApiOptions& options, const ServedModel& model, EngineLoop& loop);
  // Open requests should have been ended by the loop's Stop; connections are closed.
  ~ApiServer();
  std::string url() const;

 private:
  struct Impl;
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor
