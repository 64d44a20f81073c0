#include "reward/verifiers/http_verifier.h"

#include <fmt/format.h>

#include "reward/verifiers/failure_log.h"
#include "reward/verifiers/http_post.h"
#include "reward/verifiers/json_protocol.h"

namespace candor {

namespace {

class HttpVerifier final : public Verifier {
 public:
  HttpVerifier(std::string name, std::unique_ptr<HttpPoster> poster) : name_(std::move(name)), poster_(std::move(poster)) {}

  Verdict Grade(const GradeRequest& request) const override {
    Result<Verdict> verdict = Ask(request);
    if (verdict) return std::move(*verdict);
    failures_.Note(name_, request.id, verdict.error());
    return UnknownVerdict(verdict.error().Message());
  }

 private:
  Result<Verdict> Ask(const GradeRequest& request) const {
    CANDOR_ASSIGN(const HttpReply reply, poster_->Post(EncodeGradeRequest(request)));
    if (reply.status != 200)
      return Fail(ErrorCode::kUnavailable, fmt::format("answered with HTTP status {}: {}", reply.status, reply.body.substr(0, 120)),
                  poster_->url());
    return DecodeGradeReply(reply.body, request.id);
  }

  const std::string name_;
  const std::unique_ptr<HttpPoster> poster_;
  mutable FailureLog failures_;
};

}  // namespace

Result<std::unique_ptr<Verifier>> MakeHttpVerifier(const VerifierOptions& options) {
  HttpTarget target{options.url, {options.allow_hosts, options.allow_private}, "", options.timeout_s, options.processes, kMaxReplyBytes};
  CANDOR_ASSIGN(std::unique_ptr<HttpPoster> poster, HttpPoster::Make(std::move(target), "verifier " + options.name));
  return std::unique_ptr<Verifier>(std::make_unique<HttpVerifier>(options.name, std::move(poster)));
}

}  // namespace candor
