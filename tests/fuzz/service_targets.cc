// What others send to a service of Candor's or answer to a question of its: requests to `candor serve`, bytes at the coordinator's HTTP
// port, answers of judges and of the sandbox, answers to be graded, URLs.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "coordinator/http.h"
#include "core/clock.h"
#include "core/http_guard.h"
#include "core/socket_wait.h"
#include "reward/judges/judge_client.h"
#include "reward/judges/judge_file.h"
#include "reward/judges/judge_trial.h"
#include "reward/options.h"
#include "reward/verifiers/builtin.h"
#include "reward/verifiers/python_tests.h"
#include "reward/verifiers/url_rules.h"
#include "serve/request.h"
#include "tests/fuzz/targets.h"
#include "text/tags.h"

namespace candor::fuzz {

namespace {

using Json = nlohmann::json;

void Refused(const Error& error) { Promise(!error.what.empty(), "a refusal says why"); }
bool IsShare(double p) { return 0.0 <= p && p <= 1.0; }

// First byte: which endpoint.
void RunServeRequest(std::string_view bytes) {
  if (bytes.empty()) return;
  const Endpoint endpoint = bytes[0] == 'c' ? Endpoint::kChat : Endpoint::kCompletions;
  const RequestLimits limits;
  const ApiResult<ServedRequest> request = ReadRequest(endpoint, bytes.substr(1), limits);
  if (!request) {
    Promise(request.error().status == 400 && !request.error().message.empty(), "a refusal says why");
    return Promise(Json::parse(ToJson(request.error()), nullptr, false).is_object(), "a refusal is JSON");
  }
  const auto prompts = static_cast<int64_t>(std::max<size_t>(1, request->prompts.size()));
  Promise(1 <= request->n && request->n * prompts <= limits.choices_max, "choices are bounded");
  Promise(0.0 <= request->sampling.temperature && request->sampling.temperature <= 2.0, "a temperature is one");
  Promise(0.0 < request->sampling.top_p && request->sampling.top_p <= 1.0 && IsShare(request->sampling.min_p), "shares are shares");
  Promise(request->sampling.max_new_tokens > 0 && request->sampling.top_k >= 0, "counts are counts");
  Promise(request->stop.size() <= limits.stops_max && request->top_log_probs <= limits.top_log_probs_max, "lists are bounded");
  if (endpoint == Endpoint::kChat)
    Promise(Json::parse(request->messages_json, nullptr, false).is_array(), "messages are a list");
  else
    Promise(!request->prompts.empty(), "there is a prompt");
}
std::vector<std::string> ServeSeeds() {
  return {
      R"(c{"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"hi"}]}],"n":2,"stop":["a"],"logprobs":true,"top_logprobs":3,"seed":-1,"stream":true,"stream_options":{"include_usage":true}})",
      R"(t{"prompt":["a","b"],"max_tokens":5,"temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"logprobs":2,"logit_bias":{},"echo":false})",
      R"(t{"prompt":[[1,2],[3]],"best_of":1,"suffix":"","user":"u","metadata":{"a":1}})",
      "t{\"prompt\":\"a\",\"" + std::string(60000, 'x') + "\":1}",  // a name that is compared with all known ones
      "c{\"messages\":[{\"role\":\"user\",\"content\":" + DeepJson() + "}]}"};
}

const std::vector<JudgeFile>& Judges() {
  static const std::vector<JudgeFile> all = [] {
    std::vector<JudgeFile> files;
    for (const char* parse : {"read='number'\npattern='([-+0-9.eE]+)'\nleast=1.0\nmost=10.0",
                              "read='word'\npattern='<v>(.*?)</v>'\npositive=['yes']\nnegative=['no']\ntie=['tie']\ntake='first'",
                              "read='probability'\npositive=['yes']\nnegative=['no']"})
      files.push_back(*ParseJudgeFile("kind='pointwise'\nuser='{answer}'\n[parse]\n" + std::string(parse), "judge.toml"));
    return files;
  }();
  return all;
}
void RunJudgeReply(std::string_view bytes) {
  const Result<JudgeAnswer> answer = ReadChatReply(bytes);
  if (!answer) return Refused(answer.error());
  for (const JudgeFile& judge : Judges())
    if (const auto verdict = ReadVerdict(judge, *answer)) Promise(IsShare(*verdict), "a verdict lies in [0, 1]");
  if (const auto steps = ReadStepVerdicts(Judges()[0], *answer, 2))
    for (double verdict : *steps) Promise(IsShare(verdict), "a step's verdict lies in [0, 1]");
}
std::vector<std::string> JudgeReplySeeds() {
  return {R"({"choices":[{"message":{"content":"so \\boxed{7} of 10"}}]})",
          R"({"choices":[{"message":{"content":"<v>Yes</v> 3 4"},"logprobs":{"content":[{"token":"Yes","logprob":-0.1,"top_logprobs":[
{"token":"yes","logprob":-0.1},{"token":"No","logprob":-2.5}]},{"token":".","logprob":0}]}}]})",
          R"({"choices":[{"message":{"content":null}}]})", R"({"error":{"message":"busy"}})"};
}

