// Headers, framing, nonces, replay window and bundle parts against the vectors (the protocol specification,
// sections 3.1 to 3.3, 3.8, 4.3, 8).
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/kdf.h"
#include "session/bundle.h"
#include "session/replay.h"
#include "session/wire.h"
#include "tests/support/vectors.h"

namespace {

using session::Frame;
using session::Header;
using session::ReplayVerdict;
using vectors::Bytes;
using vectors::bytes_at;
using vectors::Case;
using vectors::check_keys;
using vectors::hex;
using vectors::Json;
using vectors::Kind;

// A number of the file that must fit its field: a wider one cannot be run, and that is a failure.
template <class T>
T number_at(const Json& object, const char* key) {
  const auto value = object.at(key).get<std::uint64_t>();
  if (object.at(key).is_number_float() || value > std::uint64_t{static_cast<T>(~T{0})}) {
    throw std::invalid_argument(std::string(key) + " does not fit its field");
  }
  return static_cast<T>(value);
}

// The names of the flags of 3.3, as the files write them.
std::string flags_text(unsigned flags) {
  static const char* const names[] = {"RELIABLE",  "ACK",          "FIN",     "UNRELIABLE", "PRIORITY",
                                      "ENCRYPTED", "COMPRESSED",   "CONTROL", "REKEY",      "PATH_VALIDATION",
                                      "COALESCED", "WINDOW_UPDATE"};
  std::string text;
  for (unsigned bit = 0; bit < std::size(names); ++bit) {
    if ((flags >> bit & 1) != 0) text += (text.empty() ? "" : "|") + std::string(names[bit]);
  }
  return text.empty() ? "0" : text;
}

Header header_of(const Json& fields) {
  const std::string problem = check_keys(
      fields, {"version", "session_id", "stream_id", "sequence", "flags", "ack_delay", "epoch", "path_id"},
      {"flags_text"});
  if (!problem.empty()) throw std::invalid_argument(problem);
  Header header;
  const Bytes id = bytes_at(fields, "session_id");
  if (id.size() != session::kSessionIdBytes) throw std::invalid_argument("session_id is not 32 bytes");
  std::copy(id.begin(), id.end(), header.session_id.begin());
  header.version = number_at<std::uint8_t>(fields, "version");
  header.stream_id = number_at<std::uint16_t>(fields, "stream_id");
  header.sequence = number_at<std::uint32_t>(fields, "sequence");
  header.flags = number_at<std::uint16_t>(fields, "flags");
  header.ack_delay_us = number_at<std::uint16_t>(fields, "ack_delay");
  header.epoch = number_at<std::uint8_t>(fields, "epoch");
  header.path_id = number_at<std::uint8_t>(fields, "path_id");
  return header;
}

void expect_flag_names(const Json& fields) {
  const auto flags = number_at<std::uint16_t>(fields, "flags");
  if (!fields.contains("flags_text") || flags >= 0x1000) return;  // bits without a name have many spellings
  EXPECT_EQ(fields.at("flags_text").get<std::string>(), flags_text(flags));
}

// ---- headers

class HeaderImage : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(HeaderImage);

TEST_P(HeaderImage, EncodesAndDecodes) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"fields", "image"}, {"name", "note"}), "");
  const Header header = header_of(value.at("fields"));
  std::array<std::uint8_t, session::kHeaderBytes> image{};
  session::encode_header(header, image);
  EXPECT_EQ(value.at("image").get<std::string>(), hex(image.data(), image.size()));
  const Bytes given = bytes_at(value, "image");
  ASSERT_EQ(given.size(), session::kHeaderBytes);
  std::copy(given.begin(), given.end(), image.begin());
  EXPECT_EQ(session::decode_header(image), header);
  expect_flag_names(value.at("fields"));
}

INSTANTIATE_TEST_SUITE_P(Vectors, HeaderImage, ::testing::ValuesIn(vectors::cases(Kind::kHeaders, "headers")),
                         vectors::case_name);

// ---- packets

std::string slice(const Bytes& image, std::size_t at, std::size_t bytes) {
  return hex(image.data() + at, bytes);
}

class PacketImage : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PacketImage);

TEST_P(PacketImage, FramesAsGiven) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"name", "image", "fields", "payload", "extensions"}, {"note"}), "");
  const Bytes image = bytes_at(value, "image");
  Frame frame{};
  ASSERT_TRUE(session::parse_frame(image, frame));
  EXPECT_EQ(value.at("payload").get<std::string>(),
            slice(image, session::kPayloadOffset, frame.payload_bytes));
  EXPECT_EQ(
      value.at("extensions"),
      slice(image, session::kPayloadOffset + frame.payload_bytes + session::kLengthBytes, frame.ext_bytes));
  const auto head = std::span(image).first<session::kHeaderBytes>();
  EXPECT_EQ(session::decode_header(head), header_of(value.at("fields")));
  expect_flag_names(value.at("fields"));
}

INSTANTIATE_TEST_SUITE_P(Vectors, PacketImage, ::testing::ValuesIn(vectors::cases(Kind::kHeaders, "packets")),
                         vectors::case_name);

class MalformedImage : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MalformedImage);

