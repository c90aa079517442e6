// What reliable streams cost beside the cipher: the state machines of both ends in one process, without a
// network, a burst of segments at a time, and raw ipsec-mb over packets of the same size in the same run.
//
// Arguments: text bytes, streams in turn. Counters are cycles of the time stamp counter for one packet: of a
// segment taken from the application and given out (`send`), received and handed on (`receive`), of its
// acknowledgement given out (`ack_send`) and taken in (`ack_take`); `raw_seal` and `raw_seal_ack` are
// ipsec-mb alone. `ratio` is send, receive and both sides of the acknowledgement over what the cipher needs
// for the same packets at both ends.
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>
#include <intel-ipsec-mb.h>
#include <x86intrin.h>

#include "session/streams.h"
#include "session/timer_wheel.h"

namespace {

constexpr unsigned kBurst = 32;
constexpr std::uint64_t kStart_ns = 1'000'000'000;
constexpr std::uint64_t kStep_ns = 50'000;  // between bursts: half of a round trip
constexpr std::uint32_t kAckBytes = 4;
constexpr std::size_t kHeaderBytes = 45;

// The cipher alone.
class RawSeal {
 public:
  RawSeal() : mgr_(alloc_mb_mgr(0)) {
    init_mb_mgr_auto(mgr_, nullptr);
    IMB_AES256_GCM_PRE(mgr_, raw_key_.data(), &key_);
  }
  ~RawSeal() { free_mb_mgr(mgr_); }
  RawSeal(const RawSeal&) = delete;
  RawSeal& operator=(const RawSeal&) = delete;

  std::uint64_t cycles(std::uint32_t text_bytes) {
    const std::uint64_t begin = __rdtsc();
    for (std::size_t i = 0; i < kBurst; ++i) {
      std::uint8_t* text = buffers_.data() + i * kRoom + kHeaderBytes + 4;
      IMB_AES256_GCM_ENC(mgr_, &key_, &context_, text, text, text_bytes, nonce_.data(),
                         buffers_.data() + i * kRoom, kHeaderBytes, text + text_bytes, 16);
    }
    return __rdtsc() - begin;
  }

 private:
  static constexpr std::size_t kRoom = 2048;
  IMB_MGR* mgr_;
  alignas(64) gcm_key_data key_{};
  alignas(64) gcm_context_data context_{};
  alignas(64) std::array<std::uint8_t, 32> raw_key_{1, 2, 3};  // loaded as a whole
  std::array<std::uint8_t, 12> nonce_{};
  std::vector<std::uint8_t> buffers_ = std::vector<std::uint8_t>(kBurst * kRoom);
};

session::Streams::Config config_of(bool initiator, std::uint32_t segment_bytes, std::uint32_t streams) {
  session::Streams::Config config;
  config.initiator = initiator;
  config.segment_bytes = segment_bytes;
  config.limits.streams = streams;
  return config;
}

struct End {
  End(bool initiator, std::uint32_t segment_bytes, std::uint32_t count)
      : memory({count, 16'384, 16'384}),
        wheel(kStart_ns),
        streams(config_of(initiator, segment_bytes, count), memory, wheel, kStart_ns),
        next(count, 0) {}

  // A packet that wants to leave, with its number.
  bool take(session::StreamPacket& packet, std::uint64_t now_ns) {
    if (!streams.next_packet(packet, now_ns)) return false;
    session::TxStream* counter = streams.counter(packet.stream);
    std::uint32_t& number = counter != nullptr ? counter->next : next[packet.stream];
    streams.numbered(packet, number++);
    return true;
  }
  void expire(std::uint64_t now_ns) {
    while (session::Timer* timer = wheel.next_expired(now_ns)) streams.on_timer(*timer, now_ns);
  }