void RunJudgeFile(std::string_view bytes) {
  const Result<JudgeFile> file = ParseJudgeFile(bytes, "judge.toml");
  if (!file) return Refused(file.error());
  const std::string text = "Step 1\n\n2 <v>yes</v> \\boxed{3}\n\n{answer} {step}";
  Promise(SplitSteps(*file, text).size() <= kMaxJudgedSteps, "steps are bounded");
  (void)FillJudgeTemplate(file->user, {{"answer", text}, {"prompt", "{answer}"}});
  if (const auto verdict = ReadVerdict(*file, {text, {{"yes", -0.5, {{"no", -1.0}}}}}))
    Promise(IsShare(*verdict), "a verdict lies in [0, 1]");
}
std::vector<std::string> JudgeFileSeeds() {
  return {
      "kind = 'pointwise'\nsystem = 's'\nuser = 'Q {prompt} A {answer} R {reference}'\n[parse]\nread = 'number'\npattern = "
      "'\\\\boxed\\{([0-9]+)\\}'\nleast = 1.0\nmost = 10.0\n",
      "kind = 'steps'\nask = 'all'\nsplit = '\\n\\n'\nuser = '{steps}'\n[parse]\nread = 'word'\npattern = '<v>(.*?)</v>'\npositive = "
      "['yes']\nnegative = ['no']\n",
      "kind = 'pairwise'\nuser = '{first} {second}'\n[parse]\nread = 'probability'\npositive = ['A']\nnegative = ['B']\n"};
}

void RunGoldSet(std::string_view bytes) {
  const std::string path = Folder() + "/gold.jsonl";
  Write(path, bytes);
  const std::vector<std::string> tags = {"answer", "confidence"};
  static const TagFormat format = *TagFormat::From(tags, "verbal");
  for (const bool pairs : {false, true}) {
    const Result<GoldSet> gold = ReadGoldSet(path, format, pairs);
    if (gold)
      Promise(!gold->rows.empty(), "a gold set has rows");
    else
      Refused(gold.error());
  }
}
std::vector<std::string> GoldSeeds() {
  return {
      "{\"prompt\": \"p\", \"completion\": \"<answer>4</answer><confidence>0.5</confidence>\", \"label\": 1, \"answer\": \"4\"}\n"
      "{\"question\": \"q\", \"text\": \"t\", \"accepted\": [\"a\", 2], \"label\": \"wrong\"}\n",
      "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"chosen\": \"a\", \"rejected\": \"b\"}\n",
      "{\"prompt\": \"p\", \"answer\": [\"x\"]}\n\n{\"prompt\": \"r\", \"answer\": 3}\n"};
}

void RunTestVerdict(std::string_view bytes) {
  const Result<Verdict> verdict = ReadTestVerdict(bytes, "nonce");
  if (!verdict) return Refused(verdict.error());
  Promise(bytes.find("nonce") != bytes.npos && verdict->label != Label::kUnknown, "only who knows the nonce gives a verdict");
}
std::vector<std::string> TestVerdictSeeds() {
  return {R"({"nonce": "nonce", "pass": true, "why": ""})", R"({"nonce": "nonce", "pass": false, "why": "AssertionError: 3"})",
          "{\"nonce\": " + DeepJson() + ", \"pass\": true}"};
}

// An answer, and behind the first line feed what is accepted.
void RunGradedAnswer(std::string_view bytes) {
  const size_t half = std::min(bytes.find('\n'), bytes.size());
  DataRow row;
  row.answers = {std::string(bytes.substr(std::min(half + 1, bytes.size()))), "4"};
  row.json = R"({"choices": ["Paris", "4", {"a": 1}]})";
  GradeRequest request{"1/0#1", "p", bytes, bytes.substr(0, half), true, &row};
  for (const char* kind : {"exact_match", "accepted_set", "f1", "numeric", "choice"}) {
    VerifierOptions options;
    options.name = options.kind = kind;
    const Verdict verdict = MakeBuiltinVerifier(options)->Grade(request);
    Promise(IsShare(verdict.soft_label), "a soft label lies in [0, 1]");
    Promise(verdict.label != Label::kUnknown || !verdict.reason.empty(), "an unknown says why");
  }
}
std::vector<std::string> GradedSeeds() {
  return {"1,234.5\n1234.5",
          "\\frac{3}{4}\n75%",
          "1 1/2\n1.5e0",
          "(B) Paris\nB",
          "1e-999\n\xe2\x88\x92"
          "3",
          "The  Caf\xc3\xa9.\ncafe"};
}

