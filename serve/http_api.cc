#include "serve/http_api.h"

#include <fmt/format.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "core/http_guard.h"
#include "core/thread.h"
#include "serve/answering.h"

namespace candor {

namespace {

constexpr int kReadTimeoutS = 10, kWriteTimeoutS = 30, kKeepAliveS = 2;
constexpr size_t kKeptAliveMax = 1024;
constexpr int kStreamWaitMs = 500;  // how soon a reader that went away is noticed

void Refuse(httplib::Response& response, const ApiError& error) {
  response.status = error.status;
  response.set_content(ToJson(error), "application/json");
}

void SendStream(std::unique_ptr<Answering> answering, httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  // shared: httplib copies the function that it is given
  response.set_chunked_content_provider("text/event-stream",
                                        [kept = std::shared_ptr<Answering>(std::move(answering))](size_t, httplib::DataSink& sink) {
                                          const std::string events = kept->Events(kStreamWaitMs);
                                          if (!sink.is_writable()) return false;
                                          if (!events.empty() && !sink.write(events.data(), events.size())) return false;
                                          if (kept->ended()) sink.done();
                                          return true;
                                        });
}

}  // namespace

struct ApiServer::Impl {
  httplib::Server server;
  ApiOptions options;
  const ServedModel* model = nullptr;
  EngineLoop* loop = nullptr;
  int port = 0;
  NamedThread thread;

  bool Admits(const httplib::Request& request, httplib::Response& response) const {
    const std::string bearer = "Bearer ", header = request.get_header_value("Authorization");
    if (options.token.empty() || (header.starts_with(bearer) && SameSecret(header.substr(bearer.size()), options.token))) return true;
    response.set_header("WWW-Authenticate", "Bearer");
    Refuse(response, {401, "send the server's token as Authorization: Bearer", "", "authentication_error", "invalid_api_key"});
    return false;
  }

  void Answer(Endpoint endpoint, const httplib::Request& request, httplib::Response& response) {
    if (!Admits(request, response)) return;
    if (!request.get_header_value("Content-Type").starts_with("application/json"))
      return Refuse(response, {415, "send the header Content-Type: application/json", "", "invalid_request_error", ""});
    auto answering = Answering::Begin(endpoint, request.body, options.limits, *model, *loop);
    if (!answering) return Refuse(response, answering.error());
    if ((*answering)->stream()) return SendStream(std::move(*answering), response);
    auto whole = (*answering)->Whole();
    if (!whole) return Refuse(response, whole.error());
    response.set_content(*whole, "application/json");
  }

  void Health(httplib::Response& response) const {
    const LoopState state = loop->state();
    const nlohmann::json json = {{"status", state.broken ? "broken" : "ok"},
                                 {"open_requests", state.open_requests},
                                 {"running", state.engine.running},
                                 {"running_max", state.engine.running_max},
                                 {"sampled_tokens", state.engine.sampled_tokens}};
    response.status = state.broken ? 503 : 200;
    response.set_content(json.dump(), "application/json");
  }

  void Routes() {
    server.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (IsOurHost(request.get_header_value("Host"), options.host)) return httplib::Server::HandlerResponse::Unhandled;
      Refuse(response, {421, "this is not the host that the request names: use an address, localhost or the machine's own name", "",
                        "invalid_request_error", "misdirected"});
      return httplib::Server::HandlerResponse::Handled;
    });
    server.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) { Health(response); });
    server.Get("/v1/models", [this](const httplib::Request& request, httplib::Response& response) {
      if (Admits(request, response)) response.set_content(ModelsJson(*model, true), "application/json");
    });
    server.Get("/v1/models/(.+)", [this](const httplib::Request& request, httplib::Response& response) {
      if (!Admits(request, response)) return;
      if (request.matches[1] == model->name) return response.set_content(ModelsJson(*model, false), "application/json");
      Refuse(response,
             {404, "there is no such model; '" + model->name + "' is served", "model", "invalid_request_error", "model_not_found"});
    });
    server.Post("/v1/chat/completions",
                [this](const httplib::Request& request, httplib::Response& response) { Answer(Endpoint::kChat, request, response); });
    server.Post("/v1/completions", [this](const httplib::Request& request, httplib::Response& response) {
      Answer(Endpoint::kCompletions, request, response);
    });
    server.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
      if (!response.body.empty()) return;
      const std::string why = response.status == 404   ? "there is nothing at " + request.method + " " + request.path.substr(0, 100)
                              : response.status == 413 ? "the body is too large"
                                                       : fmt::format("HTTP status {}", response.status);
      Refuse(response, {response.status, why, "", "invalid_request_error", ""});
    });
    server.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr escaped) {
      try {
        std::rethrow_exception(escaped);
      } catch (const std::exception& error) {
        spdlog::error("http request failed: {}", error.what());
        Refuse(response, {500, error.what(), "", "server_error", ""});
      }
    });
  }
};

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<ApiServer>> ApiServer::Start(const ApiOptions& options, const ServedModel& model, EngineLoop& loop) {
  if (options.token.empty() && !IsLoopback(options.host))
    return Fail(ErrorCode::kUnauthorized, "others could reach " + options.host + ", and nobody would be asked for a token", "--host",
                "give one with --api-key-file or --api-key-env, or serve on 127.0.0.1");
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->model = &model, impl->loop = &loop;
  const auto threads = static_cast<size_t>(options.connections);
  impl->server.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };  // httplib owns and deletes it
  impl->server.set_payload_max_length(options.body_bytes_max);
  impl->server.set_read_timeout(kReadTimeoutS);
  impl->server.set_write_timeout(kWriteTimeoutS);
  impl->server.set_keep_alive_max_count(kKeptAliveMax);
  impl->server.set_keep_alive_timeout(kKeepAliveS);
  impl->server.set_tcp_nodelay(true);
  impl->Routes();
  if (options.port == 0)
    impl->port = impl->server.bind_to_any_port(options.host);
  else
    impl->port = impl->server.bind_to_port(options.host, options.port) ? options.port : -1;
  if (impl->port <= 0)
    return Fail(ErrorCode::kUnavailable, "cannot serve HTTP here", fmt::format("{}:{}", options.host, options.port),
                "choose a free --port, or 0");
  Impl* running = impl.get();
  impl->thread = NamedThread("http", [running] { running->server.listen_after_bind(); });
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

ApiServer::~ApiServer() {
  while (!impl_->server.is_running())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // stop() before listen() would be forgotten
  impl_->server.stop();
  impl_->thread.Join();
}

std::string ApiServer::url() const {
  const std::string& host = impl_->options.host;
  return host.find(':') == std::string::npos ? fmt::format("http://{}:{}", host, impl_->port)
                                             : fmt::format("http://[{}]:{}", host, impl_->port);
}

}  // namespace candor
