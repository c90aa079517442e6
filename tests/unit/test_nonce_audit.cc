// The audit's records are what its header says, and tools/nonce-audit finds every repeated pair.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/hkdf.h"
#include "crypto/nonce_audit.h"
#include "tests/support/vectors.h"

namespace {

using crypto::AeadJob;
using crypto::KeySlot;
using RawKey = std::array<std::uint8_t, crypto::kKeyBytes>;

constexpr std::size_t kIdOffset = sizeof(KeySlot) - crypto::kAuditStoredIdBytes;

class NonceAuditTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
    setenv("PHANTOM_NONCE_AUDIT_FILE", file("audit").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("PHANTOM_NONCE_AUDIT_FILE");
    std::filesystem::remove_all(directory_);
  }

  [[nodiscard]] std::string file(const std::string& name) const { return directory_ + "/" + name; }

  // A key slot as an engine would leave it; the expanded key itself plays no part.
  static std::unique_ptr<KeySlot> slot(const crypto::NonceAudit& audit, std::uint8_t key_byte) {
    auto out = std::make_unique<KeySlot>();
    RawKey key{};
    key.fill(key_byte);
    audit.name_key(key, std::span(out->bytes).subspan(kIdOffset));
    return out;
  }

  static AeadJob job(const KeySlot& key, std::uint8_t nonce_byte) {
    AeadJob out{&key, nullptr, nullptr, 0, 0, crypto::Suite::kAes256Gcm, 0, {}};
    out.nonce.fill(nonce_byte);
    return out;
  }

  // Exit code of tools/nonce-audit over the files.
  static int check(const std::string& arguments) {
    const int status =
        std::system((std::string(PHANTOM_NONCE_AUDIT_TOOL) + " " + arguments + " >/dev/null").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  std::string directory_ = "/tmp/phantom-audit-XXXXXX";
};

TEST_F(NonceAuditTest, RecordsAreKeyIdAndNonce) {
  const crypto::NonceAudit audit;
  const auto key = slot(audit, 3);
  const AeadJob jobs[] = {job(*key, 1), job(*key, 2)};
  audit.record(jobs, 2, kIdOffset);

  RawKey raw{};
  raw.fill(3);
  std::array<std::uint8_t, 32> digest{};
  crypto::sha256(raw, digest);
  const std::string id = vectors::hex(digest.data(), crypto::kAuditStoredIdBytes) + "00000000";
  std::ifstream in(file("audit"), std::ios::binary);
  const vectors::Bytes content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(vectors::hex(content), id + "010101010101010101010101" + id + "020202020202020202020202");
}

TEST_F(NonceAuditTest, ToolAcceptsDistinctPairsAndRejectsARepeatedOne) {
  {
    const crypto::NonceAudit audit;
    const auto one = slot(audit, 1);
    const auto two = slot(audit, 2);
    const AeadJob jobs[] = {job(*one, 1), job(*one, 2), job(*two, 1)};
    audit.record(jobs, 3, kIdOffset);
    EXPECT_EQ(check(file("audit")), 0);
  }
  EXPECT_EQ(check(file("audit") + " " + file("audit")), 1) << "the same pairs in two files";
  EXPECT_EQ(check("--run-records 1 " + file("audit")), 0);

  const crypto::NonceAudit restarted;
  const auto one = slot(restarted, 1);
  const AeadJob again = job(*one, 2);
  restarted.record(&again, 1, kIdOffset);
  EXPECT_EQ(check(file("audit")), 1);
  EXPECT_EQ(check("--run-records 1 " + file("audit")), 1);
}

TEST_F(NonceAuditTest, ToolProvesNothingFromNothing) {
  std::ofstream(file("empty")).close();
  EXPECT_EQ(check(file("empty")), 2);
  EXPECT_EQ(check(file("missing") + " 2>/dev/null"), 2);
  std::ofstream(file("cut")) << std::string(40, 'x');
  EXPECT_EQ(check(file("cut")), 2);
}

TEST_F(NonceAuditTest, UnwritableFileIsAnError) {
  setenv("PHANTOM_NONCE_AUDIT_FILE", file("no/such/directory").c_str(), 1);
  EXPECT_THROW(crypto::NonceAudit(), std::runtime_error);
}

TEST_F(NonceAuditTest, WithoutTheVariableNothingIsRecorded) {
  unsetenv("PHANTOM_NONCE_AUDIT_FILE");
  const crypto::NonceAudit audit;
  const auto key = slot(audit, 1);
  const AeadJob one = job(*key, 1);
  audit.record(&one, 1, kIdOffset);
  EXPECT_FALSE(std::filesystem::exists(file("audit")));
}

#ifdef PHANTOM_NONCE_AUDIT
TEST_F(NonceAuditTest, EngineRecordsEverySeal) {
  const crypto::Aead engine;
  const RawKey raw{};
  KeySlot key;
  engine.expand_key(crypto::Suite::kAes256Gcm, raw, key);
  std::array<std::uint8_t, 100> text{};
  AeadJob one = job(key, 7);
  one.text = text.data();
  engine.seal_batch(&one, 1);
  EXPECT_EQ(std::filesystem::file_size(file("audit")), crypto::kAuditRecordBytes);
  EXPECT_EQ(check(file("audit")), 0);
  engine.seal_batch(&one, 1);
  EXPECT_EQ(check(file("audit")), 1);
}
#endif

}  // namespace