void RunUrl(std::string_view bytes) {
  const Result<std::string> host = CheckUrl(std::string(bytes), {}, "verifier");
  if (!host) return Refused(host.error());
  Promise(!host->empty() && *host != "127.0.0.1", "this machine's address is not reached unasked");  // names are looked at when opened
  Promise(host->find('@') == std::string::npos && host->find('/') == std::string::npos, "a host is a host");
}
std::vector<std::string> UrlSeeds() {
  return {"https://example.com/v1?x=1#y",
          "http://[::ffff:127.0.0.1]:80/",
          "http://0x7f.1/",
          "http://user@host/",
          "http://localhost/",
          "http://[2001:db8::1]",
          "file:///etc/passwd"};
}

void RunHost(std::string_view bytes) {
  const std::string host(bytes);
  if (IsOurHost(host, "candor.example")) Promise(host.find("attacker.test") == std::string::npos, "another's name is not ours");
  (void)IsLoopback(host);
}
std::vector<std::string> HostSeeds() {
  return {"127.0.0.1:8080",
          "[::1]:80",
          "localhost",
          "candor.example:443",
          "attacker.test:80",
          "127.0.0.1.attacker.test",
          "[",
          "a:b:c",
          "127.0.0.1:attacker.test",
          std::string("127.0.0.1\0attacker.test", 23)};  // once taken for the address before the zero byte
}

// Raw bytes at the coordinator's port, as a connection that ends behind them.
class LocalHttp {
 public:
  LocalHttp() {
    HttpSource source;
    source.token = "token";
    source.status_json = [] { return std::string("{}"); };
    source.prometheus = [] { return std::string("a 1\n"); };
    source.metric_lines = [](uint64_t) -> Result<std::vector<std::string>> { return std::vector<std::string>{"{}"}; };
    source.calibration_json = [](const HttpSource::CalibrationQuery& query) -> Result<std::string> {
      return Json(query.signal).dump(-1, ' ', false, Json::error_handler_t::replace);
    };
    auto server = HttpServer::Start("127.0.0.1", 0, 2, std::move(source));
    Promise(server.has_value(), "there is a port");
    server_ = std::move(*server);
    address_.sin_family = AF_INET, address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address_.sin_port = htons(static_cast<uint16_t>(std::stoi(server_->url().substr(server_->url().rfind(':') + 1))));
  }
  std::string Send(std::string_view bytes) const {
    // The port of a closed connection is free after a minute, and there are 28,000 of them.
    std::this_thread::sleep_for(std::chrono::microseconds(2500));
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval wait{20, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    Promise(ConnectSocket(fd, address_, SteadyMs() + 20'000) == 0, "the server takes connections");  // libFuzzer's clock may interrupt it
    (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::shutdown(fd, SHUT_WR);
    std::string answer;
    char piece[4096];
    ssize_t got = 0;
    while ((got = ::recv(fd, piece, sizeof piece, 0)) > 0 || (got < 0 && errno == EINTR))
      if (got > 0) answer.append(piece, static_cast<size_t>(got));
    ::close(fd);
    return answer;
  }

 private:
  std::unique_ptr<HttpServer> server_;
  sockaddr_in address_{};
};
void RunHttp(std::string_view bytes) {
  static const LocalHttp local;
  const std::string answer = local.Send(bytes);
  Promise(answer.empty() || answer.starts_with("HTTP/1."), "an answer is HTTP");
}
std::vector<std::string> HttpSeeds() {
  const std::string host = "Host: 127.0.0.1\r\n", end = "Connection: close\r\n\r\n";
  return {"GET /healthz HTTP/1.1\r\n" + host + end,
          "GET /api/calibration?stream=train&signal=%ff&from=3&token=token HTTP/1.1\r\n" + host + end,
          "GET /api/metrics?from=1 HTTP/1.1\r\nAuthorization: Bearer token\r\nRange: bytes=0-1,3-\r\n" + host + end,
          "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + host + end + "3\r\nabc\r\n0\r\n\r\n",
          "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 60\r\n" + host + end +
              "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"};
}

}  // namespace

std::vector<Target> ServiceTargets() {
  return {{"serve_request", RunServeRequest, ServeSeeds, 20000},
          {"judge_reply", RunJudgeReply, JudgeReplySeeds, 20000},
          {"judge_file", RunJudgeFile, JudgeFileSeeds, 6000},
          {"judge_gold", RunGoldSet, GoldSeeds, 3000},
          {"test_verdict", RunTestVerdict, TestVerdictSeeds, 10000},
          {"graded_answer", RunGradedAnswer, GradedSeeds, 6000},
          {"verifier_url", RunUrl, UrlSeeds, 20000},
          {"http_host", RunHost, HostSeeds, 20000},
          {"http_request", RunHttp, HttpSeeds, 600}};
}

}  // namespace candor::fuzz
