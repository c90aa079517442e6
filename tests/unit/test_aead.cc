// The fast engine against the oracle, in every kernel family of this CPU.
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/aead.h"
#include "crypto/aead_ref.h"
#include "tests/support/guarded_buffer.h"

namespace {

using crypto::Aead;
using crypto::AeadJob;
using crypto::AeadRef;
using crypto::KeySlot;
using crypto::kTagBytes;
using crypto::Suite;
using test_support::GuardedBuffer;
using Bytes = std::vector<std::uint8_t>;
using RawKey = std::array<std::uint8_t, crypto::kKeyBytes>;

constexpr Suite kSuites[] = {Suite::kAes256Gcm, Suite::kChaCha20Poly1305};
constexpr std::size_t kHeaderBytes = 45;

// What the CPU of this machine offers; the automatic choice always has to work.
std::vector<crypto::Kernel> kernels() {
  std::vector<crypto::Kernel> found = {crypto::Kernel::kAuto};
  for (const auto kernel : {crypto::Kernel::kSse, crypto::Kernel::kAvx2, crypto::Kernel::kAvx512}) {
    try {
      const Aead probe(kernel);
      found.push_back(kernel);
    } catch (const std::runtime_error&) {
      continue;
    }
  }
  return found;
}

std::string kernel_name(const ::testing::TestParamInfo<crypto::Kernel>& info) {
  return (info.param == crypto::Kernel::kAuto ? "auto_" : "") + std::string(Aead(info.param).arch());
}

class AeadTest : public ::testing::TestWithParam<crypto::Kernel> {
 protected:
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }
  Bytes bytes(std::size_t n) {
    Bytes out(n);
    for (auto& b : out) b = byte();
    return out;
  }
  RawKey raw_key() {
    RawKey key{};
    for (auto& b : key) b = byte();
    return key;
  }

  Aead fast_{GetParam()};
  AeadRef slow_;
  std::mt19937_64 random_{20261122};
};

// A packet with its own key in both engines' form.
struct Packet {
  Suite suite = Suite::kAes256Gcm;
  KeySlot fast_key{};
  KeySlot slow_key{};
  Bytes aad;
  Bytes text;  // with room for the tag
  std::array<std::uint8_t, crypto::kNonceBytes> nonce{};

  AeadJob job(const KeySlot& key, std::uint8_t* at) const {
    return {&key,
            aad.data(),
            at,
            static_cast<std::uint32_t>(text.size() - kTagBytes),
            static_cast<std::uint16_t>(aad.size()),
            suite,
            0,
            nonce};
  }
};

Packet make_packet(const Aead& fast, const AeadRef& slow, Suite suite, const RawKey& key, Bytes aad,
                   Bytes plain) {
  Packet packet;
  packet.suite = suite;
  fast.expand_key(suite, key, packet.fast_key);
  slow.expand_key(suite, key, packet.slow_key);
  packet.aad = std::move(aad);
  packet.text = std::move(plain);
  packet.text.resize(packet.text.size() + kTagBytes);
  for (std::size_t i = 0; i < packet.nonce.size(); ++i)
    packet.nonce[i] = static_cast<std::uint8_t>(key[i] + i);
  return packet;
}

// Jobs over copies of the packets' texts, so that two engines can work on the same input.
struct Batch {
  std::vector<Bytes> texts;
  std::vector<AeadJob> jobs;

  Batch(const std::vector<std::unique_ptr<Packet>>& packets, bool fast) {
    for (const auto& p : packets) texts.push_back(p->text);
    for (std::size_t i = 0; i < packets.size(); ++i) {
      const Packet& p = *packets[i];
      jobs.push_back(p.job(fast ? p.fast_key : p.slow_key, texts[i].data()));
    }
  }
  [[nodiscard]] unsigned n() const { return static_cast<unsigned>(jobs.size()); }
};

