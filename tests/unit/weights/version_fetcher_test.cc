// Receivers of versions: the chain without gaps, late joiners, relays that are dead or lie, and that a corrupted chunk never gets through.
#include "weights/version_fetcher.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <thread>

#include "core/clock.h"
#include "core/thread.h"
#include "tests/unit/weights/written_versions.h"
#include "weights/tcp_socket.h"

namespace candor {
namespace {

class Fetching : public testing::Test {
 protected:
  Fetching() {
    std::string name = testing::TempDir() + "weights_XXXXXX";
    folder_ = ::mkdtemp(name.data());
    written_ = std::make_unique<WrittenVersions>(folder_ + "/weights");
  }
  ~Fetching() override { std::filesystem::remove_all(folder_); }

  FetcherSetup Files() const {
    FetcherSetup setup;
    setup.weights = written_->weights;
    return setup;
  }
  FetcherSetup Relay(int index) const {
    FetcherSetup setup = Files();
    setup.relay = true, setup.self = "rollout-" + std::to_string(index);
    setup.files_as_last_resort = false, setup.wait_ms = 500;
    return setup;
  }
  static std::string Whole(const WeightImage& image) {
    std::string all;
    for (const Bytes& chunk : image.chunks) all += *chunk;
    return all;
  }
  void StartTrainer(uint64_t version) {
    if (!trainer_) {
      trainer_ = ServeBlobsOverTcp(*store_, "tcp://127.0.0.1:0").value();
      ASSERT_TRUE(AnnounceRelay(written_->weights, {"trainer-0", trainer_->endpoint()}));
    }
    written_->Serve(*store_, version);
  }
  // Flips a byte of a blob in the trainer's file.
  void Damage(uint64_t version, const Blob& blob) {
    const std::string path = ChunkFile(VersionFolder(written_->weights, {version}), 0);
    std::string bytes = *ReadFile(path);
    bytes[blob.at + blob.bytes / 2] ^= 4;
    WrittenVersions::Save(path, bytes);
  }

  std::string folder_;
  std::unique_ptr<WrittenVersions> written_;
  std::unique_ptr<BlobStore> store_ = std::make_unique<BlobStore>();
  std::unique_ptr<BlobServer> trainer_;
};

TEST_F(Fetching, FollowsTheChainByDeltas) {
  auto fetcher = VersionFetcher::Start(Files()).value();
  std::string hash = written_->Write(0, true);
  ASSERT_TRUE(fetcher->Fetch({0}, hash));
  const uint64_t full_bytes = fetcher->last().bytes;
  for (uint64_t version = 1; version < 5; ++version) {
    hash = written_->Write(version, version == 3);
    const auto image = fetcher->Fetch({version}, hash);
    ASSERT_TRUE(image) << image.error().Message();
    EXPECT_EQ(Whole(**image), written_->Whole());
    EXPECT_LT(fetcher->last().bytes * 10, full_bytes) << "a delta, though version 3 has a full copy as well";
  }
  EXPECT_EQ(fetcher->last().blobs, 5u) << "the last chunk never changes";
}

TEST_F(Fetching, ALateJoinerBeginsAtAFullCopyAndAnotherSkipsVersions) {
  std::string hash = written_->Write(0, true);
  auto follower = VersionFetcher::Start(Files()).value();
  ASSERT_TRUE(follower->Fetch({0}, hash));
  for (uint64_t version = 1; version <= 5; ++version) hash = written_->Write(version, version == 3);
  for (VersionFetcher* fetcher : {follower.get(), VersionFetcher::Start(Files()).value().release()}) {
    const auto image = fetcher->Fetch({5}, hash);
    ASSERT_TRUE(image) << image.error().Message();
    EXPECT_EQ(Whole(**image), written_->Whole());
    if (fetcher != follower.get()) delete fetcher;
  }
}

TEST_F(Fetching, AGapIsRefusedByName) {
  std::string hash = written_->Write(0, true);
  auto follower = VersionFetcher::Start(Files()).value();
  ASSERT_TRUE(follower->Fetch({0}, hash));
  written_->Write(1, false), hash = written_->Write(2, false);
  std::filesystem::remove_all(VersionFolder(written_->weights, {1}));
  for (int i = 0; i < 2; ++i) {  // with a base and without one
    const auto image = i == 0 ? follower->Fetch({2}, hash) : VersionFetcher::Start(Files()).value()->Fetch({2}, hash);
    ASSERT_FALSE(image);
    EXPECT_NE(image.error().what.find("gap at version 1"), std::string::npos) << image.error().Message();
  }
}

TEST_F(Fetching, AVersionMadeAgainWithOtherBytesIsNotBuiltOnTheOldOne) {
  auto fetcher = VersionFetcher::Start(Files()).value();
  written_->Write(0, true);
  ASSERT_TRUE(fetcher->Fetch({1}, written_->Write(1, false)));
  // Another life of the trainer: it begins at version 1 again, with other values.
  written_->contents[2][17] ^= 2, written_->hashes.assign(written_->hashes.size(), "");
  written_->Write(1, true);
  const std::string hash = written_->Write(2, false);
  const auto image = fetcher->Fetch({2}, hash);
  ASSERT_TRUE(image) << image.error().Message();
  EXPECT_EQ(Whole(**image), written_->Whole());
}

TEST_F(Fetching, ACorruptedChunkIsNeverLoaded) {
  std::string hash = written_->Write(0, true);
  const Blob blob = *written_->packings.back().chunks[2].full;
  Damage(0, blob);
  auto fetcher = VersionFetcher::Start(Files()).value();
  auto image = fetcher->Fetch({0}, hash);
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().what.find("chunk 2"), std::string::npos) << image.error().Message();
  Damage(0, blob);  // back
  EXPECT_TRUE(fetcher->Fetch({0}, hash)) << "the negative control: the same file is good without the flip";
  // And a packing that speaks for wrong bytes does not help them past the manifest.
  Damage(0, blob);
  const std::string folder = VersionFolder(written_->weights, {0}), file = *ReadFile(ChunkFile(folder, 0));
  written_->packings[0].chunks[2].full->hash = HashHex(file.substr(blob.at, blob.bytes));
  WrittenVersions::Save(folder + "/packing.json", ToJson(written_->packings[0]));
  image = VersionFetcher::Start(Files()).value()->Fetch({0}, hash);
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().what.find("hash of the manifest"), std::string::npos) << image.error().Message();
  EXPECT_FALSE(VersionFetcher::Start(Files()).value()->Fetch({0}, std::string(32, '0'))) << "another manifest than announced";
}

