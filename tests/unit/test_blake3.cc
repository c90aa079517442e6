// BLAKE3 against published values and against the b3sum tool (package b3sum, installed by tools/setup).
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "crypto/blake3.h"
#include "tests/support/vectors.h"

namespace {

using Bytes = std::vector<std::uint8_t>;
using Digest = std::array<std::uint8_t, crypto::kBlake3Bytes>;

// Around every boundary of blocks, chunks and tree shapes.
constexpr std::size_t kSizes[] = {0,    1,    3,    63,    64,    65,    127,   128,    1023,  1024,
                                  1025, 2047, 2048, 2049,  3072,  3073,  4096,  4097,   5120,  6145,
                                  7168, 8193, 9000, 16384, 16385, 31744, 65536, 100000, 131073};

Bytes input_of(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(i * 31 + i / 251 + size);
  return out;
}

std::string text(const Digest& digest) {
  return vectors::hex(digest.data(), digest.size());
}

// A file of its own, removed with the object.
class TempFile {
 public:
  explicit TempFile(const Bytes& content) {
    const int file = mkstemp(path_.data());
    if (file < 0 || write(file, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
      std::abort();
    close(file);
  }
  ~TempFile() { unlink(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/phantom-blake3-XXXXXX";
};

// First 64 characters that the command prints.
std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::array<char, 65> line{};
  const std::size_t got = fread(line.data(), 1, 64, pipe);
  const int status = pclose(pipe);
  return status == 0 ? std::string(line.data(), got)
                     : "exit status " + std::to_string(status) + ": " + command;
}

TEST(Blake3, PublishedValues) {
  Digest out{};
  crypto::blake3_hash({}, out);
  EXPECT_EQ(text(out), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  const std::string_view abc = "abc";
  crypto::blake3_hash({reinterpret_cast<const std::uint8_t*>(abc.data()), abc.size()}, out);
  EXPECT_EQ(text(out), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
}

TEST(Blake3, HashAgreesWithB3sum) {
  for (const std::size_t size : kSizes) {
    const Bytes input = input_of(size);
    const TempFile file(input);
    Digest out{};
    crypto::blake3_hash(input, out);
    ASSERT_EQ(text(out), output_of("b3sum --no-names " + file.path())) << size << " bytes";
  }
}

TEST(Blake3, KeyedHashAgreesWithB3sum) {
  Digest key{};
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(7 * i + 1);
  const TempFile key_file(Bytes(key.begin(), key.end()));
  for (const std::size_t size : kSizes) {
    const Bytes input = input_of(size);
    const TempFile file(input);
    Digest out{};
    crypto::blake3_keyed_hash(key, input, out);
    ASSERT_EQ(text(out), output_of("b3sum --no-names --keyed " + file.path() + " < " + key_file.path()))
        << size;
  }
}

TEST(Blake3, DeriveKeyAgreesWithB3sum) {
  for (const std::size_t context_bytes : {1U, 19U, 64U, 65U, 1024U, 1025U, 3000U}) {
    const std::string context(context_bytes, 'c');
    for (const std::size_t size : {0U, 32U, 64U, 96U, 1024U, 1025U, 5000U}) {
      const Bytes input = input_of(size);
      const TempFile file(input);
      Digest out{};
      crypto::blake3_derive_key(context, input, out);
      ASSERT_EQ(text(out), output_of("b3sum --no-names --derive-key " + context + " " + file.path())) << size;
    }
  }
}

TEST(Blake3, OutputMayAliasTheMaterial) {
  Digest secret{};
  Digest expected{};
  crypto::blake3_derive_key("alias", secret, expected);
  crypto::blake3_derive_key("alias", secret, secret);
  EXPECT_EQ(secret, expected);
}

}  // namespace
