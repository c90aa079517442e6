#include "tools/testpmd/attacker.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <rte_cycles.h>

#include "tools/testpmd/attack_frame.h"

namespace testpmd {
namespace {

constexpr std::array<AttackKind, 8> kAttacks{{
    {"replay", "replay_duplicate", "packets of the session once more, as they were"},
    {"forge-epoch", "epoch_ahead_forged|epoch_ahead_budget",
     "the epoch raised by 2 to 16, which costs the gateway a trial"},
    {"stripped-flag", "unencrypted", "flag ENCRYPTED taken off"},
    {"truncation", "truncated", "datagrams cut inside the payload"},
    {"wrong-tag", "auth", "a new sequence number and a bit of the tag flipped"},
    {"off-path-challenge", "auth", "guessed path challenges from other ports"},
    {"spoofed-source", "replay_duplicate",
     "packets sent from another port right before the session sends them"},
    {"unknown-session", "unknown_session", "random session ids"},
}};
enum Kind : unsigned {
  kReplay,
  kForgeEpoch,
  kStrippedFlag,
  kTruncation,
  kWrongTag,
  kOffPathChallenge,
  kSpoofedSource,
  kUnknownSession,
};
static_assert(kAttacks.size() == kUnknownSession + 1);

constexpr unsigned kSeen = 256;  // frames remembered; a power of two
constexpr unsigned kBehind =
    64;  // a replay follows its original by so many frames at least, where there are so many
constexpr unsigned kHeldBack = 32;             // frames that wait behind their spoofed copy
constexpr std::size_t kMostForgedBytes = 192;  // of frames that are made longer than what they are made of
constexpr double kMostPerSecond = 1e9;

struct Saved {
  std::uint16_t bytes = 0;
  FrameParts parts;
  std::array<std::uint8_t, kAttackFrameBytes> data;
};

// One attack, handed to the lane. The lane alone changes `left`.
struct Job {
  unsigned kind = 0;
  double pkts_per_tsc = 0;  // 0: as fast as it goes
  std::uint64_t count = 0;
  std::atomic<std::uint64_t> left{0};
};

}  // namespace

std::span<const AttackKind> attacks() {
  return kAttacks;
}

struct Attacker::Impl {
  Impl(rte_mempool* packets, std::uint64_t seed) : pool(packets), random(seed), saved(kSeen) {}

  void adopt();
  [[nodiscard]] std::uint64_t due(std::uint64_t now_tsc) const;
  void save(const std::uint8_t* data, std::size_t bytes, const FrameParts& parts);
  bool spoof(rte_mbuf* m, const FrameParts& parts);
  [[nodiscard]] std::size_t change(std::uint8_t* frame, const FrameParts& parts);
  rte_mbuf* make_one();
  void spent();

  // ---- main lcore
  std::vector<std::unique_ptr<Job>> jobs;
  std::atomic<Job*> wanted{nullptr};

