// JSON posted to one address of a recipe's author: open connections kept, redirects and proxies not followed, and only where the URL rules
// allow (url_rules.h): what counts is the address that a connection is really opened to. libcurl lives here and in url_rules.cc only.
// Thread rule: Post may be called from many threads; as many run at a time as there are connections, the others wait.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/result.h"
#include "reward/verifiers/url_rules.h"

namespace candor {

struct HttpTarget {
  std::string url;
  UrlRules rules;
  std::string bearer;  // a secret: sent as Authorization: Bearer, told to nobody; "" = none
  double timeout_s = 10.0;
  int64_t connections = 1;
  size_t reply_bytes_max = size_t{1} << 20;
};

struct HttpReply {
  long status = 0;
  std::string body;
};

class HttpPoster {
 public:
  // `where` names the verifier in errors. Errors: a URL that CheckUrl refuses.
  static Result<std::unique_ptr<HttpPoster>> Make(HttpTarget target, const std::string& where);
  ~HttpPoster();
  // Any status is a reply. Errors: nobody answered within the time (kUnavailable), an address that is not public (kUnauthorized), a reply
  // that is too large (kInvalidInput).
  Result<HttpReply> Post(const std::string& body) const;
  const std::string& url() const { return target_.url; }

 private:
  struct Connection;
  HttpPoster(HttpTarget target, std::string host);
  Result<HttpReply> Send(Connection& connection, const std::string& body) const;

  const HttpTarget target_;
  const std::string host_;  // as in the url
  struct Headers;
  std::unique_ptr<Headers> headers_;
  mutable std::mutex mutex_;
  mutable std::condition_variable has_free_;
  mutable std::vector<std::unique_ptr<Connection>> free_;
};

}  // namespace candor
