// Byte-frozen images of the reference: packets and borsh containers of the handshake (the protocol
// specification, sections 3.1, 13.2, 13.4).
//
// Every fixture is checked by length and SHA-256, taken apart by the tables of 13.2 to its last byte, and put
// together again; the transcript hash is recomputed from the other fixtures of its file. In the project's own
// file the field values are known too (ramps of the reference's tests), so there every image is also built
// from nothing.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/hkdf.h"
#include "tests/support/vectors.h"

namespace {

using vectors::Bytes;
using vectors::Case;
using vectors::hex;
using vectors::Json;
using vectors::Kind;

constexpr std::size_t kMlKemKey = 1184;
constexpr std::size_t kMlKemCiphertext = 1088;
constexpr std::size_t kMlDsaKey = 1952;
constexpr std::size_t kMlDsaSignature = 3309;
constexpr std::size_t kHeaderBytes = 45;

std::string digest_of(const Bytes& data) {
  std::array<std::uint8_t, crypto::kSha256Bytes> out{};
  crypto::sha256(data, out);
  return hex(out.data(), out.size());
}

// ---- Writing ----

Bytes ramp(unsigned seed, std::size_t n) {
  Bytes out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>(seed + i);
  return out;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes be(std::uint64_t value, unsigned bytes) {
  Bytes out;
  for (unsigned i = bytes; i-- > 0;) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  return out;
}

Bytes le(std::uint64_t value, unsigned bytes) {
  Bytes out = be(value, bytes);
  std::reverse(out.begin(), out.end());
  return out;
}

Bytes text(std::string_view characters) {
  return {characters.begin(), characters.end()};
}
Bytes vec(const Bytes& content) {
  return le(content.size(), 4) + content;
}
Bytes none() {
  return {0};
}
Bytes some(const Bytes& content) {
  return Bytes{1} + content;
}

Bytes header(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint8_t epoch,
             std::uint8_t path) {
  return Bytes{2} + ramp(1, 32) + be(stream, 2) + be(sequence, 4) + be(flags, 2) + be(0, 2) +
         Bytes{epoch, path};
}

Bytes packet(const Bytes& head, const Bytes& payload, const Bytes& extensions) {
  return head + be(payload.size(), 4) + payload + be(extensions.size(), 4) + extensions;
}

Bytes client_hello(bool full) {
  const Bytes solution = ramp(0x90, 32) + le(0x0123456789ABCDEF, 8);
  return ramp(0x10, 32) + vec(ramp(0x20, kMlKemKey)) + ramp(0x50, 32) + vec(ramp(0x60, kMlDsaKey)) +
         ramp(0xA0, 32) + Bytes{2} + (full ? some(ramp(0xB0, 32)) : none()) +
         (full ? some(solution) : none()) + (full ? some(ramp(0xC0, 32)) : none()) +
         (full ? some(ramp(0xC8, 32)) : none()) + vec(text("phantom-default-1")) +
         (full ? some(vec(ramp(0xD0, 48))) : none());
}

// The images of the project's own file by fixture name.
std::map<std::string, Bytes> built_fixtures() {
  const Bytes head = header(7, 42, 0x0021, 3, 1);
  const Bytes key_package = ramp(0x10, 32) + vec(ramp(0x20, kMlKemKey));
  const Bytes ciphertext = ramp(0x30, 32) + vec(ramp(0x40, kMlKemCiphertext));
  const Bytes verifying = ramp(0x50, 32) + vec(ramp(0x60, kMlDsaKey));
  const Bytes signature = ramp(0x70, 64) + vec(ramp(0x80, kMlDsaSignature));
  const Bytes challenge = ramp(0x90, 32) + Bytes{20};
  const Bytes hello = key_package + ciphertext + verifying + signature + ramp(0xE0, 32);
  return {
      {"packet_header.bin", head},
      {"phantom_packet_data.bin", packet(head, ramp(0x11, 64), {})},
      {"phantom_packet_ack.bin", packet(header(7, 42, 0x0002, 0, 0), {}, {})},
      {"phantom_packet_extensions.bin", packet(head, ramp(0x11, 16), Bytes{0xff, 1, 0, 4} + text("test"))},
      {"hybrid_key_package.bin", key_package},
      {"hybrid_ciphertext.bin", ciphertext},
      {"hybrid_verifying_key.bin", verifying},
      {"hybrid_signature.bin", signature},
      {"pow_challenge.bin", challenge},
      {"pow_solution.bin", ramp(0x90, 32) + le(0x0123456789ABCDEF, 8)},
      {"client_hello_minimal.bin", client_hello(false)},
      {"client_hello_full.bin", client_hello(true)},
      {"hello_retry_request_cookie.bin", none() + some(ramp(0xF0, 32))},
      {"hello_retry_request_pow.bin", some(challenge) + none()},
      {"server_hello.bin", hello + Bytes{1}},
      {"server_hello_rejected.bin", hello + Bytes{0}},
      {"server_reject (no fixture)", text("PRJ1") + Bytes{1, 2}},
  };
}

// ---- Reading ----

// Takes an image apart in order. Everything read is also written again, in the canonical form, to `rebuilt`.
class Reader {
 public:
  explicit Reader(const Bytes& image) : image_(image) {}

  Bytes fixed(std::size_t n) {
    if (image_.size() - at_ < n) throw std::out_of_range("image ends early");
    Bytes out(image_.begin() + static_cast<std::ptrdiff_t>(at_),
              image_.begin() + static_cast<std::ptrdiff_t>(at_ + n));
    at_ += n;
    rebuilt_ = std::move(rebuilt_) + out;
    return out;
  }
  std::uint8_t byte() { return fixed(1)[0]; }
  std::uint8_t byte(std::uint8_t most) {
    const std::uint8_t value = byte();
    if (value > most) throw std::domain_error("byte out of range");
    return value;
  }
  std::size_t length(bool little) {
    const Bytes raw = fixed(4);
    std::size_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | raw[little ? 3 - i : i];
    return value;
  }
  // borsh vector; with `expected`, of exactly that many bytes.
  Bytes vector(std::optional<std::size_t> expected = {}) {
    const std::size_t n = length(true);
    if (expected && n != *expected) throw std::domain_error("vector of a wrong length");
    return fixed(n);
  }
  bool present() { return byte(1) == 1; }
  [[nodiscard]] bool at_end() const { return at_ == image_.size(); }
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] const Bytes& rebuilt() const { return rebuilt_; }

 private:
  const Bytes& image_;
  std::size_t at_ = 0;
  Bytes rebuilt_;
};

void read_key_package(Reader& in) {
  in.fixed(32);
  in.vector(kMlKemKey);
}
void read_ciphertext(Reader& in) {
  in.fixed(32);
  in.vector(kMlKemCiphertext);
}
void read_verifying_key(Reader& in) {
  in.fixed(32);
  in.vector(kMlDsaKey);
}
void read_signature(Reader& in) {
  in.fixed(64);
  in.vector(kMlDsaSignature);
}
void read_challenge(Reader& in) {
  in.fixed(32);
  in.byte();
}
void read_solution(Reader& in) {
  in.fixed(32 + 8);
}

void read_header(Reader& in) {
  if (in.byte() != 2) throw std::domain_error("wire version is not 2");
  in.fixed(kHeaderBytes - 1);
}

void read_packet(Reader& in) {
  read_header(in);
  in.fixed(in.length(false));
  in.fixed(in.length(false));
}

// Answers the protocol variant.
Bytes read_client_hello(Reader& in) {
  read_key_package(in);
  read_verifying_key(in);
  in.fixed(32);
  if (in.byte() != 2) throw std::domain_error("handshake version is not 2");
  if (in.present()) in.fixed(32);
  if (in.present()) read_solution(in);
  const bool resumes = in.present();
  if (resumes) in.fixed(32);
  if (in.present() != resumes) throw std::domain_error("resume id and binder come together");
  if (resumes) in.fixed(32);
  Bytes variant = in.vector();
  if (variant != text("phantom-default-1") && variant != text("phantom-fips-1")) {
    throw std::domain_error("unknown variant");
  }
  if (in.present()) in.vector();
  return variant;
}

void read_retry(Reader& in) {
  if (in.present()) read_challenge(in);
  if (in.present()) in.fixed(32);
}

// Answers the length of what the signature covers in front of it.
std::size_t read_server_hello(Reader& in) {
  read_key_package(in);
  read_ciphertext(in);
  read_verifying_key(in);
  const std::size_t covered = in.at();
  read_signature(in);
  in.fixed(32);
  in.byte(1);
  return covered;
}

void read_reject(Reader& in) {
  if (in.fixed(4) != text("PRJ1")) throw std::domain_error("no reject marker");
  in.fixed(2);
}

// Reads by the kind that the name's beginning tells. False when no kind is known.
bool read_fixture(const std::string& name, Reader& in) {
  const auto is = [&](std::string_view prefix) { return name.compare(0, prefix.size(), prefix) == 0; };
  if (is("packet_header")) return read_header(in), true;
  if (is("phantom_packet")) return read_packet(in), true;
  if (is("hybrid_key_package")) return read_key_package(in), true;
  if (is("hybrid_ciphertext")) return read_ciphertext(in), true;
  if (is("hybrid_verifying_key")) return read_verifying_key(in), true;
  if (is("hybrid_signature")) return read_signature(in), true;
  if (is("pow_challenge")) return read_challenge(in), true;
  if (is("pow_solution")) return read_solution(in), true;
  if (is("client_hello")) return read_client_hello(in), true;
  if (is("hello_retry_request")) return read_retry(in), true;
  if (is("server_hello")) return read_server_hello(in), true;
  if (is("server_reject")) return read_reject(in), true;
  if (is("transcript_hash")) return in.fixed(crypto::kSha256Bytes), true;
  return false;
}

// ---- Tests ----

class FrozenWire : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FrozenWire);