TEST_F(Fetching, RelaysKeepTheTrainersTrafficFlat) {
  for (int receivers : {1, 4}) {
    std::filesystem::remove_all(written_->weights);
    written_ = std::make_unique<WrittenVersions>(folder_ + "/weights", 12);
    const std::string hash = written_->Write(0, true);
    trainer_.reset(), store_ = std::make_unique<BlobStore>();
    StartTrainer(0);
    std::vector<std::unique_ptr<VersionFetcher>> fetchers;
    for (int i = 0; i < receivers; ++i) {
      FetcherSetup setup = Relay(i);
      setup.wait_ms = 3000;  // a busy machine may start the threads late
      fetchers.push_back(VersionFetcher::Start(setup).value());
    }
    {
      std::vector<NamedThread> threads;
      for (auto& fetcher : fetchers)
        threads.emplace_back("receiver", [&] {
          const auto image = fetcher->Fetch({0}, hash);
          ASSERT_TRUE(image) << image.error().Message();
          EXPECT_EQ(Whole(**image), written_->Whole());
        });
    }
    const double share = static_cast<double>(trainer_->bytes_sent()) / static_cast<double>(written_->Whole().size());
    std::printf("candor-figure weights receivers=%d trainer_egress_over_full=%.3f bound=1.1\n", receivers, share);
    EXPECT_GE(share, 1.0);
    EXPECT_LE(share, 1.1);
  }
}

