// BLAKE3 with 32 bytes of output: hash, keyed hash and key derivation. Small and portable, not fast.
//
// Why our own: Debian 12 has no C or C++ package of it, and only derivations of a few hundred bytes need it.
// Thread: control core, tools and tests. Any input length. Intermediate state is wiped. No allocation, no
// errors. Source of every constant: the BLAKE3 paper, sections 2.1 to 2.4. Checked against published values,
// the test vectors and the b3sum tool (tests/unit/test_blake3.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace crypto {

inline constexpr std::size_t kBlake3Bytes = 32;

void blake3_hash(std::span<const std::uint8_t> input, std::span<std::uint8_t, kBlake3Bytes> out);

void blake3_keyed_hash(std::span<const std::uint8_t, kBlake3Bytes> key, std::span<const std::uint8_t> input,
                       std::span<std::uint8_t, kBlake3Bytes> out);

// `context` names the purpose, `material` is the secret; out may alias material.
void blake3_derive_key(std::string_view context, std::span<const std::uint8_t> material,
                       std::span<std::uint8_t, kBlake3Bytes> out);

}  // namespace crypto
