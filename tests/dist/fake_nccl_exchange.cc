// How the fake NCCL carries out a group: every rank puts its inputs into shared memory under a text that names its calls, waits for the
// others, compares the texts and computes for itself.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "core/collective_reduce.h"
#include "tests/dist/fake_nccl.h"

namespace fake_nccl {

namespace {

size_t SizeOf(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return 1;
    case ncclBfloat16:
      return 2;
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

template <typename T>
T Combine(T a, T b, ncclRedOp_t op) {
  if (op == ncclMax) return b > a ? b : a;
  if (op == ncclMin) return b < a ? b : a;
  return static_cast<T>(a + b);
}

// From the last rank down to the first.
template <typename T>
void ReduceBackwards(const std::vector<const char*>& inputs, size_t offset, void* out, size_t count, ncclRedOp_t op) {
  std::vector<T> sum(count);
  for (size_t r = inputs.size(); r-- > 0;) {
    const T* in = reinterpret_cast<const T*>(inputs[r] + offset);
    for (size_t i = 0; i < count; ++i) sum[i] = r + 1 == inputs.size() ? in[i] : Combine(sum[i], in[i], op);
  }
  if (count > 0) std::memcpy(out, sum.data(), count * sizeof(T));
}

void ReduceBFloat16(const std::vector<const char*>& inputs, size_t offset, void* out, size_t count, ncclRedOp_t op) {
  std::vector<uint16_t> sum(count);
  for (size_t r = inputs.size(); r-- > 0;) {
    const uint16_t* in = reinterpret_cast<const uint16_t*>(inputs[r] + offset);
    for (size_t i = 0; i < count; ++i)
      sum[i] = r + 1 == inputs.size() ? in[i] : candor::ToBFloat16(Combine(candor::FromBFloat16(sum[i]), candor::FromBFloat16(in[i]), op));
  }
  if (count > 0) std::memcpy(out, sum.data(), count * 2);
}

void Reduce(const Call& call, const std::vector<const char*>& inputs, size_t offset) {
  switch (call.type) {
    case ncclFloat32:
      return ReduceBackwards<float>(inputs, offset, call.out, call.count, call.op);
    case ncclBfloat16:
      return ReduceBFloat16(inputs, offset, call.out, call.count, call.op);
    case ncclInt64:
      return ReduceBackwards<int64_t>(inputs, offset, call.out, call.count, call.op);
    default:
      return ReduceBackwards<uint8_t>(inputs, offset, call.out, call.count, call.op);
  }
}

bool IsCollective(const Call& call) { return call.kind != Kind::kSend && call.kind != Kind::kReceive; }

std::string MailName(const ncclComm& comm, int from, int to, uint64_t number) {
  return comm.id + "-m" + std::to_string(from) + "." + std::to_string(to) + "." + std::to_string(number);
}

void PutMail(ncclComm& comm, const Call& call) {
  Mailbox& box = comm.shared->boxes[comm.rank][call.peer];
  if (!comm.Await([&] { return box.taken == comm.sent_to[call.peer]; })) return;
  const uint64_t number = ++comm.sent_to[call.peer];
  const size_t bytes = call.count * SizeOf(call.type);
  char* memory = MapShared(MailName(comm, comm.rank, call.peer, number), bytes);
  if (bytes > 0) std::memcpy(memory, call.in, bytes);
  UnmapShared(memory, bytes);
  box.count = call.count, box.type = call.type;
  box.sent = number;
}

void TakeMail(ncclComm& comm, const Call& call) {
  Mailbox& box = comm.shared->boxes[call.peer][comm.rank];
  const uint64_t number = ++comm.taken_from[call.peer];
  if (!comm.Await([&] { return box.sent >= number; })) return;
  const std::string name = MailName(comm, call.peer, comm.rank, number);
  if (box.count != call.count || box.type != call.type)
    return comm.Break(ncclInvalidUsage, "ranks disagree: rank " + std::to_string(call.peer) + " sends " + std::to_string(box.count) +
                                            " of type " + std::to_string(box.type) + ", rank " + std::to_string(comm.rank) + " makes '" +
                                            Describe(call) + "'");
  const size_t bytes = call.count * SizeOf(call.type);
  char* memory = MapShared(name, bytes);
  if (bytes > 0) std::memcpy(call.out, memory, bytes);
  UnmapShared(memory, bytes);
  ::shm_unlink(name.c_str());
  box.taken = number;
}

void RunCollectives(ncclComm& comm, const std::vector<Call>& calls) {
  std::string text;
  size_t bytes = 0;
  for (const Call& call : calls)
    if (IsCollective(call)) text += (text.empty() ? "" : " + ") + Describe(call), bytes += InBytes(call, comm.ranks);
  if (text.empty()) return;
  const uint64_t round = ++comm.rounds;
  const std::string name = comm.id + "-d" + std::to_string(comm.rank) + "." + std::to_string(round);
  char* own = MapShared(name, bytes);
  size_t at = 0;
  for (const Call& call : calls)
    if (const size_t n = IsCollective(call) ? InBytes(call, comm.ranks) : 0; n > 0) std::memcpy(own + at, call.in, n), at += n;
  Slot* slots = comm.shared->slots;
  text.copy(slots[comm.rank].text, kTextBytes - 1);
  slots[comm.rank].text[std::min(text.size(), kTextBytes - 1)] = 0;
  slots[comm.rank].published = round;
  bool same = true;
  std::vector<char*> all(static_cast<size_t>(comm.ranks), nullptr);
  for (int r = 0; same && r < comm.ranks; ++r) {
    same = comm.Await([&] { return slots[r].published >= round; });
    if (same && text.compare(0, kTextBytes - 1, slots[r].text) != 0)
      same = false,
      comm.Break(ncclInvalidUsage, "ranks disagree in round " + std::to_string(round) + ": rank " + std::to_string(r) + " calls '" +
                                       slots[r].text + "', rank " + std::to_string(comm.rank) + " calls '" + text + "'");
    if (same)
      all[static_cast<size_t>(r)] =
          r == comm.rank ? own : MapShared(comm.id + "-d" + std::to_string(r) + "." + std::to_string(round), bytes);
  }
  at = 0;
  for (const Call& call : calls)
    if (same && IsCollective(call)) {
      std::vector<const char*> inputs;
      for (char* one : all) inputs.push_back(one + at);
      Compute(call, inputs, comm.rank);
      at += InBytes(call, comm.ranks);
    }
  slots[comm.rank].done = round;
  for (int r = 0; same && r < comm.ranks; ++r) same = comm.Await([&] { return slots[r].done >= round; });
  for (int r = 0; r < comm.ranks; ++r)
    if (r != comm.rank && all[static_cast<size_t>(r)]) UnmapShared(all[static_cast<size_t>(r)], bytes);
  UnmapShared(own, bytes);
  ::shm_unlink(name.c_str());
}

}  // namespace

std::string Describe(const Call& call) {
  static constexpr const char* kNames[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast", "send", "receive"};
  return std::string(kNames[static_cast<int>(call.kind)]) + " count " + std::to_string(call.count) + " type " + std::to_string(call.type) +
         " op " + std::to_string(call.op) + " peer " + std::to_string(call.peer);
}
size_t InBytes(const Call& call, int ranks) {
  const size_t bytes = call.count * SizeOf(call.type);
  return call.kind == Kind::kReceive ? 0 : call.kind == Kind::kReduceScatter ? bytes * static_cast<size_t>(ranks) : bytes;
}
size_t OutBytes(const Call& call, int ranks) {
  const size_t bytes = call.count * SizeOf(call.type);
  return call.kind == Kind::kSend ? 0 : call.kind == Kind::kAllGather ? bytes * static_cast<size_t>(ranks) : bytes;
}

void Compute(const Call& call, const std::vector<const char*>& inputs, int rank) {
  const size_t bytes = call.count * SizeOf(call.type);
  char* out = static_cast<char*>(call.out);
  if (bytes == 0) return;
  if (call.kind == Kind::kAllReduce) Reduce(call, inputs, 0);
  if (call.kind == Kind::kReduceScatter) Reduce(call, inputs, static_cast<size_t>(rank) * bytes);
  if (call.kind == Kind::kBroadcast) std::memcpy(out, inputs[static_cast<size_t>(call.peer)], bytes);
  for (size_t r = 0; call.kind == Kind::kAllGather && r < inputs.size(); ++r) std::memcpy(out + r * bytes, inputs[r], bytes);
}

void RunGroup(ncclComm& comm, const std::vector<Call>& calls) {
  const uint64_t number = ++comm.groups;
  if (Asked("die", comm.rank, number)) ::raise(SIGKILL);
  if (Asked("error", comm.rank, number)) return comm.Break(ncclRemoteError, "an injected error");
  if (Asked("hang", comm.rank, number)) return (void)comm.Await([] { return false; });
  for (const Call& call : calls)
    if (call.kind == Kind::kSend) PutMail(comm, call);
  RunCollectives(comm, calls);
  for (const Call& call : calls)
    if (call.kind == Kind::kReceive) TakeMail(comm, call);
  for (const Call& call : calls)
    if (call.kind == Kind::kSend) comm.Await([&] { return comm.shared->boxes[comm.rank][call.peer].taken == comm.sent_to[call.peer]; });
}

bool Asked(const char* what, int rank, uint64_t group) {
  const char* text = std::getenv("CANDOR_FAKE_NCCL");
  if (!text) return false;
  const std::string wanted = std::string(what) + ":" + std::to_string(rank) + (group > 0 ? ":" + std::to_string(group) : "");
  return wanted == text;
}

char* MapShared(const std::string& name, size_t bytes) {
  const int fd = ::shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes + 1)) != 0) std::abort();
  void* memory = ::mmap(nullptr, bytes + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<char*>(memory);
}
void UnmapShared(char* memory, size_t bytes) { ::munmap(memory, bytes + 1); }

}  // namespace fake_nccl