std::uint64_t all_bits(unsigned n) {
  return n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

TEST_P(AeadTest, RandomBatchesAgreeWithTheOracle) {
  for (unsigned round = 0; round < 60; ++round) {
    std::vector<std::unique_ptr<Packet>> packets;
    const unsigned n = 1 + below(crypto::kMaxBatch);
    for (unsigned i = 0; i < n; ++i) {
      const std::uint32_t size = below(20) == 0 ? below(16000) : below(1501);
      packets.push_back(std::make_unique<Packet>(
          make_packet(fast_, slow_, kSuites[below(2)], raw_key(), bytes(below(80)), bytes(size))));
    }
    Batch ours(packets, true);
    Batch theirs(packets, false);
    fast_.seal_batch(ours.jobs.data(), n);
    slow_.seal_batch(theirs.jobs.data(), n);
    ASSERT_EQ(ours.texts, theirs.texts);

    ASSERT_EQ(fast_.open_batch(ours.jobs.data(), n), all_bits(n));
    ASSERT_EQ(slow_.open_batch(theirs.jobs.data(), n), all_bits(n));
    for (unsigned i = 0; i < n; ++i) {
      const std::size_t size = packets[i]->text.size() - kTagBytes;
      ASSERT_EQ(std::memcmp(ours.texts[i].data(), packets[i]->text.data(), size), 0);
      ASSERT_EQ(std::memcmp(theirs.texts[i].data(), packets[i]->text.data(), size), 0);
    }
  }
}

TEST_P(AeadTest, EverySizeUpTo1500) {
  const RawKey key = raw_key();
  for (const Suite suite : kSuites) {
    for (std::uint32_t size = 0; size <= 1500; ++size) {
      std::vector<std::unique_ptr<Packet>> one;
      one.push_back(
          std::make_unique<Packet>(make_packet(fast_, slow_, suite, key, bytes(kHeaderBytes), bytes(size))));
      Batch ours(one, true);
      Batch theirs(one, false);
      fast_.seal_batch(ours.jobs.data(), 1);
      slow_.seal_batch(theirs.jobs.data(), 1);
      ASSERT_EQ(ours.texts, theirs.texts) << size;
      ASSERT_EQ(fast_.open_batch(ours.jobs.data(), 1), 1U) << size;
      ASSERT_EQ(std::memcmp(ours.texts[0].data(), one[0]->text.data(), size), 0) << size;
    }
  }
}

TEST_P(AeadTest, EveryAdditionalDataLength) {
  for (const Suite suite : kSuites) {
    for (std::uint32_t size = 0; size <= 130; ++size) {
      std::vector<std::unique_ptr<Packet>> one;
      one.push_back(
          std::make_unique<Packet>(make_packet(fast_, slow_, suite, raw_key(), bytes(size), bytes(33))));
      Batch ours(one, true);
      Batch theirs(one, false);
      fast_.seal_batch(ours.jobs.data(), 1);
      slow_.seal_batch(theirs.jobs.data(), 1);
      ASSERT_EQ(ours.texts, theirs.texts) << size;
    }
  }
}

// Seals, changes one byte of what `pick` points at, and expects the open to fail.
class AeadTamperTest : public AeadTest {
 protected:
  void expect_rejected(Suite suite, std::uint32_t size) {
    Packet packet = make_packet(fast_, slow_, suite, raw_key(), bytes(kHeaderBytes), bytes(size));
    AeadJob job = packet.job(packet.fast_key, packet.text.data());
    fast_.seal_batch(&job, 1);
    const Bytes sealed = packet.text;
    flip_each(packet, sealed, packet.text.data(), packet.text.size());
    flip_each(packet, sealed, packet.aad.data(), packet.aad.size());
    flip_each(packet, sealed, packet.nonce.data(), packet.nonce.size());
    packet.text = sealed;
    job = packet.job(packet.fast_key, packet.text.data());
    EXPECT_EQ(fast_.open_batch(&job, 1), 1U) << "the untouched packet opens";
  }

 private:
  void flip_each(Packet& packet, const Bytes& sealed, std::uint8_t* part, std::size_t part_bytes) {
    for (std::size_t i = 0; i < part_bytes; ++i) {
      packet.text = sealed;
      part[i] ^= static_cast<std::uint8_t>(1U << (i % 8));
      const AeadJob job = packet.job(packet.fast_key, packet.text.data());
      ASSERT_EQ(fast_.open_batch(&job, 1), 0U) << "byte " << i;
      if (part != packet.text.data()) part[i] ^= static_cast<std::uint8_t>(1U << (i % 8));
    }
  }
};

TEST_P(AeadTamperTest, AnyChangedByteIsRejected) {
  for (const Suite suite : kSuites) {
    for (const std::uint32_t size : {0U, 1U, 16U, 64U, 333U, 1300U}) expect_rejected(suite, size);
  }
}

TEST_P(AeadTamperTest, WrongKeyAndShorterTextAreRejected) {
  for (const Suite suite : kSuites) {
    Packet packet = make_packet(fast_, slow_, suite, raw_key(), bytes(kHeaderBytes), bytes(100));
    AeadJob job = packet.job(packet.fast_key, packet.text.data());
    fast_.seal_batch(&job, 1);
    const Bytes sealed = packet.text;
    KeySlot other;
    fast_.expand_key(suite, raw_key(), other);
    job.key = &other;
    EXPECT_EQ(fast_.open_batch(&job, 1), 0U);
    packet.text = sealed;
    job.key = &packet.fast_key;
    job.text_bytes = 99;
    EXPECT_EQ(fast_.open_batch(&job, 1), 0U);
  }
}

TEST_P(AeadTest, ResultBitsNameTheGoodJobs) {
  std::vector<std::unique_ptr<Packet>> packets;
  for (unsigned i = 0; i < crypto::kMaxBatch; ++i) {
    packets.push_back(std::make_unique<Packet>(
        make_packet(fast_, slow_, kSuites[i % 2], raw_key(), bytes(kHeaderBytes), bytes(below(200)))));
  }
  Batch batch(packets, true);
  fast_.seal_batch(batch.jobs.data(), batch.n());
  std::uint64_t expected = all_bits(batch.n());
  for (unsigned i = 0; i < batch.n(); ++i) {
    if (below(3) != 0) continue;
    batch.texts[i].back() ^= 0x80;
    expected &= ~(std::uint64_t{1} << i);
  }
  EXPECT_EQ(fast_.open_batch(batch.jobs.data(), batch.n()), expected);
}

TEST_P(AeadTest, EmptyBatchTouchesNothing) {
  fast_.seal_batch(nullptr, 0);
  EXPECT_EQ(fast_.open_batch(nullptr, 0), 0U);
}

TEST_P(AeadTest, AMovedEngineWorks) {
  Aead moved = std::move(fast_);
  Packet packet = make_packet(moved, slow_, Suite::kAes256Gcm, raw_key(), bytes(kHeaderBytes), bytes(64));
  const AeadJob job = packet.job(packet.fast_key, packet.text.data());
  moved.seal_batch(&job, 1);
  EXPECT_EQ(moved.open_batch(&job, 1), 1U);
}

// Text and tag, additional data, job and key each end (or start) at an unreadable page.
class AeadGuardTest : public AeadTest {
 protected:
  void run(Suite suite, std::uint32_t size, std::uint16_t aad_bytes, bool at_end) {
    const std::size_t sealed_bytes = size + kTagBytes;
    std::uint8_t* text = at_end ? texts_.at_end(sealed_bytes) : texts_.at_start();
    std::uint8_t* aad = at_end ? aads_.at_end(aad_bytes) : aads_.at_start();
    auto* key = reinterpret_cast<KeySlot*>(at_end ? keys_.at_end(sizeof(KeySlot)) : keys_.at_start());
    auto* job = reinterpret_cast<AeadJob*>(at_end ? jobs_.at_end(sizeof(AeadJob)) : jobs_.at_start());
    fast_.expand_key(suite, raw_key(), *key);
    std::memset(text, 7, size);
    std::memset(aad, 9, aad_bytes);
    *job = AeadJob{key, aad, text, size, aad_bytes, suite, 0, {}};
    fast_.seal_batch(job, 1);
    ASSERT_EQ(fast_.open_batch(job, 1), 1U) << size;
    for (std::uint32_t i = 0; i < size; ++i) ASSERT_EQ(text[i], 7) << i;
  }

  GuardedBuffer texts_{2048}, aads_{64}, keys_{sizeof(KeySlot)}, jobs_{sizeof(AeadJob)};
};

TEST_P(AeadGuardTest, NothingOutsideTheBuffersIsTouched) {
  for (const Suite suite : kSuites) {
    for (std::uint32_t size = 0; size <= 1500; size += size < 300 ? 1 : 37) {
      for (const bool at_end : {false, true}) run(suite, size, kHeaderBytes, at_end);
    }
    for (std::uint16_t aad_bytes = 0; aad_bytes <= 64; ++aad_bytes) run(suite, 20, aad_bytes, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AeadTest, ::testing::ValuesIn(kernels()), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernels, AeadTamperTest, ::testing::ValuesIn(kernels()), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernels, AeadGuardTest, ::testing::ValuesIn(kernels()), kernel_name);

TEST(AeadRefTest, RejectsAChangedTag) {
  const AeadRef oracle;
  for (const Suite suite : kSuites) {
    KeySlot key;
    oracle.expand_key(suite, RawKey{1, 2, 3}, key);
    Bytes text(20 + kTagBytes, 5);
    const AeadJob job{&key, nullptr, text.data(), 20, 0, suite, 0, {}};
    oracle.seal_batch(&job, 1);
    text.back() ^= 1;
    EXPECT_EQ(oracle.open_batch(&job, 1), 0U);
  }
}

}  // namespace
