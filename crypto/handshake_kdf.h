// Derivations around the handshake (protocol.md 13.3, 13.6): what a responder computes before a session
// exists.
//
// Thread: control core, tools and tests. Addresses are in their usual textual form without a port, as the
// reference hashes them. Throws std::runtime_error when OpenSSL fails.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "crypto/kdf.h"
#include "crypto/secret.h"

namespace crypto {

inline constexpr std::size_t kSessionIdBytes = 32;
inline constexpr std::size_t kClientNonceBytes = 32;

using Bytes32 = std::span<const std::uint8_t, 32>;
using Bytes32Out = std::span<std::uint8_t, 32>;

// S(0) of a session: HKDF over both halves of the hybrid key agreement (X25519 or, in FIPS builds, P-256;
// ML-KEM-768).
void combine_kem(KdfVariant variant, Bytes32 classical_shared, Bytes32 ml_kem_shared, TrafficSecret& out);

// SHA-256("phantom-session-id-v1" | shared secret | client nonce).
void derive_session_id(const TrafficSecret& shared, Bytes32 client_nonce, Bytes32Out out);

void derive_resumption_secret(const TrafficSecret& shared, TrafficSecret& out);

// Proof that a client asking for resumption knows the secret of the session it names.
void derive_resumption_binder(KdfVariant variant, const TrafficSecret& resumption_secret, Bytes32 resume_id,
                              Bytes32 client_nonce, Bytes32Out out);

// Early data is sealed with AES-256-GCM under aead_key, which is derived from outer_key once more; the
// additional data is resume id | client nonce.
struct EarlyDataKeys {
  SecretBytes<32> outer_key;
  SecretBytes<32> aead_key;
  std::array<std::uint8_t, 12> nonce{};
};
void derive_early_data_keys(KdfVariant variant, const TrafficSecret& resumption_secret, Bytes32 client_nonce,
                            EarlyDataKeys& out);

// Secret of one hour (hours since the Unix epoch) under the server's master secret.
void derive_hour_secret(const SecretBytes<32>& master, std::uint64_t hour, SecretBytes<32>& out);

// Cookie for an address in a five-minute bucket (Unix time / 300). Compare with equal_ct.
void derive_cookie(const SecretBytes<32>& hour_secret, std::string_view address, std::uint64_t bucket,
                   Bytes32Out out);

// Nonce of a proof-of-work challenge: the time in it shows its age, the rest that we issued it.
void derive_pow_nonce(const SecretBytes<32>& hour_secret, std::uint64_t unix_seconds,
                      std::string_view address, Bytes32Out out);

// BLAKE3(nonce | solution). A solution fits when the digest starts with `difficulty_bits` zero bits, 0 to
// 256.
void pow_digest(Bytes32 nonce, std::uint64_t solution, Bytes32Out out);
[[nodiscard]] bool pow_solves(Bytes32 nonce, std::uint64_t solution, unsigned difficulty_bits);

}  // namespace crypto
