// Files that other machines or earlier lives wrote: safetensors, spooled groups, listed files of a manifest, run keys, addresses.
#include <filesystem>

#include "core/fs.h"
#include "core/rendezvous.h"
#include "core/transport.h"
#include "proto/messages.h"
#include "reward/spool.h"
#include "tests/fuzz/targets.h"
#include "text/safetensors_header.h"
#include "trainer/file_list.h"

namespace candor::fuzz {

namespace {

namespace fs = std::filesystem;

void Refused(const Error& error) { Promise(!error.what.empty() && !error.where.empty(), "a refusal says why and where"); }

void RunSafetensors(std::string_view bytes) {
  Result<std::vector<TensorEntry>> index = ParseSafetensorsIndex(bytes, "model.safetensors");
  if (!index) return Refused(index.error());
  int64_t end = 0;
  for (const TensorEntry& entry : *index) {
    Promise(end <= entry.begin && entry.begin <= entry.end && entry.end <= static_cast<int64_t>(bytes.size()), "tensors lie in the file");
    for (int64_t size : entry.shape) Promise(size >= 0, "sizes are not negative");
    end = entry.end;
  }
}
std::string Safetensors(const std::string& header, size_t data) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) file += static_cast<char>(static_cast<uint64_t>(header.size()) >> shift & 0xff);
  return file + header + std::string(data, '\0');
}
std::vector<std::string> SafetensorsSeeds() {
  return {
      Safetensors("{}", 0), Safetensors(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      Safetensors(
          R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"I64","shape":[1],"data_offsets":[2,10]}})",
          10)};
}

// The file under the name of the group that the seed holds.
constexpr uint64_t kGroup = 0x0700000003;
std::string SpoolPath() {
  char name[32];
  std::snprintf(name, sizeof name, "/%016llx.group", static_cast<unsigned long long>(kGroup));
  return Folder() + "/spool" + name;
}
void RunSpool(std::string_view bytes) {
  std::error_code ignored;
  fs::remove_all(Folder() + "/spool", ignored);
  fs::create_directories(Folder() + "/spool");
  Write(SpoolPath(), bytes);
  Result<std::unique_ptr<Spool>> spool = Spool::Open(Folder() + "/spool", 1 << 20);
  Promise(spool.has_value(), "one bad file does not close the spool");
  Promise((*spool)->List().size() + (*spool)->set_aside() == 1, "a file is a group or set aside");
  for (const SpooledGroup& entry : (*spool)->List())
    if (Result<std::string> payload = (*spool)->Fetch(entry.group, entry.hash)) (void)DecodePayload(*payload);
}
std::vector<std::string> SpoolSeeds() {
  std::error_code ignored;
  fs::remove_all(Folder() + "/spool", ignored);
  std::vector<std::string> seeds;
  for (const std::string& payload : {std::string("payload"), EncodePayload({})}) {
    fs::remove_all(Folder() + "/spool", ignored);
    Result<std::unique_ptr<Spool>> spool = Spool::Open(Folder() + "/spool", 1 << 20);
    Promise(spool && (*spool)->Put({kGroup}, {7}, payload).has_value(), "a seed can be spooled");
    seeds.push_back(*ReadFile(SpoolPath()));
  }
  return seeds;
}

void RunListedFile(std::string_view bytes) {
  Result<ListedFile> listed = ListedFileFromJson(std::string(bytes), "manifest.json");
  if (!listed) return Refused(listed.error());
  Promise(listed->name.find('/') == std::string::npos && listed->name != "." && listed->name != ".." &&
              listed->name.find('\0') == std::string::npos && !listed->name.empty(),
          "a listed name stays in its folder");
  Promise(ListedFileFromJson(ToJsonText(*listed), "again").has_value(), "a listed file can be listed again");
}
std::vector<std::string> ListedSeeds() {
  return {ToJsonText({"rank_0.safetensors", 30, {{0, 16, std::string(32, 'a')}, {16, 14, std::string(32, '0')}}}),
          ToJsonText({"a", 0, {}})};
}

void RunKeyFile(std::string_view bytes) {
  static const RunKeys keys = [] {
    RunKeys made = *MakeRunKeys();
    Promise(WriteRunKeys(made, Folder()).has_value(), "keys can be written");
    return made;
  }();
  Write(Folder() + "/keys/rollout.key", bytes);
  Result<RunKeys> read = ReadRunKeys(Folder());
  if (!read) return Refused(read.error());
  Promise(read->by_role.size() == keys.by_role.size(), "every role has a key");
}
std::vector<std::string> KeySeeds() {
  const RunKeys keys = *MakeRunKeys();
  return {"public " + keys.by_role[1].public_key + "\nsecret " + keys.by_role[1].secret_key + "\n", "public \nsecret \n"};
}

void RunEndpoint(std::string_view bytes) {
  fs::create_directories(Folder() + "/run");
  Write(Folder() + "/run/endpoint.3", bytes);
  Result<CoordinatorAddress> address = FindCoordinator(Folder() + "/run");
  if (!address) return Refused(address.error());
  Promise(address->epoch == 3, "the epoch is the file's");
}
std::vector<std::string> EndpointSeeds() { return {R"({"endpoint":"tcp://127.0.0.1:4000","epoch":3,"http":"http://127.0.0.1:5"})"}; }

}  // namespace

std::vector<Target> FileTargets() {
  return {{"safetensors", RunSafetensors, SafetensorsSeeds, 30000},
          {"spool_file", RunSpool, SpoolSeeds, 600},
          {"manifest_file", RunListedFile, ListedSeeds, 30000},
          {"key_file", RunKeyFile, KeySeeds, 1000},
          {"endpoint_file", RunEndpoint, EndpointSeeds, 1500}};
}

}  // namespace candor::fuzz
