// HKDF and HMAC with SHA-256 (RFC 5869, RFC 2104) on OpenSSL.
//
// Thread: any, control-side code only (each call allocates inside OpenSSL). Throws std::runtime_error when
// OpenSSL fails, which means no memory or a library without these algorithms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace crypto {

inline constexpr std::size_t kSha256Bytes = 32;

// An empty salt counts as 32 zero bytes (RFC 5869, section 2.2).
void hkdf_extract(std::span<const std::uint8_t> salt, std::span<const std::uint8_t> material,
                  std::span<std::uint8_t, kSha256Bytes> out);

// 1 to 255 * 32 bytes of output. `out` may alias `prk`.
void hkdf_expand(std::span<const std::uint8_t, kSha256Bytes> prk, std::span<const std::uint8_t> info,
                 std::span<std::uint8_t> out);
void hkdf_expand(std::span<const std::uint8_t, kSha256Bytes> prk, std::string_view info,
                 std::span<std::uint8_t> out);

void hmac_sha256(std::span<const std::uint8_t> key, std::span<const std::uint8_t> message,
                 std::span<std::uint8_t, kSha256Bytes> out);

void sha256(std::span<const std::uint8_t> message, std::span<std::uint8_t, kSha256Bytes> out);

}  // namespace crypto
