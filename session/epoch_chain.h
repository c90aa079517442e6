// The chain of traffic secrets of one session, seen from the epoch it is at (protocol.md 4.1, W-32).
//
// Holds the secret of the base epoch alone; what lies before it is wiped and cannot come back. While packets
// from further ahead are tried, the secrets and receive keys of the skipped epochs are kept, so that a flood
// of forged epochs costs one AEAD trial a packet and no derivation; forget_ahead() wipes them.
//
// Thread: control core. Epochs asked for lie in base .. base + kReach and never exceed 255.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "session/wire.h"

namespace session {

// Keys of one epoch from this endpoint's point of view.
struct DirectionKeys {
  crypto::SecretBytes<crypto::kKeyBytes> send;
  crypto::SecretBytes<crypto::kKeyBytes> recv;
  std::array<std::uint8_t, 4> nonce_prefix{};
};

class EpochChain {
 public:
  // A catch-up of 16 and the epoch after it.
  static constexpr unsigned kReach = MAX_REKEY_CATCHUP + 1;

  // `shared_secret` is S(0): the base is epoch 0.
  EpochChain(crypto::TrafficSecret shared_secret, crypto::Suite suite, crypto::KdfVariant variant,
             bool initiator);

  [[nodiscard]] std::uint8_t base() const { return base_; }
  // The same chain at the same base, with nothing kept ahead.
  [[nodiscard]] EpochChain clone() const {
    return EpochChain(secret_.clone(), suite_, variant_, initiator_, base_);
  }
  // Moves the base forward, any distance; everything older is wiped, and so is what was kept ahead.
  void advance_to(std::uint8_t epoch);

  void keys(std::uint8_t epoch, DirectionKeys& out);

  // Receive key of the base or an epoch ahead, expanded, with its nonce prefix; kept until forget_ahead() or
  // advance_to().
  struct Trial {
    const crypto::KeySlot* key;
    std::array<std::uint8_t, 4> nonce_prefix;
  };
  Trial trial(std::uint8_t epoch, const crypto::Aead& aead);

  void forget_ahead();
  [[nodiscard]] bool keeps_ahead() const { return ahead_ != nullptr; }
  // Chain steps and epoch key derivations so far: what a flood must not raise.
  [[nodiscard]] std::uint64_t derivations() const { return derivations_; }

 private:
  EpochChain(crypto::TrafficSecret secret, crypto::Suite suite, crypto::KdfVariant variant, bool initiator,
             std::uint8_t base);
  struct Ahead;
  struct AheadDeleter {
    void operator()(Ahead* ahead) const;  // wipes
  };
  const crypto::TrafficSecret& secret_at(std::uint8_t epoch);
  void derive(const crypto::TrafficSecret& secret, DirectionKeys& out);

  crypto::TrafficSecret secret_;
  crypto::Suite suite_;
  crypto::KdfVariant variant_;
  bool initiator_;
  std::uint8_t base_ = 0;
  std::uint64_t derivations_ = 0;
  std::unique_ptr<Ahead, AheadDeleter> ahead_;
};

}  // namespace session
