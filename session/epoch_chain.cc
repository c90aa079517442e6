#include "session/epoch_chain.h"

#include <algorithm>
#include <utility>

#include "crypto/secret.h"

namespace session {

// Secrets of base + 1 .. base + kReach, filled from the front as they are needed, receive keys from the base
// on, and one expanded key: a flood names one epoch at a time, and sixteen expansions would be 16 KiB a
// session.
struct EpochChain::Ahead {
  std::array<crypto::TrafficSecret, kReach> secrets;
  std::array<crypto::SecretBytes<crypto::kKeyBytes>, kReach + 1> recv;
  std::array<std::array<std::uint8_t, 4>, kReach + 1> nonce_prefix{};
  std::array<bool, kReach + 1> has_recv{};
  unsigned secret_count = 0;
  std::uint8_t expanded_epoch = 0;
  bool expanded = false;
  crypto::KeySlot slot;
};

void EpochChain::AheadDeleter::operator()(Ahead* ahead) const {
  crypto::wipe(&ahead->slot, sizeof(ahead->slot));
  delete ahead;
}

EpochChain::EpochChain(crypto::TrafficSecret shared_secret, crypto::Suite suite, crypto::KdfVariant variant,
                       bool initiator)
    : EpochChain(std::move(shared_secret), suite, variant, initiator, 0) {}

EpochChain::EpochChain(crypto::TrafficSecret secret, crypto::Suite suite, crypto::KdfVariant variant,
                       bool initiator, std::uint8_t base)
    : secret_(std::move(secret)), suite_(suite), variant_(variant), initiator_(initiator), base_(base) {}

void EpochChain::advance_to(std::uint8_t epoch) {
  if (epoch <= base_) return;
  while (base_ < epoch) {
    const unsigned done = ahead_ ? ahead_->secret_count : 0;
    if (done > 0) {  // jump over what was derived already
      const unsigned step = std::min<unsigned>(done, static_cast<unsigned>(epoch - base_));
      secret_ = std::move(ahead_->secrets[step - 1]);
      base_ = static_cast<std::uint8_t>(base_ + step);
      forget_ahead();
      continue;
    }
    crypto::next_traffic_secret(secret_, secret_);
    ++derivations_;
    ++base_;
  }
  forget_ahead();
}

void EpochChain::keys(std::uint8_t epoch, DirectionKeys& out) {
  if (epoch == base_) return derive(secret_, out);
  if (ahead_) return derive(secret_at(epoch), out);
  crypto::TrafficSecret secret = secret_.clone();
  for (unsigned e = base_; e < epoch; ++e) {
    crypto::next_traffic_secret(secret, secret);
    ++derivations_;
  }
  derive(secret, out);
}

EpochChain::Trial EpochChain::trial(std::uint8_t epoch, const crypto::Aead& aead) {
  if (!ahead_) ahead_.reset(new Ahead);
  const crypto::TrafficSecret& secret = epoch == base_ ? secret_ : secret_at(epoch);
  const auto i = static_cast<unsigned>(epoch - base_);
  if (!ahead_->has_recv[i]) {
    DirectionKeys keys;
    derive(secret, keys);
    ahead_->recv[i] = std::move(keys.recv);
    ahead_->nonce_prefix[i] = keys.nonce_prefix;
    ahead_->has_recv[i] = true;
  }
  if (!ahead_->expanded || ahead_->expanded_epoch != epoch) {
    aead.expand_key(suite_, ahead_->recv[i].span(), ahead_->slot);
    ahead_->expanded = true;
    ahead_->expanded_epoch = epoch;
  }
  return Trial{&ahead_->slot, ahead_->nonce_prefix[i]};
}

void EpochChain::forget_ahead() {
  ahead_.reset();
}

const crypto::TrafficSecret& EpochChain::secret_at(std::uint8_t epoch) {
  if (!ahead_) ahead_.reset(new Ahead);
  const auto distance = static_cast<unsigned>(epoch - base_);
  while (ahead_->secret_count < distance) {
    const unsigned n = ahead_->secret_count;
    crypto::next_traffic_secret(n == 0 ? secret_ : ahead_->secrets[n - 1], ahead_->secrets[n]);
    ++ahead_->secret_count;
    ++derivations_;
  }
  return ahead_->secrets[distance - 1];
}

void EpochChain::derive(const crypto::TrafficSecret& secret, DirectionKeys& out) {
  crypto::EpochKeys keys;
  crypto::derive_epoch_keys(secret, suite_, variant_, keys);
  ++derivations_;
  out.send = std::move(initiator_ ? keys.i2r : keys.r2i);
  out.recv = std::move(initiator_ ? keys.r2i : keys.i2r);
  out.nonce_prefix = keys.nonce_prefix;
}

}  // namespace session