TEST_P(MalformedImage, ParsesOrNot) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"name", "image", "parses"}, {"note"}), "");
  const Bytes image = bytes_at(value, "image");
  Frame frame{};
  EXPECT_EQ(session::parse_frame(image, frame), value.at("parses").get<bool>());
}

INSTANTIATE_TEST_SUITE_P(Vectors, MalformedImage,
                         ::testing::ValuesIn(vectors::cases(Kind::kHeaders, "malformed")),
                         vectors::case_name);

// ---- nonces

// The prefix of an epoch of a named secret, from the key schedule.
std::array<std::uint8_t, 4> prefix_of(const std::string& name, unsigned epoch) {
  const auto& known = vectors::known_secrets();
  const auto at = std::find_if(known.begin(), known.end(), [&](const auto& s) { return s.name == name; });
  if (at == known.end() || at->secret.size() != 32) throw std::invalid_argument("unknown secret " + name);
  std::array<std::uint8_t, 32> bytes{};
  std::copy(at->secret.begin(), at->secret.end(), bytes.begin());
  auto secret = crypto::TrafficSecret::from(bytes);
  for (unsigned i = 0; i < epoch; ++i) {
    crypto::TrafficSecret next;
    crypto::next_traffic_secret(secret, next);
    secret = std::move(next);
  }
  crypto::EpochKeys keys;
  crypto::derive_epoch_keys(secret, crypto::Suite::kAes256Gcm, crypto::KdfVariant::kDefault, keys);
  return keys.nonce_prefix;
}

class NonceImage : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(NonceImage);

TEST_P(NonceImage, FromItsSecretAndFields) {
  const Json& value = GetParam().value;
  ASSERT_EQ(
      check_keys(value, {"secret", "epoch", "stream_id", "sequence", "path_id", "nonce_prefix", "nonce"},
                 {"name", "note"}),
      "");
  const auto epoch = number_at<std::uint8_t>(value, "epoch");
  const auto prefix = prefix_of(value.at("secret").get<std::string>(), epoch);
  EXPECT_EQ(value.at("nonce_prefix").get<std::string>(), hex(prefix.data(), prefix.size()));
  std::array<std::uint8_t, 12> nonce{};
  session::build_nonce(nonce.data(), prefix.data(), epoch, number_at<std::uint16_t>(value, "stream_id"),
                       number_at<std::uint32_t>(value, "sequence"),
                       number_at<std::uint8_t>(value, "path_id"));
  EXPECT_EQ(value.at("nonce").get<std::string>(), hex(nonce.data(), nonce.size()));
}

INSTANTIATE_TEST_SUITE_P(Vectors, NonceImage, ::testing::ValuesIn(vectors::cases(Kind::kNonces, "nonces")),
                         vectors::case_name);

// ---- replay window

ReplayVerdict verdict_of(const std::string& text) {
  if (text == "new") return ReplayVerdict::kNew;
  if (text == "duplicate") return ReplayVerdict::kDuplicate;
  if (text == "too_old") return ReplayVerdict::kTooOld;
  throw std::invalid_argument("unknown verdict " + text);
}

class ReplaySequence : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ReplaySequence);

// Ours is the hardened window; where that differs from the reference the file says so.
TEST_P(ReplaySequence, GivesTheHardenedVerdicts) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"name", "steps"}, {"note"}), "");
  ASSERT_FALSE(value.at("steps").empty());
  constexpr std::uint32_t kBits = 1024;
  std::array<std::uint64_t, kBits / 64> words{};
  session::ReplayState state;
  for (const Json& step : value.at("steps")) {
    ASSERT_EQ(check_keys(step, {"sequence", "reference"}, {"hardened", "note"}), "");
    (void)verdict_of(step.at("reference").get<std::string>());
    const ReplayVerdict expected =
        verdict_of(step.value("hardened", step.at("reference").get<std::string>()));
    const auto sequence = number_at<std::uint32_t>(step, "sequence");
    EXPECT_EQ(session::replay_peek(state, words.data(), kBits, sequence), expected) << "peek " << sequence;
    EXPECT_EQ(session::replay_commit(state, words.data(), kBits, sequence), expected)
        << "commit " << sequence;
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, ReplaySequence,
                         ::testing::ValuesIn(vectors::cases(Kind::kReplayWindow, "sequences")),
                         vectors::case_name);

// ---- bundles

class BundleParts : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BundleParts);

// Every part in its place, the empty ones too; what is delivered of them is checked where it is delivered.
TEST_P(BundleParts, AreReadInOrder) {
  const Json& value = GetParam().value;
  ASSERT_EQ(check_keys(value, {"parts", "bundle", "delivered"}, {"name", "note"}), "");
  const Bytes bundle = bytes_at(value, "bundle");
  ASSERT_EQ(session::check_bundle(bundle), session::DropReason::kNone);
  Json parts = Json::array();
  session::BundleReader reader(bundle);
  for (std::span<const std::uint8_t> part; reader.next(part);) parts.push_back(hex(part.data(), part.size()));
  EXPECT_EQ(parts, value.at("parts"));
}

INSTANTIATE_TEST_SUITE_P(Vectors, BundleParts,
                         ::testing::ValuesIn(vectors::cases(Kind::kCoalesced, "bundles")),
                         vectors::case_name);

}  // namespace
