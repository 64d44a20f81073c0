// The server between many clients and one engine, each with threads of its own: nobody gets another's tokens, who leaves is dropped, an end
// or a broken engine is told to everybody. Run under ThreadSanitizer and AddressSanitizer by tools/sanitize.sh.
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

#include "serve/http_api.h"
#include "tests/serve/engine_stand_in.h"
#include "text/prompt.h"

namespace candor {
namespace {

using Json = nlohmann::json;
using namespace std::chrono_literals;

class Served : public testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.max_batch = tokenizer_.vocab_size();  // what the stand-in takes for its vocabulary
    engine_ = *Engine::Create(options);
    model_.name = "tiny", model_.tokenizer = &tokenizer_, model_.positions = stand_in::kPositions;
    model_.tags = *TagFormat::From({}, "none");
    model_.chat_prompt = [this](const std::string& messages) -> Result<std::vector<int32_t>> {
      return tokenizer_.Encode(Json::parse(messages).back()["content"].get<std::string>(), false);
    };
    model_.format = [this](const std::vector<std::string>& stop) {
      return MakeTurnFormat(tokenizer_, model_.tags, {}, stop, std::nullopt);
    };
    model_.confidence = [](const Trace&) { return std::optional<double>(); };
    model_.budget = [](size_t) { return int64_t{32}; };
    loop_ = std::make_unique<EngineLoop>(*engine_, kRequests, 7);
    ApiOptions api;
    api.connections = 16;
    server_ = *ApiServer::Start(api, model_, *loop_);
    port_ = std::stoi(server_->url().substr(server_->url().rfind(':') + 1));
  }
  void TearDown() override {
    loop_->Stop();
    server_.reset();
  }
  // What a body is answered with: the text of a whole reply, or of all events of a stream.
  std::string Ask(const std::string& path, const Json& body, int* status = nullptr) const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(60);
    const auto reply = client.Post(path, body.dump(), "application/json");
    if (status != nullptr) *status = reply ? reply->status : 0;
    if (!reply || reply->status != 200) return "";
    if (!body.value("stream", false)) return Json::parse(reply->body)["choices"].dump();
    std::string text;
    size_t ends = 0;
    for (size_t at = 0; (at = reply->body.find("data: {", at)) != std::string::npos; ++at) {
      const Json event = Json::parse(reply->body.substr(at + 6, reply->body.find('\n', at) - at - 6));
      for (const Json& choice : event.value("choices", Json::array()))
        if (choice.contains("text")) text += choice["text"].get<std::string>();
    }
    for (size_t at = 0; (at = reply->body.find("data: [DONE]", at)) != std::string::npos; ++at) ++ends;
    EXPECT_EQ(ends, 1u);
    return text;
  }
  static Json Completion(int seed, bool stream) {
    Json body = {{"prompt", "echo " + std::to_string(seed % 7)}, {"seed", seed}, {"max_tokens", 20 + seed % 5}, {"stream", stream}};
    if (!stream) body["n"] = 2, body["logprobs"] = 2;
    return body;
  }
  // Waits until nothing is open; bounded by the test's time limit.
  void WaitUntilIdle() const {
    while (loop_->state().open_requests > 0) std::this_thread::sleep_for(5ms);
  }

  static constexpr size_t kRequests = 64;
  const Tokenizer tokenizer_ = *Tokenizer::Load(std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/model");
  ServedModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<ApiServer> server_;
  int port_ = 0;
};

TEST_F(Served, EachOfManyClientsGetsWhatItWouldGetAlone) {
  constexpr int kClients = 6, kAsks = 8;
  std::map<int, std::string> alone;
  for (int seed = 0; seed < kClients * kAsks; ++seed) alone[seed] = Ask("/v1/completions", Completion(seed, seed % 3 == 0));
  EXPECT_NE(alone[1], alone[2]);
  EXPECT_FALSE(alone[0].empty());
  std::vector<std::vector<std::string>> together(kClients);
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c)
    clients.emplace_back([&, c] {
      for (int k = 0; k < kAsks; ++k)
        together[static_cast<size_t>(c)].push_back(Ask("/v1/completions", Completion(c * kAsks + k, (c * kAsks + k) % 3 == 0)));
    });
  std::thread looks([&] {  // who watches meanwhile
    httplib::Client client("127.0.0.1", port_);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(client.Get("/healthz")->status, 200);
  });
  for (std::thread& client : clients) client.join();
  looks.join();
  for (int c = 0; c < kClients; ++c)
    for (int k = 0; k < kAsks; ++k)
      EXPECT_EQ(together[static_cast<size_t>(c)][static_cast<size_t>(k)], alone[c * kAsks + k]) << c << " " << k;
  WaitUntilIdle();
}

