// Key schedule and handshake derivations against the vectors (the protocol specification,
// sections 4.1, 4.2, 13.3, 13.6).
#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/aead_ref.h"
#include "crypto/blake3.h"
#include "crypto/handshake_kdf.h"
#include "crypto/hkdf.h"
#include "crypto/kdf.h"
#include "tests/support/vectors.h"

namespace {

using crypto::KdfVariant;
using crypto::Suite;
using crypto::TrafficSecret;
using vectors::bytes_at;
using vectors::Case;
using vectors::check_keys;
using vectors::hex;
using vectors::Json;
using vectors::Kind;

using Array32 = std::array<std::uint8_t, 32>;

Array32 array_at(const Json& object, const char* key) {
  const vectors::Bytes raw = bytes_at(object, key);
  if (raw.size() != 32) throw std::invalid_argument(std::string(key) + " is not 32 bytes");
  Array32 out{};
  std::copy(raw.begin(), raw.end(), out.begin());
  return out;
}

template <std::size_t N = 32>
crypto::SecretBytes<N> secret_at(const Json& object, const char* key) {
  return crypto::SecretBytes<N>::from(array_at(object, key));
}

template <class T>
std::string text(const T& bytes) {
  return hex(bytes.data(), bytes.size());
}

// ---- key_schedule ----

// Keys of both roles: one side's send key is the other side's receive key.
void expect_roles(const Json& roles, const crypto::EpochKeys& keys) {
  EXPECT_EQ(check_keys(roles, {"initiator", "responder"}), "");
  EXPECT_EQ(roles.at("initiator").at("send"), text(keys.i2r));
  EXPECT_EQ(roles.at("initiator").at("recv"), text(keys.r2i));
  EXPECT_EQ(roles.at("responder").at("send"), text(keys.r2i));
  EXPECT_EQ(roles.at("responder").at("recv"), text(keys.i2r));
}

void expect_suite(const Json& entry, const TrafficSecret& secret, const char* name, Suite suite,
                  KdfVariant variant) {
  crypto::EpochKeys keys;
  crypto::derive_epoch_keys(secret, suite, variant, keys);
  if (entry.contains("nonce_prefix")) {
    EXPECT_EQ(entry.at("nonce_prefix"), text(keys.nonce_prefix));
  }
  if (entry.contains(name)) expect_roles(entry.at(name), keys);
}

void expect_variant(const Json& entry, const TrafficSecret& secret, KdfVariant variant) {
  expect_suite(entry, secret, "aes-256-gcm", Suite::kAes256Gcm, variant);
  expect_suite(entry, secret, "chacha20-poly1305", Suite::kChaCha20Poly1305, variant);
}

void expect_epoch(const Json& entry, const TrafficSecret& secret) {
  EXPECT_EQ(check_keys(entry, {"epoch", "traffic_secret"},
                       {"nonce_prefix", "aes-256-gcm", "chacha20-poly1305", "auxiliary_session_key",
                        "fips_variant"}),
            "");
  EXPECT_EQ(entry.at("traffic_secret"), text(secret));
  expect_variant(entry, secret, KdfVariant::kDefault);
  if (entry.contains("auxiliary_session_key")) {
    Array32 auxiliary{};
    crypto::hkdf_expand(secret.span(), "phantom-transport-key", auxiliary);
    EXPECT_EQ(entry.at("auxiliary_session_key"), text(auxiliary));
  }
  if (!entry.contains("fips_variant")) return;
  EXPECT_EQ(check_keys(entry.at("fips_variant"), {}, {"nonce_prefix", "aes-256-gcm", "chacha20-poly1305"}),
            "");
  expect_variant(entry.at("fips_variant"), secret, KdfVariant::kFips);
}

// The chain of a shared secret, S(0) to S(255).
std::vector<TrafficSecret> chain_of(const Json& value) {
  std::vector<TrafficSecret> chain;
  chain.push_back(secret_at(value, "shared_secret"));
  while (chain.size() < 256) {
    TrafficSecret next;
    crypto::next_traffic_secret(chain.back(), next);
    chain.push_back(std::move(next));
  }
  return chain;
}

class KeySchedule : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KeySchedule);

