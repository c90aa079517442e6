// Sealed packets and the retransmission hazard against the vectors: both engines, both directions
// (the protocol specification, sections 4.2 to 4.4 and W-01).
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "crypto/aead.h"
#include "crypto/aead_ref.h"
#include "crypto/kdf.h"
#include "tests/support/vectors.h"

namespace {

using crypto::Suite;
using vectors::Bytes;
using vectors::bytes_at;
using vectors::Case;
using vectors::check_keys;
using vectors::hex;
using vectors::Json;
using vectors::Kind;

constexpr std::size_t kHeaderBytes = 45;
constexpr std::size_t kPayloadAt = 49;

crypto::EpochKeys keys_of(const Bytes& shared, unsigned epoch, Suite suite) {
  crypto::TrafficSecret secret = crypto::TrafficSecret::from(std::span<const std::uint8_t, 32>(shared));
  for (unsigned e = 0; e < epoch; ++e) crypto::next_traffic_secret(secret, secret);
  crypto::EpochKeys keys;
  crypto::derive_epoch_keys(secret, suite, crypto::KdfVariant::kDefault, keys);
  return keys;
}

// A packet of a vector file, decoded.
struct Sealed {
  Suite suite;
  Bytes key;
  std::array<std::uint8_t, crypto::kNonceBytes> nonce;
  Bytes aad;
  Bytes plaintext;
  Bytes sealed;  // ciphertext and tag
};

crypto::AeadJob job_for(const Sealed& packet, const crypto::KeySlot& slot, Bytes& text) {
  return {&slot,
          packet.aad.data(),
          text.data(),
          static_cast<std::uint32_t>(text.size() - crypto::kTagBytes),
          static_cast<std::uint16_t>(packet.aad.size()),
          packet.suite,
          0,
          packet.nonce};
}

template <class Engine>
void expect_seals_and_opens(const Sealed& packet) {
  const Engine engine;
  SCOPED_TRACE(engine.arch());
  crypto::KeySlot slot;
  engine.expand_key(packet.suite, std::span<const std::uint8_t, crypto::kKeyBytes>(packet.key), slot);

  Bytes text = packet.plaintext;
  text.resize(text.size() + crypto::kTagBytes);
  crypto::AeadJob job = job_for(packet, slot, text);
  engine.seal_batch(&job, 1);
  EXPECT_EQ(hex(text), hex(packet.sealed));

  text = packet.sealed;
  job = job_for(packet, slot, text);
  EXPECT_EQ(engine.open_batch(&job, 1), 1U);
  text.resize(packet.plaintext.size());
  EXPECT_EQ(hex(text), hex(packet.plaintext));

  text = packet.sealed;
  text.back() ^= 1;
  job = job_for(packet, slot, text);
  EXPECT_EQ(engine.open_batch(&job, 1), 0U) << "accepted a wrong tag";
}

std::optional<Suite> suite_of(const std::string& name) {
  if (name == "aes-256-gcm") return Suite::kAes256Gcm;
  if (name == "chacha20-poly1305") return Suite::kChaCha20Poly1305;
  return std::nullopt;
}

Bytes nonce_of(const crypto::EpochKeys& keys, const Json& fields) {
  const auto stream = fields.at("stream_id").get<std::uint16_t>();
  const auto sequence = fields.at("sequence").get<std::uint32_t>();
  Bytes nonce(keys.nonce_prefix.begin(), keys.nonce_prefix.end());
  nonce.push_back(fields.at("epoch").get<std::uint8_t>());
  for (int shift = 8; shift >= 0; shift -= 8) nonce.push_back(static_cast<std::uint8_t>(stream >> shift));
  for (int shift = 24; shift >= 0; shift -= 8) nonce.push_back(static_cast<std::uint8_t>(sequence >> shift));
  nonce.push_back(fields.at("path_id").get<std::uint8_t>());
  return nonce;
}

// Key and nonce follow from the shared secret; additional data and payload lie in the packet.
void expect_derived(const Json& value, Suite suite) {
  const Json& fields = value.at("fields");
  const auto sender = value.at("sender").get<std::string>();
  ASSERT_TRUE(sender == "initiator" || sender == "responder");
  const crypto::EpochKeys keys =
      keys_of(bytes_at(value, "shared_secret"), fields.at("epoch").get<unsigned>(), suite);
  const auto& key = sender == "initiator" ? keys.i2r : keys.r2i;
  EXPECT_EQ(value.at("key"), hex(key.data(), key.size()));
  EXPECT_EQ(value.at("nonce"), hex(nonce_of(keys, fields)));
  const auto packet = value.at("packet").get<std::string>();
  EXPECT_EQ(packet.substr(0, 2 * kHeaderBytes), value.at("aad").get<std::string>());
  const auto sealed = value.at("ciphertext_and_tag").get<std::string>();
  EXPECT_EQ(packet.substr(2 * kPayloadAt, sealed.size()), sealed);
}

class SealedPackets : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SealedPackets);