TEST_P(FrozenWire, LengthDigestAndStructure) {
  const Json& value = GetParam().value;
  ASSERT_EQ(vectors::check_keys(value, {"name", "length", "sha256", "hex"}, {"provenance", "note"}), "");
  if (value.at("hex").is_null()) GTEST_FAIL() << "no bytes to check";
  const Bytes image = vectors::bytes_at(value, "hex");
  EXPECT_EQ(value.at("length"), image.size());
  EXPECT_EQ(value.at("sha256"), digest_of(image));
  Reader in(image);
  ASSERT_TRUE(read_fixture(GetParam().name, in)) << "unknown fixture";
  EXPECT_TRUE(in.at_end()) << image.size() - in.at() << " bytes left over";
  EXPECT_EQ(hex(in.rebuilt()), hex(image));
}

INSTANTIATE_TEST_SUITE_P(Vectors, FrozenWire,
                         ::testing::ValuesIn(vectors::cases(Kind::kFrozenWire, "fixtures")),
                         vectors::case_name);

// The field values are known for the project's own file only; FrozenTranscript recomputes its transcript
// hash.
std::vector<Case> buildable_cases() {
  if (vectors::external_directory()) return {};
  std::vector<Case> out = vectors::cases(Kind::kFrozenWire, "fixtures");
  std::erase_if(out, [](const Case& c) { return c.name == "transcript_hash.bin"; });
  return out;
}

