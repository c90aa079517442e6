// sealed_packets, control_packets and coalesced through the session layer: a Session of the other role opens
// them, as the current, the next and a skipped epoch; the worker's framing and the engine reproduce them.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "session/bundle.h"
#include "session/session.h"
#include "tests/support/session_bench.h"
#include "tests/support/vectors.h"

namespace {

using session::DropReason;
using session::Received;
using vectors::Bytes;
using vectors::Json;

crypto::Suite suite_of(const Json& packet) {
  const auto name = packet.at("suite").get<std::string>();
  if (name == "aes-256-gcm") return crypto::Suite::kAes256Gcm;
  if (name == "chacha20-poly1305") return crypto::Suite::kChaCha20Poly1305;
  throw std::invalid_argument("unknown suite " + name);
}

bool from_initiator(const Json& packet) {
  const auto name = packet.at("sender").get<std::string>();
  if (name == "initiator") return true;
  if (name == "responder") return false;
  throw std::invalid_argument("unknown role " + name);
}

crypto::TrafficSecret secret_of(const Json& packet) {
  const Bytes raw = vectors::bytes_at(packet, "shared_secret");
  if (raw.size() != 32) throw std::invalid_argument("a shared secret has 32 bytes");
  return crypto::TrafficSecret::from(std::span<const std::uint8_t, 32>(raw.data(), 32));
}

session::Header header_of(const Json& packet) {
  const Json& f = packet.at("fields");
  session::Header h;
  h.version = f.at("version").get<std::uint8_t>();
  const Bytes id = vectors::bytes_at(f, "session_id");
  if (id.size() != h.session_id.size()) throw std::invalid_argument("a session id has 32 bytes");
  std::copy(id.begin(), id.end(), h.session_id.begin());
  h.stream_id = f.at("stream_id").get<std::uint16_t>();
  h.sequence = f.at("sequence").get<std::uint32_t>();
  h.flags = f.at("flags").get<std::uint16_t>();
  h.ack_delay_us = f.at("ack_delay").get<std::uint16_t>();
  h.epoch = f.at("epoch").get<std::uint8_t>();
  h.path_id = f.at("path_id").get<std::uint8_t>();
  return h;
}

// The wire image with its extensions, which nobody authenticates and we never send, taken off.
std::string without_extensions(const Json& packet) {
  Bytes image = vectors::bytes_at(packet, "packet");
  session::Frame frame{};
  if (!session::parse_frame(image, frame)) throw std::invalid_argument("a packet that does not parse");
  image.resize(session::kPayloadOffset + frame.payload_bytes);
  image.resize(image.size() + session::kLengthBytes, 0);
  return vectors::hex(image);
}

std::vector<vectors::Case> packets() {
  auto all = vectors::cases(vectors::Kind::kSealedPackets, "packets");
  const auto bundles = vectors::cases(vectors::Kind::kCoalesced, "sealed");
  all.insert(all.end(), bundles.begin(), bundles.end());
  return all;
}

class SealedPacket : public ::testing::TestWithParam<vectors::Case> {
 protected:
  // The receiver stands at `start`, path of the packet validated.
  Received receive_from(std::uint8_t start) {
    const Json& packet = GetParam().value;
    const session::Header h = header_of(packet);
    support::BenchOptions options;
    options.role = from_initiator(packet) ? session::Role::kResponder : session::Role::kInitiator;
    options.suite = suite_of(packet);
    options.id = h.session_id;
    const auto secret = secret_of(packet);
    store_ = std::make_unique<session::MemoryStore>();
    if (start > 0) support::resume_at(*store_, options, secret, start, {}, start);
    session_ = support::make_session(options, secret, engine_, *store_);
    if (h.path_id != 0 && (h.flags & session::kFlagPathValidation) == 0) {
      const session::PathChallenge value{1};
      EXPECT_TRUE(session_->begin_path_validation(h.path_id, value, 0).has_value());
      EXPECT_TRUE(session_->complete_path_validation(h.path_id, value, 0));
    }
    return session_->receive(vectors::bytes_at(packet, "packet"), 1);
  }