TEST_P(KeySchedule, EveryEpoch) {
  const Json& value = GetParam().value;
  const std::vector<TrafficSecret> chain = chain_of(value);
  for (const auto& item : value.items()) {
    unsigned epoch = 0;
    if (item.key() == "name" || item.key() == "shared_secret" || item.key() == "epochs") continue;
    ASSERT_EQ(std::sscanf(item.key().c_str(), "epoch_%u_traffic_secret", &epoch), 1)
        << "unknown key " << item.key();
    ASSERT_LT(epoch, chain.size());
    EXPECT_EQ(item.value(), text(chain[epoch]));
  }
  for (const Json& entry : value.at("epochs")) {
    SCOPED_TRACE("epoch " + entry.at("epoch").dump());
    expect_epoch(entry, chain.at(entry.at("epoch").get<std::size_t>()));
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, KeySchedule,
                         ::testing::ValuesIn(vectors::cases(Kind::kKeySchedule, "secrets")),
                         vectors::case_name);

class DeriveKey : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeriveKey);

TEST_P(DeriveKey, BothVariants) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"label", "ikm"}, {"blake3_derive_key", "fips_hkdf_sha256"}), "");
  ASSERT_GT(value.size(), 2U) << "no expectation";
  const auto label = value.at("label").get<std::string>();
  const vectors::Bytes ikm = bytes_at(value, "ikm");
  Array32 out{};
  if (value.contains("blake3_derive_key")) {
    crypto::derive_labelled(KdfVariant::kDefault, label, ikm, out);
    EXPECT_EQ(value.at("blake3_derive_key"), text(out));
  }
  if (value.contains("fips_hkdf_sha256")) {
    crypto::derive_labelled(KdfVariant::kFips, label, ikm, out);
    EXPECT_EQ(value.at("fips_hkdf_sha256"), text(out));
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, DeriveKey,
                         ::testing::ValuesIn(vectors::cases(Kind::kKeySchedule, "derive_key_kats")),
                         vectors::case_name);

// ---- handshake_derivations ----

void kem_combiner(const Json& value) {
  const auto info = value.at("info").get<std::string>();
  const bool fips = info == "HybridKEM_P256_Kyber768";
  const char* classical = fips ? "p256_shared" : "x25519_shared";
  ASSERT_EQ(check_keys(value, {classical, "ml_kem_shared", "info", "shared_secret"}), "");
  ASSERT_TRUE(fips || info == "HybridKEM_X25519_Kyber768");
  TrafficSecret shared;
  crypto::combine_kem(fips ? KdfVariant::kFips : KdfVariant::kDefault, array_at(value, classical),
                      array_at(value, "ml_kem_shared"), shared);
  EXPECT_EQ(value.at("shared_secret"), text(shared));
}

void session_id(const Json& value) {
  ASSERT_EQ(check_keys(value, {"shared_secret", "client_nonce", "session_id"}), "");
  Array32 id{};
  crypto::derive_session_id(secret_at(value, "shared_secret"), array_at(value, "client_nonce"), id);
  EXPECT_EQ(value.at("session_id"), text(id));
}

void resumption_secret(const Json& value) {
  ASSERT_EQ(check_keys(value, {"shared_secret", "resumption_secret"}), "");
  TrafficSecret secret;
  crypto::derive_resumption_secret(secret_at(value, "shared_secret"), secret);
  EXPECT_EQ(value.at("resumption_secret"), text(secret));
}

void resumption_binder(const Json& value) {
  ASSERT_EQ(check_keys(value, {"resumption_secret", "resume_session_id", "client_nonce", "binder"}), "");
  Array32 binder{};
  crypto::derive_resumption_binder(KdfVariant::kDefault, secret_at(value, "resumption_secret"),
                                   array_at(value, "resume_session_id"), array_at(value, "client_nonce"),
                                   binder);
  EXPECT_EQ(value.at("binder"), text(binder));
}

// Seals the early data with an engine; text and tag together.
template <class Engine>
vectors::Bytes seal_early(const crypto::EarlyDataKeys& keys, const vectors::Bytes& plaintext,
                          const vectors::Bytes& aad) {
  const Engine engine;
  crypto::KeySlot slot;
  engine.expand_key(Suite::kAes256Gcm, keys.aead_key.span(), slot);
  vectors::Bytes text = plaintext;
  text.resize(plaintext.size() + crypto::kTagBytes);
  const crypto::AeadJob job{&slot,
                            aad.data(),
                            text.data(),
                            static_cast<std::uint32_t>(plaintext.size()),
                            static_cast<std::uint16_t>(aad.size()),
                            Suite::kAes256Gcm,
                            0,
                            keys.nonce};
  engine.seal_batch(&job, 1);
  return text;
}

