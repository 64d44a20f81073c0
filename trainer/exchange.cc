#include "trainer/exchange.h"

#include <cstring>

namespace candor {

Result<std::vector<std::string>> GatherTexts(Collective& collective, const std::string& mine) {
  size_t ranks = static_cast<size_t>(collective.size());
  if (ranks == 1) return std::vector<std::string>{mine};
  int64_t length = static_cast<int64_t>(mine.size());
  std::vector<int64_t> lengths(ranks);
  CANDOR_TRY(collective.AllGather(&length, lengths.data(), 1, ElementType::kInt64));
  size_t longest = 0;
  for (int64_t one : lengths) longest = std::max(longest, static_cast<size_t>(one));
  std::vector<std::string> texts(ranks);
  if (longest == 0) return texts;
  std::string padded = mine, all(longest * ranks, '\0');
  padded.resize(longest);
  CANDOR_TRY(collective.AllGather(padded.data(), all.data(), longest, ElementType::kByte));
  for (size_t r = 0; r < ranks; ++r) texts[r] = all.substr(r * longest, static_cast<size_t>(lengths[r]));
  return texts;
}

Result<std::vector<std::vector<double>>> GatherDoubles(Collective& collective, const std::vector<double>& mine) {
  size_t ranks = static_cast<size_t>(collective.size()), n = mine.size();
  std::vector<double> flat(n * ranks);
  if (n > 0) CANDOR_TRY(collective.AllGather(mine.data(), flat.data(), n * sizeof(double), ElementType::kByte));
  std::vector<std::vector<double>> all(ranks);
  for (size_t r = 0; r < ranks; ++r)
    all[r].assign(flat.begin() + static_cast<std::ptrdiff_t>(r * n), flat.begin() + static_cast<std::ptrdiff_t>((r + 1) * n));
  return all;
}

Result<std::string> BroadcastText(Collective& collective, const std::string& text, int root) {
  if (collective.size() == 1) return text;
  int64_t length = static_cast<int64_t>(text.size());
  CANDOR_TRY(collective.Broadcast(&length, 1, ElementType::kInt64, root));
  std::string out = collective.rank() == root ? text : std::string(static_cast<size_t>(length), '\0');
  if (length > 0) CANDOR_TRY(collective.Broadcast(out.data(), static_cast<size_t>(length), ElementType::kByte, root));
  return out;
}

namespace {
// One byte of code, then what, where, fix, each ended by a zero byte; "" is success.
std::string Pack(const Status& status) {
  if (status) return "";
  const Error& e = status.error();
  std::string text(1, static_cast<char>(static_cast<int>(e.code) + 1));
  for (const std::string* part : {&e.what, &e.where, &e.fix}) text.append(part->c_str()).push_back('\0');
  return text;
}
Error Unpack(const std::string& text, size_t rank) {
  Error e;
  e.code = static_cast<ErrorCode>(static_cast<int>(text[0]) - 1);
  size_t at = 1;
  for (std::string* part : {&e.what, &e.where, &e.fix}) {
    *part = text.c_str() + at;
    at += part->size() + 1;
  }
  e.where = "rank " + std::to_string(rank) + (e.where.empty() ? "" : ", " + e.where);
  e.retry = e.code == ErrorCode::kUnavailable;
  return e;
}
}  // namespace

Status AgreeOn(Collective& collective, const Status& mine) {
  if (collective.size() == 1) return mine;
  CANDOR_ASSIGN(std::vector<std::string> all, GatherTexts(collective, Pack(mine)));
  for (size_t r = 0; r < all.size(); ++r)
    if (!all[r].empty()) return Fail(Unpack(all[r], r));
  return {};
}

}  // namespace candor
