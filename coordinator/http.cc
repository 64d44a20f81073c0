#include "coordinator/http.h"

#include <fmt/format.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>

#include "coordinator/dashboard/page.h"
#include "core/http_guard.h"
#include "core/thread.h"

namespace candor {

namespace {

constexpr size_t kMaxRequestBytes = 1 << 16;
constexpr int kReadTimeoutS = 2, kWriteTimeoutS = 10;
constexpr size_t kQueuedRequestsMax = 1024;

void SendError(httplib::Response& response, int status, const std::string& type, const std::string& message) {
  response.status = status;
  response.set_content(
      nlohmann::json{{"error", {{"type", type}, {"message", message}}}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
      "application/json");
}

bool Authorized(const httplib::Request& request, const std::string& token) {
  const std::string bearer = "Bearer ", header = request.get_header_value("Authorization");
  if (header.starts_with(bearer)) return SameSecret(header.substr(bearer.size()), token);
  return request.has_param("token") && SameSecret(request.get_param_value("token"), token);
}

// A number parameter; absent: `otherwise`.
Result<uint64_t> NumberParam(const httplib::Request& request, const char* name, uint64_t otherwise) {
  if (!request.has_param(name)) return otherwise;
  const std::string text = request.get_param_value(name);
  uint64_t value = 0;
  auto [stop, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad != std::errc() || stop != text.data() + text.size() || text.empty())
    return Fail(ErrorCode::kInvalidInput, fmt::format("'{}' is not a step number", text.substr(0, 40)), name, "give a whole number");
  return value;
}

int StatusOf(const Error& error) {
  return error.code == ErrorCode::kInvalidInput   ? 400
         : error.code == ErrorCode::kNotFound     ? 404
         : error.code == ErrorCode::kUnauthorized ? 401
                                                  : 500;
}

using Handler = std::function<Status(const httplib::Request&, httplib::Response&)>;

}  // namespace

struct HttpServer::Impl {
  httplib::Server server;
  HttpSource source;
  std::string host;
  int port = 0;
  std::atomic<bool> ended{false};
  NamedThread thread;

  void Guarded(const char* path, Handler handler) {
    server.Get(path, [this, handler = std::move(handler)](const httplib::Request& request, httplib::Response& response) {
      if (!Authorized(request, source.token)) {
        response.set_header("WWW-Authenticate", "Bearer");
        return SendError(response, 401, "unauthorized",
                         "send the run's token (RUN_DIR/keys/token) as Authorization: Bearer, or as ?token=");
      }
      if (Status done = handler(request, response); !done)
        SendError(response, StatusOf(done.error()), ErrorCodeName(done.error().code), done.error().Message());
    });
  }

  void Routes() {
    server.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (IsOurHost(request.get_header_value("Host"), host)) return httplib::Server::HandlerResponse::Unhandled;
      SendError(response, 421, "misdirected",
                "this is not the host that the request names: use an address, localhost or the machine's own name");
      return httplib::Server::HandlerResponse::Handled;
    });
    server.Get("/healthz", [](const httplib::Request&, httplib::Response& response) { response.set_content("ok\n", "text/plain"); });
    // The page itself tells nothing: it asks for everything with the token that stands in its URL's fragment, which browsers do not send.
    server.Get("/", [](const httplib::Request&, httplib::Response& response) {
      response.set_header("Content-Security-Policy",
                          "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'");
      response.set_header("Referrer-Policy", "no-referrer");
      response.set_header("Cache-Control", "no-store");
      response.set_content(std::string(kDashboardPage), "text/html; charset=utf-8");
    });
    Guarded("/metrics", [this](const httplib::Request&, httplib::Response& response) -> Status {
      response.set_content(source.prometheus(), "text/plain; version=0.0.4");
      return {};
    });
    Guarded("/api/status", [this](const httplib::Request&, httplib::Response& response) -> Status {
      response.set_content(source.status_json(), "application/json");
      return {};
    });
    Guarded("/api/metrics", [this](const httplib::Request& request, httplib::Response& response) -> Status {
      CANDOR_ASSIGN(uint64_t from, NumberParam(request, "from", 0));
      CANDOR_ASSIGN(std::vector<std::string> lines, source.metric_lines(from));
      response.set_content(fmt::format("[{}]", fmt::join(lines, ",")), "application/json");
      return {};
    });
    Guarded("/api/calibration", [this](const httplib::Request& request, httplib::Response& response) -> Status {
      HttpSource::CalibrationQuery query;
      query.stream = request.has_param("stream") ? request.get_param_value("stream") : "train";
      query.signal = request.get_param_value("signal");
      query.slice = request.get_param_value("slice");
      CANDOR_ASSIGN(query.from, NumberParam(request, "from", 0));
      CANDOR_ASSIGN(query.to, NumberParam(request, "to", UINT64_MAX));
      CANDOR_ASSIGN(std::string json, source.calibration_json(query));
      response.set_content(json, "application/json");
      return {};
    });
    server.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
      if (response.body.empty())
        SendError(response, response.status, "http", fmt::format("{} {}", response.status, request.path.substr(0, 100)));
    });
    server.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr escaped) {
      try {
        std::rethrow_exception(escaped);
      } catch (const std::exception& error) {
        spdlog::error("http request failed: {}", error.what());
        SendError(response, 500, "internal", error.what());
      }
    });
  }
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& host, int port, int threads, HttpSource source) {
  auto impl = std::make_unique<Impl>();
  impl->source = std::move(source);
  impl->host = host;
  impl->server.new_task_queue = [threads] { return new httplib::ThreadPool(static_cast<size_t>(threads)); };  // httplib owns and deletes it
  impl->server.set_payload_max_length(kMaxRequestBytes);
  impl->server.set_read_timeout(kReadTimeoutS);
  impl->server.set_write_timeout(kWriteTimeoutS);
  impl->server.set_keep_alive_max_count(kQueuedRequestsMax);
  impl->server.set_keep_alive_timeout(1);
  impl->Routes();
  const bool any = port == 0;
  if (any)
    impl->port = impl->server.bind_to_any_port(host);
  else
    impl->port = impl->server.bind_to_port(host, port) ? port : -1;
  if (impl->port <= 0)
    return Fail(ErrorCode::kUnavailable, "cannot serve HTTP here", fmt::format("{}:{}", host, port),
                "set coordinator.http_port to a free port, or 0");
  Impl* running = impl.get();
  impl->thread = NamedThread("http", [running] {
    running->server.listen_after_bind();
    running->ended = true;
  });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  while (!impl_->server.is_running() && !impl_->ended)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // stop() before listen() would be forgotten
  impl_->server.stop();
  impl_->thread.Join();
}

std::string HttpServer::url() const { return fmt::format("http://{}:{}", impl_->host, impl_->port); }

Result<std::string> HttpGet(const std::string& url, const std::string& path, const std::string& token, int deadline_s) {
  httplib::Client client(url);
  client.set_connection_timeout(deadline_s);
  client.set_read_timeout(deadline_s);
  const auto answer = client.Get(path, {{"Authorization", "Bearer " + token}});
  if (!answer) return Fail(ErrorCode::kUnavailable, "no answer: " + httplib::to_string(answer.error()), url + path);
  if (answer->status != 200)
    return Fail(answer->status == 401 ? ErrorCode::kUnauthorized : ErrorCode::kUnavailable, fmt::format("answered {}", answer->status),
                url + path);
  return answer->body;
}

}  // namespace candor