TEST_F(Fetching, DeadAndLyingRelaysAreRoutedAround) {
  const std::string hash = written_->Write(0, true);
  StartTrainer(0);
  // rollout-0 died, rollout-1 has every blob with a byte changed, rollout-2 says nothing to anybody.
  ASSERT_TRUE(AnnounceRelay(written_->weights, {"rollout-0", "tcp://127.0.0.1:1"}));
  BlobStore lies;
  for (size_t i = 0; i < written_->contents.size(); ++i) {
    auto wrong = std::make_shared<std::string>(written_->contents[i]);
    wrong->back() ^= 1;
    lies.Put(written_->hashes[i], {0}, {wrong, nullptr, 0, wrong->size()});
  }
  const auto liar = ServeBlobsOverTcp(lies, "tcp://127.0.0.1:0").value();
  ASSERT_TRUE(AnnounceRelay(written_->weights, {"rollout-1", liar->endpoint()}));
  uint16_t port = 0;
  const BlobSocket silent = BlobSocket::Listen({"127.0.0.1", 0}, port).value();
  auto setup = Relay(3);
  setup.answer_ms = 300;
  auto fetcher = VersionFetcher::Start(setup).value();
  ASSERT_TRUE(AnnounceRelay(written_->weights, {"rollout-2", "tcp://127.0.0.1:" + std::to_string(port)}));
  const auto image = fetcher->Fetch({0}, hash);
  ASSERT_TRUE(image) << image.error().Message();
  EXPECT_EQ(Whole(**image), written_->Whole());
  EXPECT_GE(fetcher->last().refused, 1u) << "the liar was caught";
  EXPECT_EQ(fetcher->last().from_relays, 0u);
  const auto calls = [&] {
    int count = 0;
    while (silent.Accept(20)) ++count;
    return count;
  };
  EXPECT_GE(calls(), 1) << "the silent one was asked";
  const std::string next = written_->Write(1, false);
  StartTrainer(1);
  ASSERT_TRUE(fetcher->Fetch({1}, next));
  EXPECT_EQ(calls(), 0) << "and is left alone for a while: every version would wait for it";
}

TEST_F(Fetching, WithoutAnySourceTheErrorNamesThemAll) {
  const std::string hash = written_->Write(0, true);
  ASSERT_TRUE(AnnounceRelay(written_->weights, {"trainer-0", "tcp://127.0.0.1:1"}));
  const auto image = VersionFetcher::Start(Relay(0)).value()->Fetch({0}, hash);
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().what.find("trainer-0: cannot connect"), std::string::npos) << image.error().Message();
  auto setup = Relay(0);
  setup.files_as_last_resort = true;
  EXPECT_TRUE(VersionFetcher::Start(setup).value()->Fetch({0}, hash)) << "the files are still there";
}

TEST_F(Fetching, TravelsEncrypted) {
  const std::string hash = written_->Write(0, true);
  const auto transport = MakeLocalTransport();
  const auto trainer = ServeBlobsEncrypted(*store_, "trainer", *transport, Role::kTrainer).value();
  ASSERT_TRUE(AnnounceRelay(written_->weights, {"trainer-0", trainer->endpoint()}));
  written_->Serve(*store_, 0);
  std::vector<std::unique_ptr<VersionFetcher>> fetchers;
  for (int i = 0; i < 2; ++i) {
    auto setup = Relay(i);
    setup.encrypt = true, setup.transport = transport.get(), setup.bind = setup.self;
    fetchers.push_back(VersionFetcher::Start(setup).value());
  }
  {
    std::vector<NamedThread> threads;
    for (auto& fetcher : fetchers)
      threads.emplace_back("receiver", [&] { EXPECT_EQ(Whole(*fetcher->Fetch({0}, hash).value()), written_->Whole()); });
  }
  EXPECT_LE(trainer->bytes_sent(), written_->Whole().size() * 11 / 10);
}

TEST_F(Fetching, AssemblesAModelFolder) {
  written_->Write(0, true), written_->Write(1, false);
  ASSERT_TRUE(AssembleVersion(written_->weights, {1}, folder_ + "/model"));
  const std::string file = ReadFile(folder_ + "/model/model.safetensors").value();
  const size_t header = static_cast<uint8_t>(file[0]) + 256u * static_cast<uint8_t>(file[1]);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_EQ(file.substr(8 + header), written_->Whole());
  EXPECT_TRUE(AssembleVersion(written_->weights, {1}, folder_ + "/model")) << "made twice at once, one of them wins";
}

TEST(Relays, AreAskedInARingUpToOneself) {
  const std::vector<RelayAddress> all = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
  const auto names = [&](size_t chunk, const std::string& self, const std::vector<std::string>& avoid = {}) {
    std::string text;
    for (const RelayAddress& relay : AskInTurn(all, self, chunk, avoid)) text += relay.name;
    return text;
  };
  EXPECT_EQ(names(0, "a"), "") << "its own chunk comes from the trainer";
  EXPECT_EQ(names(0, "b"), "a");
  EXPECT_EQ(names(0, "c"), "ab");
  EXPECT_EQ(names(1, "a"), "bc");
  EXPECT_EQ(names(4, "a"), "bc");
  EXPECT_EQ(names(1, "a", {"b"}), "c") << "everybody steps over the dead one in the same way";
  EXPECT_EQ(names(1, "c", {"b"}), "");
}