  // ---- the lane
  rte_mempool* pool;
  AttackRandom random;
  std::vector<Saved> saved;
  std::uint64_t seen = 0;  // frames saved since the job began
  Job* job = nullptr;
  std::uint64_t start_tsc = 0;  // 0: nothing of this job was due yet
  std::uint64_t done = 0;
  std::uint32_t number = 0;  // of forged sequences, over all jobs
  std::array<rte_mbuf*, 2 * kHeldBack> held{};
  unsigned held_count = 0;
  std::array<std::atomic<std::uint64_t>, kAttacks.size()> sent{};
};

Attacker::Attacker(rte_mempool* pool, std::uint64_t seed) : impl_(std::make_unique<Impl>(pool, seed)) {}

Attacker::~Attacker() {
  for (unsigned i = 0; i < impl_->held_count; ++i) rte_pktmbuf_free(impl_->held[i]);
}

// ---- main lcore

std::string Attacker::set_up(std::string_view name, double pps, std::uint64_t count) {
  for (unsigned kind = 0; kind < kAttacks.size(); ++kind) {
    if (kAttacks[kind].name != name) continue;
    if (left() != 0) return "an attack is running; stop it first: attack stop";
    if (count == 0) return "the count of an attack is at least 1";
    if (!(pps >= 0) || pps > kMostPerSecond)
      return fmt::format("{} packets a second: expected 0 (as fast as it goes) to 1e9", pps);
    auto job = std::make_unique<Job>();
    job->kind = kind;
    job->pkts_per_tsc = pps / static_cast<double>(rte_get_tsc_hz());
    job->count = count;
    job->left.store(count, std::memory_order_relaxed);
    impl_->wanted.store(job.get(), std::memory_order_release);
    impl_->jobs.push_back(std::move(job));
    return "";
  }
  std::string names;
  for (const AttackKind& kind : kAttacks) names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
  return fmt::format("no attack is named \"{}\"; there are: {}", name, names);
}

void Attacker::stop() {
  impl_->wanted.store(nullptr, std::memory_order_release);
}

std::uint64_t Attacker::left() const {
  const Job* job = impl_->wanted.load(std::memory_order_acquire);
  return job == nullptr ? 0 : job->left.load(std::memory_order_acquire);
}

std::uint64_t Attacker::sent(unsigned kind) const {
  return kind < kAttacks.size() ? impl_->sent[kind].load(std::memory_order_relaxed) : 0;
}

// ---- the lane

bool Attacker::active() const {
  const Job* job = impl_->wanted.load(std::memory_order_acquire);
  return impl_->held_count != 0 || (job != nullptr && job->left.load(std::memory_order_relaxed) != 0);
}

void Attacker::Impl::adopt() {
  Job* next = wanted.load(std::memory_order_acquire);
  if (next == job) return;
  job = next;
  seen = 0;
  done = 0;
  start_tsc = 0;
}

std::uint64_t Attacker::Impl::due(std::uint64_t now_tsc) const {
  if (job == nullptr || done == job->count) return 0;
  if (job->pkts_per_tsc == 0) return job->count - done;
  const auto until_now =
      static_cast<std::uint64_t>(static_cast<double>(now_tsc - start_tsc) * job->pkts_per_tsc);
  return std::min(job->count, until_now) - std::min(done, std::min(job->count, until_now));
}

void Attacker::Impl::spent() {
  ++done;
  job->left.store(job->count - done, std::memory_order_release);
  std::atomic<std::uint64_t>& counter = sent[job->kind];
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Attacker::Impl::save(const std::uint8_t* data, std::size_t bytes, const FrameParts& parts) {
  Saved& slot = saved[seen++ % kSeen];
  slot.bytes = static_cast<std::uint16_t>(bytes);
  slot.parts = parts;
  std::memcpy(slot.data.data(), data, bytes);
}

// The copy from elsewhere first, then the packet itself: both wait here for make().
bool Attacker::Impl::spoof(rte_mbuf* m, const FrameParts& parts) {
  if (held_count + 2 > held.size()) return false;
  rte_mbuf* copy = rte_pktmbuf_copy(m, pool, 0, UINT32_MAX);
  if (copy == nullptr) return false;
  (void)make_spoofed_source(rte_pktmbuf_mtod(copy, std::uint8_t*), parts);
  held[held_count++] = copy;
  held[held_count++] = m;
  spent();
  return true;
}

bool Attacker::seen(rte_mbuf* m) {
  Impl& at = *impl_;
  at.adopt();
  const std::uint8_t* data = rte_pktmbuf_mtod(m, const std::uint8_t*);
  const std::size_t bytes = rte_pktmbuf_data_len(m);
  const auto parts = frame_parts({data, bytes});
  const bool ours = parts && is_tunnel_packet({data, bytes}, *parts) && bytes <= kAttackFrameBytes;
  if (ours && at.job != nullptr) {
    if (at.job->kind != kSpoofedSource) {
      at.save(data, bytes, *parts);
    } else {
      if (at.start_tsc == 0) at.start_tsc = rte_rdtsc();
      if (at.due(rte_rdtsc()) != 0 && at.spoof(m, *parts)) return false;
    }
  }
  if (at.held_count == 0 || at.held_count == at.held.size()) return true;
  at.held[at.held_count++] = m;  // none overtakes what is held back
  return false;
}

std::size_t Attacker::Impl::change(std::uint8_t* frame, const FrameParts& parts) {
  switch (job->kind) {
    case kForgeEpoch:
      return make_forged_epoch(frame, parts, random);
    case kStrippedFlag:
      return make_stripped_flag(frame, parts);
    case kTruncation:
      return make_truncated(frame, parts, random);
    case kWrongTag:
      return make_wrong_tag(frame, parts, ++number);
    case kOffPathChallenge:
      return make_off_path_challenge(frame, parts, ++number, random);
    case kUnknownSession:
      return make_unknown_session(frame, parts, random);
    default:
      return parts.end;
  }
}

// Out of a frame that passed some time ago, so that the gateway certainly had it.
rte_mbuf* Attacker::Impl::make_one() {
  const std::uint64_t known = std::min<std::uint64_t>(seen, kSeen);
  const std::uint64_t back = known > kBehind ? kBehind + random() % (known - kBehind) : random() % known;
  const Saved& from = saved[(seen - 1 - back) % kSeen];
  rte_mbuf* m = rte_pktmbuf_alloc(pool);
  if (m == nullptr) return nullptr;
  if (rte_pktmbuf_tailroom(m) < std::max<std::size_t>(from.bytes, kMostForgedBytes)) {
    rte_pktmbuf_free(m);
    return nullptr;
  }
  auto* frame = rte_pktmbuf_mtod(m, std::uint8_t*);
  std::memcpy(frame, from.data.data(), from.bytes);
  const std::size_t bytes = change(frame, from.parts);
  m->data_len = static_cast<std::uint16_t>(bytes);
  m->pkt_len = static_cast<std::uint32_t>(bytes);
  return m;
}

unsigned Attacker::make(rte_mbuf** out, unsigned room, std::uint64_t now_tsc) {
  Impl& at = *impl_;
  at.adopt();
  if (at.held_count != 0) {
    if (room < at.held_count) return 0;
    const unsigned n = at.held_count;
    std::copy_n(at.held.begin(), n, out);
    at.held_count = 0;
    return n;
  }
  if (at.job == nullptr || at.job->kind == kSpoofedSource || at.seen == 0) return 0;
  if (at.start_tsc == 0) at.start_tsc = now_tsc;
  unsigned n = 0;
  for (std::uint64_t due = at.due(now_tsc); due != 0 && n < room; --due) {
    rte_mbuf* m = at.make_one();
    if (m == nullptr) break;
    out[n++] = m;
    at.spent();
  }
  return n;
}

}  // namespace testpmd
