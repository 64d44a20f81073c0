#include "reward/verifiers/http_verifier.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>

#include "reward/verifiers/failure_log.h"
#include "reward/verifiers/json_protocol.h"
#include "reward/verifiers/url_rules.h"

namespace candor {

namespace {

constexpr size_t kMaxHeaderBytes = size_t{64} << 10;

struct CurlDelete {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDelete>;
struct HeadersDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// What a request's callbacks share.
struct Exchange {
  const UrlRules& rules;
  const std::string& host;
  std::string body;
  size_t header_bytes = 0;
  std::string refused;  // the address that the rules refuse
};

size_t AppendBody(char* bytes, size_t size, size_t count, void* into) {
  std::string& body = static_cast<Exchange*>(into)->body;
  if (body.size() + size * count > kMaxReplyBytes) return 0;  // libcurl then fails with CURLE_WRITE_ERROR
  body.append(bytes, size * count);
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

class HttpVerifier final : public Verifier {
 public:
  HttpVerifier(const VerifierOptions& options, UrlRules rules, std::string host)
      : options_(options), rules_(std::move(rules)), host_(std::move(host)) {
    headers_.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
    headers_.reset(curl_slist_append(headers_.release(), "Expect:"));
    for (int64_t i = 0; i < options.processes; ++i) free_.emplace_back(curl_easy_init());
  }

  Verdict Grade(const GradeRequest& request) const override {
    CurlHandle handle = Take();
    Result<Verdict> verdict = Ask(handle.get(), request);
    Return(std::move(handle));
    if (verdict) return std::move(*verdict);
    failures_.Note(options_.name, request.id, verdict.error());
    return UnknownVerdict(verdict.error().Message());
  }

 private:
  Result<Verdict> Ask(CURL* handle, const GradeRequest& request) const {
    if (handle == nullptr) return Fail(ErrorCode::kInternal, "libcurl gave no handle", options_.url);
    const std::string sent = EncodeGradeRequest(request);
    Exchange exchange{rules_, host_, "", 0, ""};
    char why[CURL_ERROR_SIZE] = "";
    curl_easy_reset(handle);  // keeps the connection
    curl_easy_setopt(handle, CURLOPT_URL, options_.url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_PROXY, "");  // through a proxy the address would be the proxy's
    curl_easy_setopt(handle, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, &exchange);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, CountHeader);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(kMaxReplyBytes));
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout_s * 1000.0));
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(sent.size()));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, sent.data());
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, AppendBody);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(handle);
    const std::string& body = exchange.body;
    if (!exchange.refused.empty() && code != CURLE_OK)
      return Fail(ErrorCode::kUnauthorized, fmt::format("{} leads to {}, which is not public", host_, exchange.refused), options_.url,
                  "if that is meant, name it: allow_hosts = [\"" + host_ + "\"], or allow_private = true");
    if (code == CURLE_WRITE_ERROR && exchange.header_bytes > kMaxHeaderBytes)
      return Fail(ErrorCode::kInvalidInput, fmt::format("the reply's headers are larger than {} bytes", kMaxHeaderBytes), options_.url);
    if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED)
      return Fail(ErrorCode::kInvalidInput, fmt::format("the reply is larger than {} bytes", kMaxReplyBytes), options_.url);
    if (code != CURLE_OK)
      return Fail(ErrorCode::kUnavailable, std::string("no reply: ") + (why[0] != '\0' ? why : curl_easy_strerror(code)), options_.url);
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
      return Fail(ErrorCode::kUnavailable, fmt::format("answered with HTTP status {}: {}", status, body.substr(0, 120)), options_.url);
    return DecodeGradeReply(body, request.id);
  }

  CurlHandle Take() const {
    std::unique_lock lock(mutex_);
    has_free_.wait(lock, [&] { return !free_.empty(); });  // bounded: every holder has a deadline
    CurlHandle handle = std::move(free_.back());
    free_.pop_back();
    return handle;
  }
  void Return(CurlHandle handle) const {
    std::scoped_lock lock(mutex_);
    free_.push_back(std::move(handle));
    has_free_.notify_one();
  }

  const VerifierOptions options_;
  const UrlRules rules_;
  const std::string host_;  // as in the url
  std::unique_ptr<curl_slist, HeadersDelete> headers_;
  mutable FailureLog failures_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_free_;
  mutable std::vector<CurlHandle> free_;
};

}  // namespace

Result<std::unique_ptr<Verifier>> MakeHttpVerifier(const VerifierOptions& options) {
  UrlRules rules{options.allow_hosts, options.allow_private};
  CANDOR_ASSIGN(std::string host, CheckUrl(options.url, rules, "verifier " + options.name));
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (once != CURLE_OK) return Fail(ErrorCode::kInternal, std::string("libcurl did not start: ") + curl_easy_strerror(once));
  return std::unique_ptr<Verifier>(std::make_unique<HttpVerifier>(options, std::move(rules), std::move(host)));
}

}  // namespace candor
