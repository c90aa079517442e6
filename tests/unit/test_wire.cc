// Header and framing of wire version 2 (the protocol specification, sections 2, 3.1 to 3.3, 4.3).
#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "session/wire.h"

namespace {

using session::Frame;
using session::Header;
using session::parse_frame;
using Bytes = std::vector<std::uint8_t>;

Header ramp_header() {
  Header header;
  for (std::size_t i = 0; i < header.session_id.size(); ++i) {
    header.session_id[i] = static_cast<std::uint8_t>(i + 1);
  }
  header.stream_id = 0x0203;
  header.sequence = 0x04050607;
  header.flags = 0x0809;
  header.ack_delay_us = 0x0a0b;
  header.epoch = 0x0c;
  header.path_id = 0x0d;
  return header;
}

// A packet of `payload` and `extensions` bytes that says so.
Bytes packet_of(std::uint32_t payload, std::uint32_t extensions) {
  Bytes packet(session::kHeaderBytes + 4 + payload + 4 + extensions, 0xee);
  packet[0] = session::kWireVersion;
  session::store_be32(&packet[session::kHeaderBytes], payload);
  session::store_be32(&packet[session::kPayloadOffset + payload], extensions);
  return packet;
}

TEST(Wire, ConstantsOfTheFormat) {
  EXPECT_EQ(session::kWireVersion, 2);
  EXPECT_EQ(session::kHeaderBytes, 45U);
  EXPECT_EQ(session::kPacketOverhead, session::kPayloadOffset + session::kTagBytes + session::kLengthBytes);
  EXPECT_EQ(session::kAeadMaxInvocations, 281'474'976'710'656U);
  EXPECT_EQ(session::REKEY_SOFT_LIMIT, 140'737'488'355'328U);
  EXPECT_EQ(session::SEQ_REKEY_WATERMARK, 2'147'483'648U);
  EXPECT_EQ(session::MAX_REKEY_CATCHUP, 16U);
  EXPECT_EQ(session::kTunnelFlags, 0x0028);
}

TEST(Wire, HeaderBytesLieWhereTheSpecificationPutsThem) {
  std::array<std::uint8_t, session::kHeaderBytes> image{};
  session::encode_header(ramp_header(), image);
  Bytes expected{2};
  for (int i = 1; i <= 32; ++i) expected.push_back(static_cast<std::uint8_t>(i));
  for (int i = 2; i <= 13; ++i) expected.push_back(static_cast<std::uint8_t>(i));
  EXPECT_TRUE(std::equal(image.begin(), image.end(), expected.begin(), expected.end()));
  EXPECT_EQ(session::decode_header(image), ramp_header());
}

TEST(Wire, EveryHeaderBitSurvivesDecodeAndEncode) {
  for (std::size_t bit = 0; bit < session::kHeaderBytes * 8; ++bit) {
    std::array<std::uint8_t, session::kHeaderBytes> image{};
    image[bit / 8] = static_cast<std::uint8_t>(1U << (bit % 8));
    std::array<std::uint8_t, session::kHeaderBytes> again{};
    session::encode_header(session::decode_header(image), again);
    ASSERT_EQ(again, image) << "bit " << bit;
  }
}

TEST(Wire, BigEndianLoadsAndStoresAtOddAddresses) {
  std::array<std::uint8_t, 8> memory{};
  session::store_be32(&memory[1], 0x01020304);
  session::store_be16(&memory[5], 0xfffe);
  EXPECT_EQ(memory, (std::array<std::uint8_t, 8>{0, 1, 2, 3, 4, 0xff, 0xfe, 0}));
  EXPECT_EQ(session::load_be32(&memory[1]), 0x01020304U);
  EXPECT_EQ(session::load_be16(&memory[5]), 0xfffeU);
}

TEST(Wire, FrameOfEveryPrefixIsRefused) {
  const Bytes packet = packet_of(20, 3);
  Frame frame{77, 77};
  // An allocation of its own for every length: a read behind the end is one the sanitizer sees.
  for (std::size_t size = 0; size < packet.size(); ++size) {
    const Bytes cut(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(parse_frame(cut, frame)) << size;
    ASSERT_EQ(frame.payload_bytes, 77U) << "a refused packet must leave no frame";
  }
  ASSERT_TRUE(parse_frame(packet, frame));
  EXPECT_EQ(frame.payload_bytes, 20U);
  EXPECT_EQ(frame.ext_bytes, 3U);
}

TEST(Wire, SmallestPacketAndTrailingBytes) {
  Bytes packet = packet_of(0, 0);
  ASSERT_EQ(packet.size(), 53U);
  Frame frame{};
  EXPECT_TRUE(parse_frame(packet, frame));
  EXPECT_EQ(frame.payload_bytes, 0U);
  packet.resize(packet.size() + 100, 0xaa);
  EXPECT_TRUE(parse_frame(packet, frame));
  EXPECT_EQ(frame.ext_bytes, 0U);
}

TEST(Wire, LengthsThatWouldOverflowAreRefused) {
  Frame frame{};
  for (const std::uint32_t lie : {0xffffffffU, 0xfffffffcU, 0xffffffcbU, 0x80000000U, 0x7fffffffU, 21U}) {
    Bytes packet = packet_of(20, 0);
    session::store_be32(&packet[session::kHeaderBytes], lie);
    EXPECT_FALSE(parse_frame(packet, frame)) << "payload " << lie;
    packet = packet_of(20, 0);
    session::store_be32(&packet[session::kPayloadOffset + 20], lie);
    EXPECT_FALSE(parse_frame(packet, frame)) << "extensions " << lie;
  }
}

// What parse_frame accepts adds up to no more than the datagram, whatever the bytes.
TEST(Wire, RandomLengthsAgreeWithPlainArithmetic) {
  std::mt19937_64 random(45);
  for (int round = 0; round < 20'000; ++round) {
    Bytes packet(session::kHeaderBytes + random() % 60);
    for (std::uint8_t& byte : packet) byte = random() % 4 == 0 ? static_cast<std::uint8_t>(random() % 40) : 0;
    Frame frame{};
    const bool accepted = parse_frame(packet, frame);
    bool expected = packet.size() >= 53;
    if (expected) {
      const std::uint64_t payload = session::load_be32(&packet[45]);
      expected = 53 + payload <= packet.size() &&
                 53 + payload + session::load_be32(&packet[49 + payload]) <= packet.size();
    }
    ASSERT_EQ(accepted, expected) << "round " << round;
  }
}

TEST(Wire, NonceIsPrefixEpochStreamSequencePath) {
  const std::array<std::uint8_t, 4> prefix{0xa0, 0xa1, 0xa2, 0xa3};
  std::array<std::uint8_t, 12> nonce{};
  session::build_nonce(nonce.data(), prefix.data(), 0x11, 0x2233, 0x44556677, 0x88);
  EXPECT_EQ(nonce, (std::array<std::uint8_t, 12>{0xa0, 0xa1, 0xa2, 0xa3, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                                 0x77, 0x88}));
}

}  // namespace
