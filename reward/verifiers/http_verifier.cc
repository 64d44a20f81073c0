#include "reward/verifiers/http_verifier.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "reward/verifiers/failure_log.h"
#include "reward/verifiers/json_protocol.h"

namespace candor {

namespace {

struct CurlDelete {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDelete>;
struct HeadersDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

size_t AppendBody(char* bytes, size_t size, size_t count, void* into) {
  std::string& body = *static_cast<std::string*>(into);
  if (body.size() + size * count > kMaxReplyBytes) return 0;  // libcurl then fails with CURLE_WRITE_ERROR
  body.append(bytes, size * count);
  return size * count;
}

class HttpVerifier final : public Verifier {
 public:
  explicit HttpVerifier(const VerifierOptions& options) : options_(options) {
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
    std::string sent = EncodeGradeRequest(request), body;
    char why[CURL_ERROR_SIZE] = "";
    curl_easy_reset(handle);  // keeps the connection
    curl_easy_setopt(handle, CURLOPT_URL, options_.url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout_s * 1000.0));
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(sent.size()));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, sent.data());
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, AppendBody);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(handle);
    if (code == CURLE_WRITE_ERROR)
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
  std::unique_ptr<curl_slist, HeadersDelete> headers_;
  mutable FailureLog failures_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_free_;
  mutable std::vector<CurlHandle> free_;
};

}  // namespace

Result<std::unique_ptr<Verifier>> MakeHttpVerifier(const VerifierOptions& options) {
  if (!options.url.starts_with("http://") && !options.url.starts_with("https://"))
    return Fail(ErrorCode::kInvalidInput, "its url '" + options.url + "' is neither http:// nor https://", "verifier " + options.name,
                "write url = \"http://host:port/path\"");
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (once != CURLE_OK) return Fail(ErrorCode::kInternal, std::string("libcurl did not start: ") + curl_easy_strerror(once));
  return std::unique_ptr<Verifier>(std::make_unique<HttpVerifier>(options));
}

}  // namespace candor
