// A rank's lines to the reward workers: one connection each, and none to an address that nobody has any more.
#include "trainer/link/links.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/fs.h"

namespace candor {
namespace {

// Every address is a reward worker that has the group, but those in `gone`.
class Workers final : public Transport {
 public:
  Result<std::unique_ptr<MessageServer>> Listen(const std::string&, Role, size_t) override {
    return Fail(ErrorCode::kInternal, "a rank does not listen");
  }
  Result<std::unique_ptr<MessageClient>> Connect(const std::string& endpoint, Role, Role, size_t) override {
    ++connected;
    return std::make_unique<Connection>(*this, endpoint);
  }
  std::multiset<std::string> open;
  std::set<std::string> gone;
  int connected = 0;

  static ScoredGroup Group() {
    ScoredGroup group;
    group.id = MakeGroupId(1, 0);
    return group;
  }

 private:
  class Connection final : public MessageClient {
   public:
    Connection(Workers& workers, std::string endpoint) : workers_(workers), endpoint_(std::move(endpoint)) {
      workers_.open.insert(endpoint_);
    }
    ~Connection() override { workers_.open.erase(workers_.open.find(endpoint_)); }
    Status Send(std::string body) override {
      const Message message = *Decode(body);
      if (!workers_.gone.contains(endpoint_)) answer_ = Encode({message.run_id, message.sequence, "reward-0", Group()});
      return {};
    }
    Result<std::optional<std::string>> Receive(int) override { return std::exchange(answer_, std::nullopt); }

   private:
    Workers& workers_;
    const std::string endpoint_;
    std::optional<std::string> answer_;
  };
};

PlannedGroup At(const std::string& endpoint) {
  PlannedGroup planned;
  planned.group = MakeGroupId(1, 0), planned.reward_endpoint = endpoint, planned.hash = HashHex(EncodePayload(Workers::Group()));
  return planned;
}

class Fetching : public testing::Test {
 protected:
  LearnerLinkSetup Link() {
    LearnerLinkSetup setup;
    setup.transport = &workers_, setup.run_id = "run", setup.worker = "trainer-0", setup.clock = &clock_;
    return setup;
  }
  Workers workers_;
  ManualClock clock_;
  GroupFetcher fetcher_{Link()};
};

TEST_F(Fetching, AnAddressThatCannotBeReadNowIsACoordinatorThatIsAway) {
  std::string folder = (std::filesystem::temp_directory_path() / "candor-links-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  LearnerLinkSetup setup = Link();
  setup.run_dir = folder;
  for (const char* state : {"none", "torn", "a folder"}) {
    const std::string_view name = state;
    ASSERT_TRUE(name != "torn" || WriteFileAtomic(folder + "/endpoint.1", "{\"epo"));
    ASSERT_TRUE(name != "a folder" || MakeFolders(folder + "/endpoint.2"));
    LearnerLink link(setup);
    const Result<Welcome> reply = link.Ask<Welcome>(Hello{}, "hello", 0);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable) << state << ": asked again until the deadline";
  }
  EXPECT_TRUE(RemoveTree(folder));
}

TEST_F(Fetching, AConnectionServesManyGroups) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(fetcher_.Fetch(At("tcp://a:1"), 1000));
    clock_.Advance(50'000);  // a long step
  }
  EXPECT_EQ(workers_.connected, 1);
}

// In a soak each restart of a reward worker left a rank with one more open file.
TEST_F(Fetching, AddressesThatNobodyHasAnyMoreAreForgotten) {
  for (int life = 0; life < 40; ++life) {
    ASSERT_TRUE(fetcher_.Fetch(At("tcp://a:" + std::to_string(life)), 1000));
    clock_.Advance(10'000);
  }
  EXPECT_LE(workers_.open.size(), 7u);
  EXPECT_TRUE(workers_.open.contains("tcp://a:39"));
}

TEST_F(Fetching, AWorkerThatIsGoneIsAskedAnewNextTime) {
  ASSERT_TRUE(fetcher_.Fetch(At("tcp://a:1"), 1000));
  workers_.gone = {"tcp://a:1"};
  PlannedGroup planned = At("tcp://a:1");
  GroupFetcher impatient([&] {
    LearnerLinkSetup setup = Link();
    setup.clock = &SystemClock::Get();
    return setup;
  }());
  const Result<ScoredGroup> nothing = impatient.Fetch(planned, 1);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(workers_.open.size(), 1u) << "the other fetcher's";
  workers_.gone.clear();
  EXPECT_TRUE(impatient.Fetch(planned, 1000));
}

TEST_F(Fetching, OtherBytesThanThePlanNamesAreRefused) {
  PlannedGroup planned = At("tcp://a:1");
  planned.hash = std::string(32, '0');
  const Result<ScoredGroup> group = fetcher_.Fetch(planned, 1000);
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace candor