class FrozenBuilt : public ::testing::TestWithParam<Case> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FrozenBuilt);

TEST_P(FrozenBuilt, FromTheFieldValues) {
  const auto built = built_fixtures();
  const auto found = built.find(GetParam().name);
  ASSERT_NE(found, built.end()) << "nothing builds this fixture";
  EXPECT_EQ(GetParam().value.at("hex"), hex(found->second));
}

INSTANTIATE_TEST_SUITE_P(Vectors, FrozenBuilt, ::testing::ValuesIn(buildable_cases()), vectors::case_name);

// The signed transcript: variant, hello as sent, and the server's answer without its signature. Which hello
// and answer of the file were signed is not stated, so one pair has to fit.
class FrozenTranscript : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] std::vector<Bytes> named(std::string_view prefix) const {
    std::vector<Bytes> out;
    for (const Json& fixture : GetParam().value.at("fixtures")) {
      const auto name = fixture.at("name").get<std::string>();
      if (name.compare(0, prefix.size(), prefix) == 0) out.push_back(vectors::bytes_at(fixture, "hex"));
    }
    return out;
  }

  static Bytes transcript(const Bytes& hello, const Bytes& answer) {
    Reader client(hello);
    const Bytes variant = read_client_hello(client);
    Reader server(answer);
    const auto covered = static_cast<std::ptrdiff_t>(read_server_hello(server));
    return vec(variant) + hello + Bytes(answer.begin(), answer.begin() + covered) +
           Bytes(answer.end() - (32 + 1), answer.end());
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FrozenTranscript);

TEST_P(FrozenTranscript, HashFollowsFromHelloAndAnswer) {
  const std::vector<Bytes> hellos = named("client_hello");
  const std::vector<Bytes> answers = named("server_hello");
  for (const Bytes& expected : named("transcript_hash")) {
    bool found = false;
    for (const Bytes& hello : hellos) {
      for (const Bytes& answer : answers) found |= digest_of(transcript(hello, answer)) == hex(expected);
    }
    EXPECT_TRUE(found) << "no hello and answer of " << GetParam().file << " give " << hex(expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, FrozenTranscript,
                         ::testing::ValuesIn(vectors::documents(Kind::kFrozenWire)), vectors::case_name);

}  // namespace