TEST(Blobs, StrangersCannotHarmTheServer) {
  BlobStore store;
  const std::string text(100000, 'x'), hash = HashHex(text);
  store.Put(hash, {1}, {std::make_shared<const std::string>(text), nullptr, 0, text.size()});
  BlobServerLimits limits;
  limits.connections = 4, limits.request_ms = 200, limits.stall_ms = 200;
  const auto server = ServeBlobsOverTcp(store, "tcp://127.0.0.1:0", limits).value();
  const HostPort peer = ParseEndpoint(server->endpoint()).value();
  const auto good = [&] { return ConnectToBlobsOverTcp(server->endpoint(), 1000).value()->Fetch(hash, text.size(), 0, 2000); };
  EXPECT_EQ(good().value(), text);
  const auto ends = [&](const std::string& said) {
    const BlobSocket socket = BlobSocket::Connect(peer, 1000).value();
    (void)socket.SendAll(said.data(), said.size(), SystemClock().SteadyMs() + 1000, 1000);
    char byte = 0;
    EXPECT_TRUE(socket.WaitReadable(3000)) << said;
    return ::recv(socket.fd(), &byte, 1, MSG_DONTWAIT) <= 0;
  };
  EXPECT_TRUE(ends("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n........")) << "no request";
  EXPECT_TRUE(ends("CNDRBLB1half")) << "half a request";
  // Paths are just hashes that nobody has.
  auto client = ConnectToBlobsOverTcp(server->endpoint(), 1000).value();
  const auto path = client->Fetch("../../../../../../../etc/passwd.", 10, 0, 1000);
  ASSERT_FALSE(path);
  EXPECT_EQ(path.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(client->Fetch(hash, 99, 0, 1000).error().code, ErrorCode::kInvalidInput) << "another size than expected";
  std::vector<BlobSocket> many;
  for (int i = 0; i < 12; ++i) many.push_back(BlobSocket::Connect(peer, 1000).value());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_GE(server->refused(), 6u);
  many.clear();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(good().value(), text) << "and it still serves";
}

TEST(Manifest, RefusesWhatDoesNotHoldTogether) {
  VersionManifest good{{3}, "BF16", "{}", {{"w", {4, 8}}, {"b", {8}}}, {{0, 64, std::string(32, 'a')}, {64, 16, std::string(32, 'b')}}};
  const auto round = ParseVersionManifest(ToJson(good), "here");
  ASSERT_TRUE(round) << round.error().Message();
  EXPECT_EQ(ToJson(*round), ToJson(good));
  const auto refused = [&](const std::function<void(VersionManifest&)>& change, const std::string& words) {
    VersionManifest bad = good;
    change(bad);
    const auto parsed = ParseVersionManifest(ToJson(bad), "here");
    ASSERT_FALSE(parsed) << words;
    EXPECT_NE(parsed.error().what.find(words), std::string::npos) << parsed.error().Message();
  };
  refused([](auto& m) { m.dtype = "F8"; }, "number format");
  refused([](auto& m) { m.chunks[1].offset = 60; }, "do not cover");
  refused([](auto& m) { m.chunks.pop_back(); }, "end at byte 64 of 80");
  refused([](auto& m) { m.chunks[0].hash = "../x"; }, "is no hash");
  refused([](auto& m) { m.chunks[0].bytes = uint64_t{1} << 40; }, "a chunk of");
  refused([](auto& m) { m.chunks[0].bytes = 63; }, "a chunk of 63");
  refused([](auto& m) { m.tensors[0].shape = {int64_t{1} << 40, int64_t{1} << 40}; }, "shapes that cannot be");
  refused([](auto& m) { m.tensors[0].shape = {-4, 8}; }, "shapes that cannot be");
  for (const char* text : {"", "{", "[]", "{}", "{\"format\": 1}", "{\"format\": 2, \"version\": \"x\"}"})
    EXPECT_FALSE(ParseVersionManifest(text, "here")) << text;
  EXPECT_FALSE(ParsePacking(R"({"version": 1, "chunks": [{}]})", "here")) << "a chunk that cannot be had";
  EXPECT_FALSE(ParsePacking(R"({"version": 1, "chunks": [{"full": {"rank": 0, "at": 0, "bytes": 99999999999, "hash": "x"}}]})", "here"));
}

}  // namespace
}  // namespace candor
