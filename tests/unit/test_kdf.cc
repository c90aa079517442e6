// HKDF against RFC 5869, and what the vectors leave open: aliasing, fingerprints, difficulty.
#include <algorithm>
#include <array>
#include <string>

#include <gtest/gtest.h>

#include "crypto/handshake_kdf.h"
#include "crypto/hkdf.h"
#include "crypto/kdf.h"
#include "tests/support/vectors.h"

namespace {

using Array32 = std::array<std::uint8_t, 32>;
using crypto::KdfVariant;
using crypto::TrafficSecret;

Array32 filled(std::uint8_t value) {
  Array32 out{};
  out.fill(value);
  return out;
}

template <class T>
std::string text(const T& bytes) {
  return vectors::hex(bytes.data(), bytes.size());
}

// RFC 5869, appendix A.1.
TEST(Hkdf, Rfc5869Case1) {
  const vectors::Bytes material(22, 0x0b);
  const vectors::Bytes salt = vectors::unhex("000102030405060708090a0b0c");
  const vectors::Bytes info = vectors::unhex("f0f1f2f3f4f5f6f7f8f9");
  Array32 prk{};
  crypto::hkdf_extract(salt, material, prk);
  EXPECT_EQ(text(prk), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
  std::array<std::uint8_t, 42> out{};
  crypto::hkdf_expand(prk, info, out);
  EXPECT_EQ(text(out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

// RFC 5869, appendix A.3: no salt, no info.
TEST(Hkdf, Rfc5869Case3) {
  const vectors::Bytes material(22, 0x0b);
  Array32 prk{};
  crypto::hkdf_extract({}, material, prk);
  EXPECT_EQ(text(prk), "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04");
  std::array<std::uint8_t, 42> out{};
  crypto::hkdf_expand(prk, std::string_view(), out);
  EXPECT_EQ(text(out),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(Kdf, NextSecretMayAliasItsInput) {
  TrafficSecret secret = TrafficSecret::from(filled(0x11));
  TrafficSecret next;
  crypto::next_traffic_secret(secret, next);
  crypto::next_traffic_secret(secret, secret);
  EXPECT_EQ(text(secret), text(next));
}

TEST(Kdf, FingerprintTellsSecretsAndRolesApart) {
  Array32 initiator{};
  Array32 responder{};
  Array32 other{};
  crypto::secret_fingerprint(TrafficSecret::from(filled(0)), true, initiator);
  crypto::secret_fingerprint(TrafficSecret::from(filled(0)), false, responder);
  crypto::secret_fingerprint(TrafficSecret::from(filled(1)), true, other);
  EXPECT_NE(initiator, responder);
  EXPECT_NE(initiator, other);
  // HMAC-SHA256(zeros, "phantom-gateway-fingerprint-v1" | role | 01), computed with Python's hmac: state
  // stores of earlier versions must stay readable.
  EXPECT_EQ(text(initiator), "96534530b581871436bf60cfb7a4a6af261f2973c2d31998b750ac913a8a06c1");
  EXPECT_EQ(text(responder), "0e5baa8ca6446d3c15c16b8782dfa36c8feb764830b1703b87bac5b9a9dac3f6");
}

TEST(HandshakeKdf, FipsCombinerUsesItsOwnInfo) {
  TrafficSecret plain;
  TrafficSecret fips;
  crypto::combine_kem(KdfVariant::kDefault, filled(1), filled(2), plain);
  crypto::combine_kem(KdfVariant::kFips, filled(1), filled(2), fips);
  EXPECT_NE(text(plain), text(fips));
}

TEST(HandshakeKdf, DifficultyCountsLeadingZeroBits) {
  for (std::uint64_t solution = 0; solution < 64; ++solution) {
    Array32 digest{};
    crypto::pow_digest(filled(3), solution, digest);
    unsigned zeros = 0;
    while (zeros < 256 && ((digest[zeros / 8] >> (7 - zeros % 8)) & 1) == 0) ++zeros;
    EXPECT_TRUE(crypto::pow_solves(filled(3), solution, 0));
    EXPECT_TRUE(crypto::pow_solves(filled(3), solution, zeros));
    EXPECT_FALSE(crypto::pow_solves(filled(3), solution, zeros + 1));
  }
}

}  // namespace
