// A session fed with records of the input: raw datagrams, authentic packets of the peer made of the record's
// fields (so the fuzzer works beneath the seal), time, rekeys and crashes.
//
// Record: kind u8, length u8, bytes. Holds throughout: what is not authentic changes no epoch, epochs never
// fall, no number is granted twice, nothing is sent beyond what the store holds.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <span>
#include <tuple>
#include <vector>

#include "session/session.h"
#include "tests/support/session_bench.h"

namespace {

using support::Bytes;

constexpr std::uint64_t kMs = 1'000'000;
constexpr unsigned kMaxCrashes = 8;

void check(bool holds) {
  if (!holds) std::abort();
}

const crypto::Aead& engine() {
  static const crypto::Aead one;
  return one;
}

class Target {
 public:
  Target() : secret_(support::test_secret(9)) {
    options_.id.fill(0x11);
    boot();
  }

  void record(unsigned kind, std::span<const std::uint8_t> bytes) {
    switch (kind % 8) {
      case 0:
      case 1:
        return raw(bytes);
      case 2:
      case 3:
      case 4:
        return sealed(bytes);
      case 5:
        return send(bytes);
      case 6:
        return advance(bytes);
      default:
        return crash(bytes);
    }
  }

 private:
  void boot() {
    session_ = support::make_session(options_, secret_, engine(), store_, now_ns_);
    epoch_ = session_->epoch();
    collect();
  }

  void raw(std::span<const std::uint8_t> bytes) {
    const std::uint8_t before = session_->epoch();
    const session::Received got = session_->receive(bytes, now_ns_);
    check(got.kind == session::Received::Kind::kDropped);
    check(session_->epoch() == before);
    collect();
  }

  // Fields: epoch above the lowest, stream, sequence, flags, path; the rest is plaintext.
  void sealed(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < 8) return raw(bytes);
    session::Header header;
    header.session_id = options_.id;
    header.epoch = static_cast<std::uint8_t>(std::min(255, session_->epoch() + bytes[0] % 20 - 2));
    header.stream_id = static_cast<std::uint16_t>(bytes[1] * (bytes[2] % 2 == 0 ? 1 : 257));
    header.sequence = session::load_be32(&bytes[2]);
    header.flags = static_cast<std::uint16_t>(session::load_be16(&bytes[5]) | session::kFlagEncrypted);
    header.path_id = bytes[7];
    const std::uint8_t before = session_->epoch();
    // A step that waited for the store is carried out with whatever settles next.
    const bool held = session_->control().wants_store() || session_->control().current_epoch() != before;
    const Bytes packet = support::seal_packet(engine(), secret_, true, header, bytes.subspan(8));
    (void)session_->receive(packet, now_ns_);
    check(held || session_->epoch() == before || session_->epoch() == header.epoch);
    check(session_->receive(packet, now_ns_).payloads.empty());
    collect();
  }

  void send(std::span<const std::uint8_t> bytes) {
    const auto stream = static_cast<std::uint16_t>(bytes.empty() ? 1 : bytes[0] % 40);
    const session::Sent sent = session_->send(stream, session::kFlagUnreliable, bytes, 0, now_ns_);
    if (sent.drop == session::DropReason::kNone) note(sent.datagram);
    collect();
  }

  void advance(std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t b : bytes) {
      if (b % 4 == 0) (void)session_->rekey(now_ns_);
      now_ns_ += b * 10 * kMs;
      session_->on_timer(now_ns_);
    }
    collect();
  }

  void crash(std::span<const std::uint8_t> bytes) {
    if (!bytes.empty()) return store_.fail(bytes[0] % 2 == 0);
    store_.fail(false);
    if (++crashes_ > kMaxCrashes || session_->control().taken_epoch() == 255) return;
    session_.reset();
    boot();
  }

  void note(const Bytes& d) {
    check(used_
              .emplace(d[session::kOffEpoch], session::load_be16(&d[session::kOffStream]),
                       session::load_be32(&d[session::kOffSequence]), d[session::kOffPath])
              .second);
    session::Fingerprint name{};
    crypto::secret_fingerprint(secret_, false, name);
    check(d[session::kOffEpoch] <= store_.load(name)->taken);
  }

  void collect() {
    Bytes datagram;
    while (session_->next_datagram(datagram)) note(datagram);
    check(session_->epoch() >= epoch_);
    epoch_ = session_->epoch();
  }

  support::BenchOptions options_;
  crypto::TrafficSecret secret_;
  session::MemoryStore store_;
  std::unique_ptr<session::Session> session_;
  std::set<std::tuple<unsigned, unsigned, unsigned, unsigned>> used_;
  std::uint64_t now_ns_ = 0;
  std::uint8_t epoch_ = 0;
  unsigned crashes_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Target target;
  std::span<const std::uint8_t> rest(data, size);
  while (rest.size() >= 2) {
    const std::size_t bytes = std::min<std::size_t>(rest[1], rest.size() - 2);
    target.record(rest[0], rest.subspan(2, bytes));
    rest = rest.subspan(2 + bytes);
  }
  return 0;
}
