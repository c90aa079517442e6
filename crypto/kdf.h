// Key schedule of an association: the chain of traffic secrets and the keys of one epoch
// (protocol.md 4.1, 4.2).
//
// Thread: control core, tools and tests; never a worker (a worker only ever sees expanded keys).
// Secrets live in SecretBytes, which wipes itself.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "crypto/aead.h"
#include "crypto/secret.h"

namespace crypto {

// The two builds of the reference. They do not interoperate; everything of one session uses one.
enum class KdfVariant : std::uint8_t { kDefault = 1, kFips = 2 };

using TrafficSecret = SecretBytes<32>;

// Keys of one epoch. i2r: the initiator seals, the responder opens; r2i the reverse.
struct EpochKeys {
  SecretBytes<kKeyBytes> i2r;
  SecretBytes<kKeyBytes> r2i;
  std::array<std::uint8_t, 4> nonce_prefix{};
};

// S(e+1) = HKDF-Expand-SHA256(S(e), "phantom-rekey-v1", 32). `out` may alias `in`.
void next_traffic_secret(const TrafficSecret& in, TrafficSecret& out);

// Keys of the epoch whose traffic secret is given.
void derive_epoch_keys(const TrafficSecret& secret, Suite suite, KdfVariant variant, EpochKeys& out);

// D(label, secret) of protocol.md 4.2, 32 bytes.
void derive_labelled(KdfVariant variant, std::string_view label, std::span<const std::uint8_t> secret,
                     std::span<std::uint8_t, 32> out);

// One-way name of (secret, role) under which the state store records epochs as taken. Not part of the wire.
void secret_fingerprint(const TrafficSecret& secret, bool initiator, std::span<std::uint8_t, 32> out);

}  // namespace crypto