  void expect_meaning(const Received& got) {
    const session::Header h = header_of(GetParam().value);
    const Bytes text = vectors::bytes_at(GetParam().value, "plaintext");
    EXPECT_EQ(got.stream, h.stream_id);
    EXPECT_EQ(got.sequence, h.sequence);
    EXPECT_EQ(session_->epoch(), h.epoch);
    if ((h.flags & session::kFlagAck) != 0) {
      ASSERT_EQ(got.kind, Received::Kind::kAck);
      EXPECT_EQ(got.acked_sequence, session::load_be32(text.data()));
    } else if ((h.flags & session::kFlagWindowUpdate) != 0) {
      ASSERT_EQ(got.kind, Received::Kind::kWindowUpdate);
      EXPECT_EQ(got.credit, session::load_be32(text.data()));
    } else if ((h.flags & session::kFlagPathValidation) != 0) {
      EXPECT_EQ(got.kind, h.path_id == 0 ? Received::Kind::kPathIgnored : Received::Kind::kPathEcho);
    } else {
      ASSERT_EQ(got.kind, Received::Kind::kData);
      expect_payloads(got, h, text);
    }
  }

  static void expect_payloads(const Received& got, const session::Header& h, const Bytes& text) {
    std::vector<Bytes> expected;
    if ((h.flags & session::kFlagCoalesced) != 0) {
      session::BundleReader reader(text);
      for (std::span<const std::uint8_t> part; reader.next(part);) {
        if (!part.empty()) expected.emplace_back(part.begin(), part.end());
      }
    } else if (!text.empty()) {
      expected.push_back(text);
    }
    ASSERT_EQ(got.payloads.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(Bytes(got.payloads[i].begin(), got.payloads[i].end()), expected[i]);
    }
    const bool acked = (h.flags & session::kFlagReliable) != 0 && (h.flags & session::kFlagCoalesced) == 0;
    EXPECT_EQ(got.ack.has_value(), acked);
    EXPECT_EQ(got.fin, (h.flags & session::kFlagFin) != 0);
  }