void early_data(const Json& value) {
  ASSERT_EQ(check_keys(value,
                       {"resumption_secret", "client_nonce", "outer_key", "nonce", "aead_key", "aad",
                        "plaintext", "sealed"},
                       {"note"}),
            "");
  crypto::EarlyDataKeys keys;
  crypto::derive_early_data_keys(KdfVariant::kDefault, secret_at(value, "resumption_secret"),
                                 array_at(value, "client_nonce"), keys);
  EXPECT_EQ(value.at("outer_key"), text(keys.outer_key));
  EXPECT_EQ(value.at("nonce"), text(keys.nonce));
  EXPECT_EQ(value.at("aead_key"), text(keys.aead_key));
  const vectors::Bytes plaintext = bytes_at(value, "plaintext");
  const vectors::Bytes aad = bytes_at(value, "aad");
  EXPECT_EQ(value.at("sealed"), hex(seal_early<crypto::Aead>(keys, plaintext, aad)));
  EXPECT_EQ(value.at("sealed"), hex(seal_early<crypto::AeadRef>(keys, plaintext, aad)));
}

void cookie(const Json& value) {
  ASSERT_EQ(check_keys(value, {"master_secret", "hour", "bucket", "client_ip_text", "hour_secret", "cookie"}),
            "");
  crypto::SecretBytes<32> hour_secret;
  crypto::derive_hour_secret(secret_at(value, "master_secret"), value.at("hour").get<std::uint64_t>(),
                             hour_secret);
  EXPECT_EQ(value.at("hour_secret"), text(hour_secret));
  Array32 out{};
  crypto::derive_cookie(hour_secret, value.at("client_ip_text").get<std::string>(),
                        value.at("bucket").get<std::uint64_t>(), out);
  EXPECT_EQ(value.at("cookie"), text(out));
}

void proof_of_work(const Json& value) {
  ASSERT_EQ(check_keys(value, {"hour_secret", "timestamp", "client_ip_text", "challenge_nonce", "difficulty",
                               "smallest_solution", "digest"}),
            "");
  Array32 nonce{};
  crypto::derive_pow_nonce(secret_at(value, "hour_secret"), value.at("timestamp").get<std::uint64_t>(),
                           value.at("client_ip_text").get<std::string>(), nonce);
  EXPECT_EQ(value.at("challenge_nonce"), text(nonce));
  const auto solution = value.at("smallest_solution").get<std::uint64_t>();
  const auto difficulty = value.at("difficulty").get<unsigned>();
  Array32 digest{};
  crypto::pow_digest(nonce, solution, digest);
  EXPECT_EQ(value.at("digest"), text(digest));
  EXPECT_TRUE(crypto::pow_solves(nonce, solution, difficulty));
  constexpr std::uint64_t kMostTries = 1U << 20;  // a smaller solution is looked for only where that is quick
  for (std::uint64_t s = 0; s < std::min(solution, kMostTries); ++s) {
    ASSERT_FALSE(crypto::pow_solves(nonce, s, difficulty)) << s << " is a smaller solution";
  }
}

const std::map<std::string, std::function<void(const Json&)>>& handshake_sections() {
  static const std::map<std::string, std::function<void(const Json&)>> sections = {
      {"kem_combiner", kem_combiner},
      {"session_id", session_id},
      {"resumption_secret", resumption_secret},
      {"resumption_binder", resumption_binder},
      {"early_data", early_data},
      {"cookie", cookie},
      {"proof_of_work", proof_of_work},
  };
  return sections;
}

// One case a section of a document.
std::vector<Case> handshake_cases() {
  std::vector<Case> out;
  for (const Case& document : vectors::documents(Kind::kHandshakeDerivations)) {
    for (const auto& item : document.value.items()) {
      if (item.key() == "description" || item.key() == "wire_version") continue;
      out.push_back({document.file, item.key(), item.value()});
    }
  }
  return out;
}

class HandshakeDerivations : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(HandshakeDerivations);

TEST_P(HandshakeDerivations, Section) {
  const auto section = handshake_sections().find(GetParam().name);
  ASSERT_NE(section, handshake_sections().end()) << "unknown section";
  section->second(GetParam().value);
}

INSTANTIATE_TEST_SUITE_P(Vectors, HandshakeDerivations, ::testing::ValuesIn(handshake_cases()),
                         vectors::case_name);

}  // namespace
