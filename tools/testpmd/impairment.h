// What a bad network does to packets, in one direction: delay, jitter, a rate with a bounded queue, loss,
// reordering, duplication, corruption, and a cut. The harness's relay mode and the tests' relay use it.
//
// Pure: time is an argument, randomness a seed, packets are whatever the caller has (a buffer's number, a
// pointer). The same seed, settings, sizes and times give the same fates, and every packet draws the same
// number of random values whatever the settings are, so turning one of them leaves the others' choices alone.
//
// Thread: one. Nothing here locks.
//
//   offer ->  cut? -> loss -> rate and its queue -> delay, jitter, reordering -> held until due -> release
//                                    \-> one bit flipped             \-> duplicate, right behind the first
//
// What came in is always accounted for:
//   in + duplicated = out + lost + cut + queue_drops + held
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace testpmd {

inline constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

struct ImpairmentSettings {
  std::uint64_t delay_ns = 0;
  // The delay of a packet is delay_ns plus or minus up to this, evenly spread, never below 0. Order is kept:
  // a packet waits for the one before it, so dense traffic is delayed by nearly delay_ns + jitter_ns.
  std::uint64_t jitter_ns = 0;
  std::uint64_t rate_bits_per_s = 0;    // 0: no limit
  std::uint64_t burst_bytes = 3'000;    // the bucket: two packets of full size leave at once
  std::uint64_t queue_bytes = 131'072;  // waiting for the rate; what doesn't fit is dropped
  double loss = 0;                      // these are chances, 0..1, of every packet for itself
  double duplicate = 0;
  double reorder = 0;  // to be held reorder_ns longer while later ones overtake
  std::uint64_t reorder_ns = 1'000'000;
  double corrupt = 0;  // to have one bit flipped
};

struct ImpairmentCounters {
  std::uint64_t in_pkts = 0, in_bytes = 0;
  std::uint64_t out_pkts = 0, out_bytes = 0;
  std::uint64_t lost_pkts = 0;         // by chance
  std::uint64_t cut_pkts = 0;          // came during a cut, or were on their way at a hard one
  std::uint64_t queue_drops_pkts = 0;  // no room before the rate, or too many held at once
  std::uint64_t duplicated_pkts = 0;   // copies made
  std::uint64_t reordered_pkts = 0;    // held longer than their successors
  std::uint64_t delayed_pkts = 0;      // left later than they came
  std::uint64_t corrupted_pkts = 0;    // with one bit flipped
};

// The damage of a corrupted packet: one bit of it.
inline void flip_bit(std::uint8_t* p, std::size_t bytes, std::uint64_t random) {
  if (bytes != 0) p[(random >> 3) % bytes] ^= static_cast<std::uint8_t>(1U << (random & 7));
}

// Decides the fate of one packet after the other.
class Impairment {
 public:
  struct Fate {
    bool forwarded = false;
    bool duplicated = false;
    bool corrupted = false;
    std::uint64_t due_ns = 0;  // of a forwarded one, and of its copy
    std::uint64_t damage = 0;  // of a corrupted one: a random number that chooses the bit
  };

  explicit Impairment(std::uint64_t seed) : random_(seed), damage_random_(~seed) {}

  // What waits for the rate keeps its bytes, so a faster rate also clears the queue faster.
  void set(const ImpairmentSettings& settings, std::uint64_t now_ns);
  [[nodiscard]] const ImpairmentSettings& settings() const { return settings_; }
  void cut(bool on) { cut_ = on; }
  [[nodiscard]] bool is_cut() const { return cut_; }

  // `now_ns` never goes back.
  Fate decide(std::uint32_t bytes, std::uint64_t now_ns);

  ImpairmentCounters counters;

 private:
  static std::uint64_t next_random(std::uint64_t& state);
  static double chance(std::uint64_t& state);  // [0, 1)
  // When the last of these bytes has passed the rate; kNever: they don't fit into the queue.
  std::uint64_t pass_rate(std::uint32_t bytes, std::uint64_t now_ns);

  ImpairmentSettings settings_;
  std::uint64_t random_;
  std::uint64_t damage_random_;    // of corruption: a stream of its own, so the other fates are as without it
  std::uint64_t served_ns_ = 0;    // when the rate has served everything it accepted
  std::uint64_t last_due_ns_ = 0;  // of the packets in order
  bool cut_ = false;
};

// An impaired direction that holds the packets until they are due. `Packet` is movable and small.
template <class Packet>
class ImpairedLink {
 public:
  static constexpr std::size_t kDefaultMostHeld = 65'536;
  explicit ImpairedLink(std::uint64_t seed, std::size_t most_held = kDefaultMostHeld)
      : impairment_(seed), most_held_(most_held) {}
  // Afterwards nothing allocates.
  void reserve() { heap_.reserve(most_held_); }

  void set(const ImpairmentSettings& settings, std::uint64_t now_ns) { impairment_.set(settings, now_ns); }
  [[nodiscard]] const ImpairmentSettings& settings() const { return impairment_.settings(); }
  [[nodiscard]] const ImpairmentCounters& counters() const { return impairment_.counters; }
  [[nodiscard]] std::size_t held_pkts() const { return heap_.size(); }

  // Nothing passes until restore(). What is on its way still arrives.
  void cut() { impairment_.cut(true); }
  void restore() { impairment_.cut(false); }
  [[nodiscard]] bool is_cut() const { return impairment_.is_cut(); }
  // A hard cut loses what is on its way too; `drop(Packet)` gets it back.
  template <class Drop>
  void lose_held(Drop drop) {
    impairment_.counters.cut_pkts += heap_.size();
    for (Held& held : heap_) drop(std::move(held.packet));
    heap_.clear();
  }

  // True: the link has taken the packet. False: it stays with the caller, who drops it. `copy()` makes the
  // duplicate and is called only when one is needed; `damage(random)` flips the bit that the number chooses.
  template <class Copy, class Damage>
  bool offer(Packet packet, std::uint32_t bytes, std::uint64_t now_ns, Copy copy, Damage damage) {
    const Impairment::Fate fate = impairment_.decide(bytes, now_ns);
    if (!fate.forwarded) return false;
    if (fate.corrupted) damage(fate.damage);
    if (heap_.size() >= most_held_) {
      ++impairment_.counters.queue_drops_pkts;
      return false;
    }
    if (fate.due_ns > now_ns) ++impairment_.counters.delayed_pkts;
    push(std::move(packet), bytes, fate.due_ns);
    if (fate.duplicated && heap_.size() < most_held_) {
      ++impairment_.counters.duplicated_pkts;
      push(copy(), bytes, fate.due_ns);
    }
    return true;
  }

  // Where settings have no corruption.
  template <class Copy>
  bool offer(Packet packet, std::uint32_t bytes, std::uint64_t now_ns, Copy copy) {
    return offer(std::move(packet), bytes, now_ns, copy, [](std::uint64_t) {});
  }

  // Hands packets that are due to `sink(Packet, bytes)`, earliest first, at most `most`; how many.
  template <class Sink>
  std::size_t release(std::uint64_t now_ns, std::size_t most, Sink sink) {
    std::size_t done = 0;
    for (; done < most && !heap_.empty() && heap_.front().due_ns <= now_ns; ++done) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      Held held = std::move(heap_.back());
      heap_.pop_back();
      ++impairment_.counters.out_pkts;
      impairment_.counters.out_bytes += held.bytes;
      sink(std::move(held.packet), held.bytes);
    }
    return done;
  }

  [[nodiscard]] std::uint64_t next_due_ns() const { return heap_.empty() ? kNever : heap_.front().due_ns; }

 private:
  struct Held {
    std::uint64_t due_ns;
    std::uint64_t number;  // packets due at one time leave in the order they came
    std::uint32_t bytes;
    Packet packet;
  };
  static bool later(const Held& left, const Held& right) {
    return left.due_ns != right.due_ns ? left.due_ns > right.due_ns : left.number > right.number;
  }
  void push(Packet packet, std::uint32_t bytes, std::uint64_t due_ns) {
    heap_.push_back(Held{due_ns, number_++, bytes, std::move(packet)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  Impairment impairment_;
  std::size_t most_held_;
  std::uint64_t number_ = 0;
  std::vector<Held> heap_;
};

}  // namespace testpmd