  session::StreamMemory memory;
  session::TimerWheel wheel;
  session::Streams streams;
  std::vector<std::uint32_t> next;  // of streams below kDynamicFirst
};

struct Cycles {
  std::uint64_t send = 0, receive = 0, ack_send = 0, ack_take = 0, raw_seal = 0, raw_seal_ack = 0;
};

class Transfer {
 public:
  Transfer(std::uint32_t text_bytes, std::uint32_t count)
      : a_(true, text_bytes, count + 40), b_(false, text_bytes, count + 40), text_(text_bytes, 0x5A) {
    for (std::uint32_t i = 0; i < count; ++i) {
      session::StreamError error{};
      if (const auto id = a_.streams.open({}, error)) ids_.push_back(*id);
    }
    a_.streams.set_dynamic_limit(0, 1U << 30);
    b_.streams.set_dynamic_limit(0, 1U << 30);
  }

  // A burst of segments there, and their acknowledgements back. False: it came to a stop.
  bool round(Cycles& cycles) {
    const std::uint64_t start = __rdtsc();
    for (unsigned i = 0; i < kBurst; ++i) {
      session::StreamError error{};
      (void)a_.streams.send(ids_[turn_++ % ids_.size()], text_, error);
    }
    const unsigned sent = give_out();
    const std::uint64_t given = __rdtsc();
    cycles.send += given - start;
    now_ += kStep_ns;
    const std::uint64_t arrives = __rdtsc();
    deliver(sent);
    const std::uint64_t taken = __rdtsc();
    cycles.receive += taken - arrives;
    const unsigned acks = answer();
    const std::uint64_t answered = __rdtsc();
    cycles.ack_send += answered - taken;
    now_ += kStep_ns;
    const std::uint64_t returns = __rdtsc();
    for (unsigned i = 0; i < acks; ++i) acknowledge(packets_[i]);
    cycles.ack_take += __rdtsc() - returns;
    a_.expire(now_);
    b_.expire(now_);
    return sent != 0;
  }
  [[nodiscard]] std::uint64_t segments() const { return a_.streams.counters().segments; }

 private:
  struct Kept {
    std::uint16_t stream, flags, ack_delay;
    std::uint32_t sequence, number;
  };

  unsigned give_out() {
    unsigned n = 0;
    session::StreamPacket packet;
    while (n < packets_.size() && a_.take(packet, now_)) {
      packets_[n++] = Kept{packet.stream, packet.flags, packet.ack_delay, packet.sequence, 0};
      a_.streams.sealed(packet, 0, packet.sequence,
                        static_cast<std::uint32_t>(packet.text.size() + session::kPacketOverhead), now_);
    }
    return n;
  }

  void deliver(unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      const Kept& k = packets_[i];
      const bool data = (k.flags & session::kFlagReliable) != 0;
      if (!data) continue;
      if (!b_.streams.has_room(k.stream, k.sequence, k.flags, k.ack_delay,
                               static_cast<std::uint32_t>(text_.size())))
        continue;
      b_.streams.on_data(k.stream, k.sequence, k.flags, k.ack_delay, 0, text_, now_);
    }
    session::StreamEvent event;
    while (b_.streams.next_event(event)) {
      for (auto bytes = b_.streams.readable(event.stream); !bytes.empty();
           bytes = b_.streams.readable(event.stream)) {
        b_.streams.consume(event.stream, bytes.size(), now_);
      }
    }
  }

  unsigned answer() {
    unsigned n = 0;
    session::StreamPacket packet;
    while (n < packets_.size() && b_.take(packet, now_)) {
      const std::uint32_t number =
          packet.text.size() == kAckBytes ? session::load_be32(packet.text.data()) : 0;
      packets_[n++] = Kept{packet.stream, packet.flags, packet.ack_delay, packet.sequence, number};
      b_.streams.sealed(packet, 0, packet.sequence, kAckBytes + session::kPacketOverhead, now_);
    }
    return n;
  }

  void acknowledge(const Kept& k) {
    if ((k.flags & session::kFlagAck) != 0) {
      a_.streams.on_ack(k.stream, k.number, k.ack_delay, false, now_);
    } else {
      a_.streams.on_credit(k.stream, k.number, k.ack_delay, now_);
    }
    session::StreamEvent event;
    while (a_.streams.next_event(event)) continue;
  }