TEST_P(SealedPackets, DeriveSealOpen) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value,
                       {"suite", "sender", "shared_secret", "fields", "key", "nonce", "aad", "plaintext",
                        "ciphertext_and_tag", "packet"},
                       {"name", "note", "delivered"}),
            "");
  const std::optional<Suite> suite = suite_of(value.at("suite").get<std::string>());
  ASSERT_TRUE(suite) << "unknown suite";
  expect_derived(value, *suite);

  Sealed packet{*suite,
                bytes_at(value, "key"),
                {},
                bytes_at(value, "aad"),
                bytes_at(value, "plaintext"),
                bytes_at(value, "ciphertext_and_tag")};
  const Bytes nonce = bytes_at(value, "nonce");
  ASSERT_EQ(nonce.size(), packet.nonce.size());
  ASSERT_EQ(packet.key.size(), crypto::kKeyBytes);
  ASSERT_EQ(packet.sealed.size(), packet.plaintext.size() + crypto::kTagBytes);
  std::copy(nonce.begin(), nonce.end(), packet.nonce.begin());
  expect_seals_and_opens<crypto::Aead>(packet);
  expect_seals_and_opens<crypto::AeadRef>(packet);
}

INSTANTIATE_TEST_SUITE_P(Packets, SealedPackets,
                         ::testing::ValuesIn(vectors::cases(Kind::kSealedPackets, "packets")),
                         vectors::case_name);
INSTANTIATE_TEST_SUITE_P(Bundles, SealedPackets,
                         ::testing::ValuesIn(vectors::cases(Kind::kCoalesced, "sealed")), vectors::case_name);

// ---- retransmit_hazard: two headers under one nonce give away a power of H ----

// An element of GF(2^128) in GCM's bit order: bit 0 is the most significant bit of byte 0.
using Field = std::array<std::uint8_t, 16>;

bool bit(const Field& x, unsigned i) {
  return ((x[i / 8] >> (7 - i % 8)) & 1) != 0;
}

Field times_x(const Field& x) {
  Field out{};
  std::uint8_t carry = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = static_cast<std::uint8_t>(x[i] >> 1 | carry);
    carry = static_cast<std::uint8_t>(x[i] << 7);
  }
  if (carry != 0) out[0] ^= 0xE1;  // x^128 = x^7 + x^2 + x + 1
  return out;
}

Field multiply(Field x, const Field& y) {
  Field out{};
  for (unsigned i = 0; i < 128; ++i) {
    if (bit(y, i)) {
      for (std::size_t b = 0; b < out.size(); ++b) out[b] ^= x[b];
    }
    x = times_x(x);
  }
  return out;
}

Field xor_of(const Bytes& a, const Bytes& b, std::size_t from) {
  Field out{};
  for (std::size_t i = 0; from + i < a.size() && i < out.size(); ++i) out[i] = a[from + i] ^ b[from + i];
  return out;
}

// H = AES-256(key, 0).
Field hash_key(const crypto::SecretBytes<32>& key) {
  const Field zeros{};
  Field out{};
  int written = 0;
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  EXPECT_EQ(EVP_EncryptInit_ex(context, EVP_aes_256_ecb(), nullptr, key.data(), nullptr), 1);
  EXPECT_EQ(EVP_CIPHER_CTX_set_padding(context, 0), 1);
  EXPECT_EQ(EVP_EncryptUpdate(context, out.data(), &written, zeros.data(), 16), 1);
  EVP_CIPHER_CTX_free(context);
  return out;
}

