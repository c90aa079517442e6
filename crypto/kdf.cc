#include "crypto/kdf.h"

#include <algorithm>

#include "crypto/blake3.h"
#include "crypto/hkdf.h"

namespace crypto {
namespace {

constexpr std::string_view kRekeyLabel = "phantom-rekey-v1";
constexpr std::string_view kPrefixLabel = "phantom-nonce-pfx-v1";
// Ours, not of the wire: names a secret in the state store without giving it away.
constexpr std::string_view kFingerprintLabel = "phantom-gateway-fingerprint-v1";

// "send" and "recv" are named from the initiator's side.
constexpr std::string_view kAesLabels[2] = {"phantom-aes-send-v1", "phantom-aes-recv-v1"};
constexpr std::string_view kChaChaLabels[2] = {"phantom-cc20-send-v1", "phantom-cc20-recv-v1"};

}  // namespace

void next_traffic_secret(const TrafficSecret& in, TrafficSecret& out) {
  TrafficSecret next;
  hkdf_expand(in.span(), kRekeyLabel, next.span());
  out = std::move(next);
}

void derive_labelled(KdfVariant variant, std::string_view label, std::span<const std::uint8_t> secret,
                     std::span<std::uint8_t, 32> out) {
  if (variant == KdfVariant::kDefault) {
    blake3_derive_key(label, secret, out);
    return;
  }
  SecretBytes<kSha256Bytes> prk;
  hkdf_extract({}, secret, prk.span());
  hkdf_expand(prk.span(), label, out);
}

void derive_epoch_keys(const TrafficSecret& secret, Suite suite, KdfVariant variant, EpochKeys& out) {
  const auto& labels = suite == Suite::kAes256Gcm ? kAesLabels : kChaChaLabels;
  derive_labelled(variant, labels[0], secret.span(), out.i2r.span());
  derive_labelled(variant, labels[1], secret.span(), out.r2i.span());
  SecretBytes<32> prefix;
  derive_labelled(variant, kPrefixLabel, secret.span(), prefix.span());
  std::copy_n(prefix.data(), out.nonce_prefix.size(), out.nonce_prefix.begin());
}

void secret_fingerprint(const TrafficSecret& secret, bool initiator, std::span<std::uint8_t, 32> out) {
  std::array<std::uint8_t, kFingerprintLabel.size() + 1> info{};
  std::copy(kFingerprintLabel.begin(), kFingerprintLabel.end(), info.begin());
  info.back() = initiator ? 1 : 0;
  hkdf_expand(secret.span(), std::span<const std::uint8_t>(info), out);
}

}  // namespace crypto
