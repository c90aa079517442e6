#include "crypto/handshake_kdf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "crypto/blake3.h"
#include "crypto/hkdf.h"

namespace crypto {
namespace {

constexpr std::string_view kKemInfoDefault = "HybridKEM_X25519_Kyber768";
constexpr std::string_view kKemInfoFips = "HybridKEM_P256_Kyber768";
constexpr std::string_view kSessionIdLabel = "phantom-session-id-v1";
constexpr std::string_view kResumptionLabel = "phantom-resumption-secret-v1";
constexpr std::string_view kBinderLabel = "phantom-resume-binder-v1";
constexpr std::string_view kEarlyKeyLabel = "phantom-early-data-key-v3";
constexpr std::string_view kEarlyNonceLabel = "phantom-early-data-nonce-v3";
constexpr std::string_view kEarlyAeadLabel = "phantom-aes-send-v1";
constexpr std::string_view kCookieLabel = "phantom-pow-cookie-v1";
constexpr std::size_t kPowTimeBytes = 8;

// Input of a derivation, joined from its parts and wiped when done. It never grows: growing would leave
// copies.
class Joined {
 public:
  explicit Joined(std::size_t bytes) { bytes_.reserve(bytes); }
  ~Joined() { wipe(bytes_.data(), bytes_.size()); }
  Joined(const Joined&) = delete;
  Joined& operator=(const Joined&) = delete;

  Joined& add(std::span<const std::uint8_t> part) {
    bytes_.insert(bytes_.end(), part.begin(), part.end());
    return *this;
  }
  Joined& add(std::string_view part) {
    bytes_.insert(bytes_.end(), part.begin(), part.end());
    return *this;
  }
  Joined& add_be64(std::uint64_t value) {
    std::array<std::uint8_t, 8> bytes{};
    for (unsigned i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (56 - 8 * i));
    return add(bytes);
  }
  Joined& add_le64(std::uint64_t value) {
    std::array<std::uint8_t, 8> bytes{};
    for (unsigned i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
    return add(bytes);
  }
  [[nodiscard]] std::span<const std::uint8_t> span() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

}  // namespace

void combine_kem(KdfVariant variant, Bytes32 classical_shared, Bytes32 ml_kem_shared, TrafficSecret& out) {
  Joined input(classical_shared.size() + ml_kem_shared.size());
  input.add(classical_shared).add(ml_kem_shared);
  SecretBytes<kSha256Bytes> prk;
  hkdf_extract({}, input.span(), prk.span());
  hkdf_expand(prk.span(), variant == KdfVariant::kDefault ? kKemInfoDefault : kKemInfoFips, out.span());
}

void derive_session_id(const TrafficSecret& shared, Bytes32 client_nonce, Bytes32Out out) {
  Joined input(kSessionIdLabel.size() + TrafficSecret::size() + client_nonce.size());
  input.add(kSessionIdLabel).add(shared.span()).add(client_nonce);
  sha256(input.span(), out);
}

void derive_resumption_secret(const TrafficSecret& shared, TrafficSecret& out) {
  SecretBytes<kSha256Bytes> prk;
  hkdf_extract({}, shared.span(), prk.span());
  hkdf_expand(prk.span(), kResumptionLabel, out.span());
}

void derive_resumption_binder(KdfVariant variant, const TrafficSecret& resumption_secret, Bytes32 resume_id,
                              Bytes32 client_nonce, Bytes32Out out) {
  Joined input(TrafficSecret::size() + resume_id.size() + client_nonce.size());
  input.add(resumption_secret.span()).add(resume_id).add(client_nonce);
  derive_labelled(variant, kBinderLabel, input.span(), out);
}

void derive_early_data_keys(KdfVariant variant, const TrafficSecret& resumption_secret, Bytes32 client_nonce,
                            EarlyDataKeys& out) {
  SecretBytes<kSha256Bytes> prk;
  hkdf_extract(client_nonce, resumption_secret.span(), prk.span());
  hkdf_expand(prk.span(), kEarlyKeyLabel, out.outer_key.span());
  hkdf_expand(prk.span(), kEarlyNonceLabel, out.nonce);
  derive_labelled(variant, kEarlyAeadLabel, out.outer_key.span(), out.aead_key.span());
}

void derive_hour_secret(const SecretBytes<32>& master, std::uint64_t hour, SecretBytes<32>& out) {
  Joined info(kCookieLabel.size() + sizeof(hour));
  info.add(kCookieLabel).add_be64(hour);
  SecretBytes<kSha256Bytes> prk;
  hkdf_extract({}, master.span(), prk.span());
  hkdf_expand(prk.span(), info.span(), out.span());
}

void derive_cookie(const SecretBytes<32>& hour_secret, std::string_view address, std::uint64_t bucket,
                   Bytes32Out out) {
  Joined message(address.size() + sizeof(bucket));
  message.add(address).add_be64(bucket);
  hmac_sha256(hour_secret.span(), message.span(), out);
}

void derive_pow_nonce(const SecretBytes<32>& hour_secret, std::uint64_t unix_seconds,
                      std::string_view address, Bytes32Out out) {
  Joined message(kPowTimeBytes + address.size());
  message.add_le64(unix_seconds).add(address);
  std::array<std::uint8_t, kBlake3Bytes> mac{};
  blake3_keyed_hash(hour_secret.span(), message.span(), mac);
  const auto time = message.span().first(kPowTimeBytes);
  std::copy(time.begin(), time.end(), out.begin());
  std::copy_n(mac.begin(), out.size() - kPowTimeBytes, out.begin() + kPowTimeBytes);
}

void pow_digest(Bytes32 nonce, std::uint64_t solution, Bytes32Out out) {
  Joined input(nonce.size() + sizeof(solution));
  input.add(nonce).add_le64(solution);
  blake3_hash(input.span(), out);
}

bool pow_solves(Bytes32 nonce, std::uint64_t solution, unsigned difficulty_bits) {
  std::array<std::uint8_t, kBlake3Bytes> digest{};
  pow_digest(nonce, solution, digest);
  unsigned zero_bits = 0;
  for (const std::uint8_t byte : digest) {
    zero_bits += static_cast<unsigned>(std::countl_zero(byte));
    if (byte != 0) break;
  }
  return zero_bits >= difficulty_bits;
}

}  // namespace crypto