std::string tag_of_empty(const crypto::SecretBytes<32>& key, const Bytes& nonce, const Bytes& header) {
  const crypto::Aead engine;
  crypto::KeySlot slot;
  engine.expand_key(Suite::kAes256Gcm, key.span(), slot);
  Bytes tag(crypto::kTagBytes);
  crypto::AeadJob job{&slot, header.data(), tag.data(), 0, kHeaderBytes, Suite::kAes256Gcm, 0, {}};
  std::copy(nonce.begin(), nonce.end(), job.nonce.begin());
  engine.seal_batch(&job, 1);
  return hex(tag);
}

// The file names no key: the one is searched whose secret is known, whose prefix is in the nonce, and for
// which the relation holds.
class RetransmitHazard : public ::testing::TestWithParam<Case> {
 protected:
  bool holds(const crypto::SecretBytes<32>& key) const {
    const Field h = hash_key(key);
    Field power = h;
    for (unsigned i = 1; i < exponent_; ++i) power = multiply(power, h);
    return multiply(delta_, power) == difference_;
  }

  void check_tags(const crypto::SecretBytes<32>& key, const Json& value) const {
    if (value.at("plaintext_length") != 0) return;  // other plaintexts are not in the file
    EXPECT_EQ(value.at("tag_first"), tag_of_empty(key, nonce_, first_));
    EXPECT_EQ(value.at("tag_retransmit"), tag_of_empty(key, nonce_, second_));
  }

  // True when one direction of the secret fits.
  bool search(const Bytes& secret, const Json& value) const {
    const crypto::EpochKeys keys = keys_of(secret, nonce_[4], Suite::kAes256Gcm);
    if (!std::equal(keys.nonce_prefix.begin(), keys.nonce_prefix.end(), nonce_.begin())) return false;
    for (const auto* key : {&keys.i2r, &keys.r2i}) {
      if (!holds(*key)) continue;
      check_tags(*key, value);
      return true;
    }
    return false;
  }

  Bytes first_, second_, nonce_;
  Field delta_{}, difference_{};
  unsigned exponent_ = 0;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RetransmitHazard);

TEST_P(RetransmitHazard, TagsDifferByDeltaTimesAPowerOfH) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value,
                       {"plaintext_length", "header_first", "header_retransmit", "nonce", "tag_first",
                        "tag_retransmit", "exponent", "delta"},
                       {"name", "relation"}),
            "");
  first_ = bytes_at(value, "header_first");
  second_ = bytes_at(value, "header_retransmit");
  nonce_ = bytes_at(value, "nonce");
  ASSERT_EQ(first_.size(), kHeaderBytes);
  ASSERT_EQ(second_.size(), kHeaderBytes);
  ASSERT_EQ(nonce_.size(), crypto::kNonceBytes);
  ASSERT_TRUE(std::equal(first_.begin(), first_.begin() + 32, second_.begin()))
      << "earlier blocks differ too";
  EXPECT_NE(first_, second_);

  exponent_ = value.at("exponent").get<unsigned>();
  EXPECT_EQ(exponent_, (value.at("plaintext_length").get<unsigned>() + 15) / 16 + 2);
  delta_ = xor_of(first_, second_, 32);
  EXPECT_EQ(value.at("delta"), hex(delta_.data(), delta_.size()));
  difference_ = xor_of(bytes_at(value, "tag_first"), bytes_at(value, "tag_retransmit"), 0);

  const auto& secrets = vectors::known_secrets();
  EXPECT_TRUE(std::any_of(secrets.begin(), secrets.end(), [&](const vectors::NamedSecret& s) {
    return search(s.secret, value);
  })) << "no known secret fits";
}

INSTANTIATE_TEST_SUITE_P(Vectors, RetransmitHazard,
                         ::testing::ValuesIn(vectors::cases(Kind::kRetransmitHazard, "cases")),
                         vectors::case_name);

}  // namespace