  crypto::Aead engine_;
  std::unique_ptr<session::MemoryStore> store_;
  std::unique_ptr<session::Session> session_;
};

TEST_P(SealedPacket, OpensInItsOwnEpoch) {
  expect_meaning(receive_from(header_of(GetParam().value).epoch));
}

TEST_P(SealedPacket, OpensFromEveryEpochThatMayFollowToIt) {
  const unsigned epoch = header_of(GetParam().value).epoch;
  for (unsigned back = 1; back <= session::MAX_REKEY_CATCHUP && back <= epoch; ++back) {
    expect_meaning(receive_from(static_cast<std::uint8_t>(epoch - back)));
  }
  if (epoch > session::MAX_REKEY_CATCHUP) {
    const auto start = static_cast<std::uint8_t>(epoch - session::MAX_REKEY_CATCHUP - 1);
    EXPECT_EQ(receive_from(start).drop, DropReason::kEpochTooFar);
    EXPECT_EQ(session_->epoch(), start);
  }
}

TEST_P(SealedPacket, TheWorkersFramingAndTheEngineReproduceIt) {
  const Json& packet = GetParam().value;
  const session::Header h = header_of(packet);
  const Bytes text = vectors::bytes_at(packet, "plaintext");
  const crypto::EpochKeys keys = support::keys_at(secret_of(packet), h.epoch, suite_of(packet));
  crypto::KeySlot slot;
  engine_.expand_key(suite_of(packet), from_initiator(packet) ? keys.i2r.span() : keys.r2i.span(), slot);
  session::SessionHot hot;
  hot.id = h.session_id;
  session::TxGrant grant;
  grant.sequence = h.sequence;
  grant.epoch = h.epoch;
  Bytes image(text.size() + session::kPacketOverhead, 0xee);
  std::copy(text.begin(), text.end(), image.begin() + session::kPayloadOffset);
  const auto text_bytes = static_cast<std::uint32_t>(text.size());
  session::write_packet_frame(image.data(), hot, grant, h.stream_id, h.flags, h.path_id, text_bytes);
  session::store_be16(&image[session::kOffAckDelay], h.ack_delay_us);  // the worker always sends 0
  crypto::AeadJob job{&slot,
                      image.data(),
                      image.data() + session::kPayloadOffset,
                      text_bytes,
                      session::kHeaderBytes,
                      suite_of(packet),
                      0,
                      {}};
  session::build_nonce(job.nonce.data(), keys.nonce_prefix.data(), h.epoch, h.stream_id, h.sequence,
                       h.path_id);
  EXPECT_EQ(vectors::hex(job.nonce.data(), job.nonce.size()), packet.at("nonce").get<std::string>());
  engine_.seal_batch(&job, 1);
  EXPECT_EQ(vectors::hex(image), without_extensions(packet));
}

// A resumed Session stands at the packet's epoch and sequence, so its own send() must give the same bytes.
TEST_P(SealedPacket, SessionReproducesIt) {
  const Json& packet = GetParam().value;
  const session::Header h = header_of(packet);
  const bool ours = h.stream_id != 0 && h.stream_id < session::kTxStreams && h.ack_delay_us == 0 &&
                    (h.flags & session::kFlagRekey) == 0;
  if (h.epoch == 0 || !ours) return;  // epoch 0 has no restart; REKEY is never set (W-01)
  support::BenchOptions options;
  options.role = from_initiator(packet) ? session::Role::kInitiator : session::Role::kResponder;
  options.suite = suite_of(packet);
  options.id = h.session_id;
  std::array<std::uint32_t, session::kTxStreams> first{};
  first[h.stream_id] = h.sequence;
  session::MemoryStore store;
  const auto secret = secret_of(packet);
  support::resume_at(store, options, secret, h.epoch, first, h.epoch);
  const auto sender = support::make_session(options, secret, engine_, store);
  const session::Sent sent =
      sender->send(h.stream_id, h.flags, vectors::bytes_at(packet, "plaintext"), h.path_id, 0);
  EXPECT_EQ(vectors::hex(sent.datagram), without_extensions(packet));
}

INSTANTIATE_TEST_SUITE_P(Files, SealedPacket, ::testing::ValuesIn(packets()), vectors::case_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SealedPacket);

class Bundle : public ::testing::TestWithParam<vectors::Case> {};

TEST_P(Bundle, GivesItsPartsOrItsError) {
  const Json& c = GetParam().value;
  const Bytes bundle = vectors::bytes_at(c, "bundle");
  const DropReason verdict = session::check_bundle(bundle);
  if (c.contains("error")) {
    const auto error = c.at("error").get<std::string>();
    ASSERT_TRUE(error == "truncated_header" || error == "truncated_sub_packet") << error;
    EXPECT_EQ(verdict,
              error == "truncated_header" ? DropReason::kCoalescedHeader : DropReason::kCoalescedPart);
    return;
  }
  ASSERT_EQ(verdict, DropReason::kNone);
  Json delivered = Json::array();
  session::BundleReader reader(bundle);
  for (std::span<const std::uint8_t> part; reader.next(part);) {
    if (!part.empty()) delivered.push_back(vectors::hex(part.data(), part.size()));
  }
  EXPECT_EQ(delivered, c.at("delivered"));
}

INSTANTIATE_TEST_SUITE_P(Good, Bundle,
                         ::testing::ValuesIn(vectors::cases(vectors::Kind::kCoalesced, "bundles")),
                         vectors::case_name);
INSTANTIATE_TEST_SUITE_P(Malformed, Bundle,
                         ::testing::ValuesIn(vectors::cases(vectors::Kind::kCoalesced, "malformed")),
                         vectors::case_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Bundle);

}  // namespace
