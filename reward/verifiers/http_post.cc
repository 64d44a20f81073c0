#include "reward/verifiers/http_post.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace candor {

namespace {

constexpr size_t kMaxHeaderBytes = size_t{64} << 10;

// What a request's callbacks share.
struct Exchange {
  const UrlRules& rules;
  const std::string& host;
  size_t body_bytes_max;
  std::string body;
  size_t header_bytes = 0;
  std::string refused;  // the address that the rules refuse
};

size_t AppendBody(char* bytes, size_t size, size_t count, void* into) {
  auto& exchange = *static_cast<Exchange*>(into);
  if (exchange.body.size() + size * count > exchange.body_bytes_max) return 0;  // libcurl then fails with CURLE_WRITE_ERROR
  exchange.body.append(bytes, size * count);
  return size * count;
}

size_t CountHeader(char*, size_t size, size_t count, void* into) {
  size_t& bytes = static_cast<Exchange*>(into)->header_bytes;
  bytes += size * count;
  return bytes > kMaxHeaderBytes ? 0 : size * count;
}

// Called with the address that is about to be connected to, after the name was looked up: a name that meanwhile leads elsewhere is refused
// here. A connection that is kept open was let through here too.
curl_socket_t OpenSocket(void* into, curlsocktype, curl_sockaddr* address) {
  auto& exchange = *static_cast<Exchange*>(into);
  if (exchange.rules.Allows(exchange.host, address->addr))
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  char text[INET6_ADDRSTRLEN] = "?";
  const void* bytes = address->family == AF_INET6 ? static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(&address->addr)->sin6_addr)
                                                  : static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&address->addr)->sin_addr);
  if (address->family == AF_INET || address->family == AF_INET6) ::inet_ntop(address->family, bytes, text, sizeof text);
  exchange.refused = text;
  return CURL_SOCKET_BAD;
}

}  // namespace

struct HttpPoster::Connection {
  CURL* handle = curl_easy_init();
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { curl_easy_cleanup(handle); }
};
struct HttpPoster::Headers {
  curl_slist* list = nullptr;
  Headers() = default;
  Headers(const Headers&) = delete;
  Headers& operator=(const Headers&) = delete;
  ~Headers() { curl_slist_free_all(list); }
};

HttpPoster::HttpPoster(HttpTarget target, std::string host)
    : target_(std::move(target)), host_(std::move(host)), headers_(std::make_unique<Headers>()) {
  for (const char* header : {"Content-Type: application/json", "Expect:"}) headers_->list = curl_slist_append(headers_->list, header);
  if (!target_.bearer.empty()) headers_->list = curl_slist_append(headers_->list, ("Authorization: Bearer " + target_.bearer).c_str());
  for (int64_t i = 0; i < target_.connections; ++i) free_.push_back(std::make_unique<Connection>());
}
HttpPoster::~HttpPoster() = default;

Result<std::unique_ptr<HttpPoster>> HttpPoster::Make(HttpTarget target, const std::string& where) {
  CANDOR_ASSIGN(std::string host, CheckUrl(target.url, target.rules, where));
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (once != CURLE_OK) return Fail(ErrorCode::kInternal, std::string("libcurl did not start: ") + curl_easy_strerror(once));
  return std::unique_ptr<HttpPoster>(new HttpPoster(std::move(target), std::move(host)));
}

Result<HttpReply> HttpPoster::Post(const std::string& body) const {
  std::unique_ptr<Connection> connection;
  {
    std::unique_lock lock(mutex_);
    has_free_.wait(lock, [&] { return !free_.empty(); });  // bounded: every holder has a deadline
    connection = std::move(free_.back());
    free_.pop_back();
  }
  Result<HttpReply> reply = Send(*connection, body);
  std::scoped_lock lock(mutex_);
  free_.push_back(std::move(connection));
  has_free_.notify_one();
  return reply;
}

Result<HttpReply> HttpPoster::Send(Connection& connection, const std::string& sent) const {
  CURL* handle = connection.handle;
  const std::string& url = target_.url;
  if (handle == nullptr) return Fail(ErrorCode::kInternal, "libcurl gave no handle", url);
  Exchange exchange{target_.rules, host_, target_.reply_bytes_max, "", 0, ""};
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle, CURLOPT_PROXY, "");  // through a proxy the address would be the proxy's
  curl_easy_setopt(handle, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, CountHeader);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(target_.reply_bytes_max));
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(target_.timeout_s * 1000.0));
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers_->list);
  curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(sent.size()));
  curl_easy_setopt(handle, CURLOPT_POSTFIELDS, sent.data());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, AppendBody);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, why);
  const CURLcode code = curl_easy_perform(handle);
  HttpReply reply{0, std::move(exchange.body)};
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &reply.status);
  curl_easy_reset(handle);  // keeps the connection, and nothing that points to this call's memory
  if (!exchange.refused.empty() && code != CURLE_OK)
    return Fail(ErrorCode::kUnauthorized, fmt::format("{} leads to {}, which is not public", host_, exchange.refused), url,
                "if that is meant, name it: allow_hosts = [\"" + host_ + "\"], or allow_private = true");
  if (code == CURLE_WRITE_ERROR && exchange.header_bytes > kMaxHeaderBytes)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the reply's headers are larger than {} bytes", kMaxHeaderBytes), url);
  if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED)
    return Fail(ErrorCode::kInvalidInput, fmt::format("the reply is larger than {} bytes", target_.reply_bytes_max), url);
  if (code != CURLE_OK)
    return Fail(ErrorCode::kUnavailable, std::string("no reply: ") + (why[0] != '\0' ? why : curl_easy_strerror(code)), url);
  for (size_t at = 0; !target_.bearer.empty() && (at = reply.body.find(target_.bearer, at)) != std::string::npos; ++at)
    reply.body.replace(at, target_.bearer.size(), "*");  // some endpoints repeat the key that they refuse
  return reply;
}

}  // namespace candor
