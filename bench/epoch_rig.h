// What bench_epoch runs on: one session of a worker's shard on plain memory, opened as a worker opens it, and
// a peer that seals for any epoch.
//
// Thread: one.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "crypto/kdf.h"
#include "session/key_pool.h"
#include "session/shard.h"
#include "session/shard_commands.h"

namespace bench {

// Keys of all epochs of one secret, expanded; derived at the first use.
class Chain {
 public:
  struct Epoch {
    crypto::KeySlot i2r, r2i;
    std::array<std::uint8_t, 4> nonce_prefix{};
  };
  explicit Chain(const crypto::Aead& aead);
  const Epoch& at(std::uint8_t epoch);
  [[nodiscard]] const crypto::TrafficSecret& secret() const { return secret_; }

 private:
  const crypto::Aead& aead_;
  crypto::TrafficSecret secret_;
  crypto::TrafficSecret next_;  // of the first epoch that is not in epochs_
  std::vector<std::unique_ptr<Epoch>> epochs_;
};

// A packet of the initiator's, complete, sealed for `epoch` with the keys of `key_epoch`.
struct PacketAsk {
  std::uint8_t epoch = 0;
  std::uint32_t sequence = 0;
  bool forged = false;  // its tag is wrong
};
inline constexpr std::uint32_t kTextBytes = 64;
inline constexpr std::size_t kPacketBytes = session::kPacketOverhead + kTextBytes;
void make_packet(Chain& chain, const crypto::Aead& aead, const PacketAsk& ask,
                 std::span<std::uint8_t, kPacketBytes> out);
std::array<std::uint8_t, session::kSessionIdBytes> rig_id();

inline constexpr unsigned kRigBurst = 32;
// The responder's end of that session, in slot 0.
class WorkerRig {
 public:
  explicit WorkerRig(Chain& chain);

  // The session anew, at `epoch`, with its next prepared.
  void restart(std::uint8_t epoch = 0);
  void install_next();
  void swap() { commands_.rekey(0, generation_); }
  [[nodiscard]] std::uint8_t epoch() const { return shard_.hot(0).current.epoch; }
  // Control's part behind a swap: keys that came back are free again, and there is a next epoch, of the
  // session anew where its epochs come to their end.
  void prepare();

  // n packets of `epoch` in the burst buffer, of the next sequences; `forged`: all with wrong tags, and
  // numbers that stay free.
  void make(std::uint8_t epoch, bool forged);
  // What a worker does with a burst of its own packets: keys picked, opened, accepted. How many were.
  unsigned open();

 private:
  session::KeyRef take_keys(std::uint8_t epoch);
  void take_back();

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  Chain& chain_;
  crypto::Aead aead_;
  std::vector<crypto::KeySlot> slots_;
  std::vector<Line> memory_;
  session::KeyPool pool_;
  session::Shard shard_;
  session::ShardCommands commands_;
  std::uint32_t generation_ = 0;
  std::uint32_t next_sequence_ = 0;
  struct alignas(64) Buffer {
    std::array<std::uint8_t, kPacketBytes> bytes{};
  };
  std::array<Buffer, kRigBurst> packets_{};
};

}  // namespace bench