  End a_, b_;
  std::vector<std::uint8_t> text_;
  std::vector<std::uint16_t> ids_;
  std::array<Kept, 4 * kBurst> packets_{};
  std::uint64_t now_ = kStart_ns;
  std::size_t turn_ = 0;
};

void stream(benchmark::State& state) {
  const auto text_bytes = static_cast<std::uint32_t>(state.range(0));
  const auto transfer = std::make_unique<Transfer>(text_bytes, static_cast<std::uint32_t>(state.range(1)));
  RawSeal raw;
  Cycles cycles;
  for (int i = 0; i < 2000; ++i) transfer->round(cycles);  // the estimator finds the path
  cycles = {};
  const std::uint64_t before = transfer->segments();
  std::uint64_t raw_packets = 0;
  for (auto _ : state) {
    if (!transfer->round(cycles)) state.SkipWithError("the transfer came to a stop");
    cycles.raw_seal += raw.cycles(text_bytes);
    cycles.raw_seal_ack += raw.cycles(kAckBytes);
    raw_packets += kBurst;
  }
  const auto n = static_cast<double>(transfer->segments() - before);
  const auto r = static_cast<double>(raw_packets);
  const auto one = [](std::uint64_t sum, double count) { return static_cast<double>(sum) / count; };
  state.counters["send"] = one(cycles.send, n);
  state.counters["receive"] = one(cycles.receive, n);
  state.counters["ack_send"] = one(cycles.ack_send, n);
  state.counters["ack_take"] = one(cycles.ack_take, n);
  state.counters["raw_seal"] = one(cycles.raw_seal, r);
  state.counters["raw_seal_ack"] = one(cycles.raw_seal_ack, r);
  const double ours = one(cycles.send + cycles.receive + cycles.ack_send + cycles.ack_take, n);
  state.counters["ratio"] = ours / (2 * one(cycles.raw_seal + cycles.raw_seal_ack, r));
  state.SetItemsProcessed(static_cast<std::int64_t>(n));
}

BENCHMARK(stream)
    ->Name("stream/segment_and_ack")
    ->ArgNames({"bytes", "streams"})
    ->Args({1300, 1})
    ->Args({1300, 16})
    ->Args({1300, 1000})
    ->Args({100, 1})
    ->Args({100, 1000});

// Sessions with a stream that has nothing to say, on the wheel of one worker: what a second of theirs costs,
// as a share of a core.
void idle(benchmark::State& state) {
  const auto sessions = static_cast<std::uint32_t>(state.range(0));
  session::StreamMemory memory({sessions, 1024, 1024});
  session::TimerWheel wheel(kStart_ns);
  std::vector<std::unique_ptr<session::Streams>> all;
  for (std::uint32_t i = 0; i < sessions; ++i) {
    all.push_back(std::make_unique<session::Streams>(config_of(true, 1300, 4), memory, wheel, kStart_ns));
    session::StreamError error{};
    (void)all.back()->open({}, error);
  }
  std::uint64_t now_ns = kStart_ns, cycles = 0, expired = 0;
  double hz = 0;
  for (auto _ : state) {
    const std::uint64_t begin = __rdtsc();
    for (unsigned ms = 0; ms < 1000; ++ms) {
      now_ns += 1'000'000;
      while (session::Timer* timer = wheel.next_expired(now_ns)) {
        static_cast<session::Streams*>(timer->owner)->on_timer(*timer, now_ns);
        ++expired;
      }
    }
    cycles += __rdtsc() - begin;
  }
  {
    const auto wall = std::chrono::steady_clock::now();
    const std::uint64_t begin = __rdtsc();
    while (std::chrono::steady_clock::now() - wall < std::chrono::milliseconds(50)) continue;
    hz = static_cast<double>(__rdtsc() - begin) * 20;
  }
  const auto seconds = static_cast<double>(state.iterations());
  state.counters["core_percent"] = 100 * static_cast<double>(cycles) / seconds / hz;
  state.counters["timers_per_s"] = static_cast<double>(expired) / seconds;
}

BENCHMARK(idle)->Name("stream/idle_sessions")->ArgName("sessions")->Arg(100'000);

}  // namespace

BENCHMARK_MAIN();