TEST_F(Served, WhoLeavesIsDropped) {
  const std::string body = Json{{"prompt", "echo 1"}, {"max_tokens", 4000}, {"stream", true}}.dump();
  std::vector<std::thread> clients;
  for (int c = 0; c < 6; ++c)
    clients.emplace_back([&] {
      httplib::Client client("127.0.0.1", port_);
      httplib::Request request;
      request.method = "POST", request.path = "/v1/completions", request.body = body;
      request.set_header("Content-Type", "application/json");
      size_t pieces = 0;
      request.content_receiver = [&](const char*, size_t, uint64_t, uint64_t) { return ++pieces < 3; };  // false: hangs up
      EXPECT_FALSE(client.send(request));
    });
  for (std::thread& client : clients) client.join();
  WaitUntilIdle();
  EXPECT_FALSE(Ask("/v1/completions", Completion(1, false)).empty()) << "the others go on";
}

TEST_F(Served, AnEndIsToldToEverybodyWhoWaits) {
  std::latch begun(4);
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c)
    clients.emplace_back([&, c] {
      httplib::Client client("127.0.0.1", port_);
      client.set_read_timeout(60);
      const Json body = {{"prompt", "echo 1"}, {"max_tokens", 4000}, {"stream", c % 2 == 0}};
      begun.count_down();
      const auto reply = client.Post("/v1/completions", body.dump(), "application/json");
      ASSERT_TRUE(reply);
      EXPECT_NE(reply->body.find("the server is stopping"), std::string::npos) << reply->status << reply->body.substr(0, 200);
    });
  begun.wait();
  while (loop_->state().open_requests < 4) std::this_thread::sleep_for(1ms);
  loop_->Stop();
  for (std::thread& client : clients) client.join();
  int status = 0;
  Ask("/v1/completions", Completion(1, false), &status);
  EXPECT_EQ(status, 503);
}

TEST_F(Served, ABrokenEngineIsToldToEverybodyAndSeenInItsHealth) {
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c)
    clients.emplace_back([&] {
      int status = 0;
      Ask("/v1/completions", {{"prompt", "echo 1"}, {"max_tokens", 4000}}, &status);
      EXPECT_TRUE(status == 500 || status == 503) << status;
    });
  int status = 0;
  Ask("/v1/completions", {{"prompt", {stand_in::kBreaks}}, {"max_tokens", 10}}, &status);
  EXPECT_EQ(status, 500);
  for (std::thread& client : clients) client.join();
  httplib::Client client("127.0.0.1", port_);
  EXPECT_EQ(client.Get("/healthz")->status, 503);
}

TEST_F(Served, MoreThanItsLimitOfRequestsIsRefused) {
  int status = 0;
  for (const Json& body : {Json{{"prompt", "a"}, {"max_tokens", 9000}}, Json{{"prompt", {1 << 20}}}, Json{{"prompt", ""}}}) {
    Ask("/v1/completions", body, &status);
    EXPECT_EQ(status, 400) << body.dump();
  }
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (size_t i = 0; i < kRequests + 8; ++i) {
    Generation generation;
    generation.prompts = {{1, 2}}, generation.sampling.resize(1), generation.sampling[0].max_new_tokens = 4000;
    generation.episode = SingleTurn(*model_.format({}));
    if (auto ticket = loop_->Submit(std::move(generation))) tickets.push_back(std::move(*ticket));
  }
  EXPECT_LE(tickets.size(), kRequests);
  Ask("/v1/completions", Completion(1, false), &status);
  EXPECT_EQ(status, 429);
  for (const auto& ticket : tickets)
    if (ticket->WaitUntilTaken()) ticket->Abandon();
  WaitUntilIdle();
}

}  // namespace
}  // namespace candor
