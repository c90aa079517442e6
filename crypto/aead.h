// AEAD over a burst: the contract shared by the fast engine (ipsec-mb) and the slow oracle (OpenSSL).
//
// What it is: seal and open of AES-256-GCM and ChaCha20-Poly1305 in place, many packets a call.
// Owner: one Aead object per thread; it is not shared. KeySlots are written by whoever expands a key (the
//   control core) and are read-only while any thread may still use them in a job.
// Failure: a seal cannot fail. An open that fails leaves garbage in `text`: drop the packet, never retry in
// place. Allocation: none after construction.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace crypto {

// Suite codes of protocol.md 2.1. They appear in no message.
enum class Suite : std::uint8_t { kAes256Gcm = 1, kChaCha20Poly1305 = 2 };

inline constexpr std::size_t kKeyBytes = 32;
inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;

// Largest n of a batch call. open_batch answers with one bit a job, so this cannot exceed 64.
inline constexpr unsigned kMaxBatch = 64;

// An expanded key: one direction of one epoch. The size comes from the build (sizeof(gcm_key_data) of the
// installed library rounded up to cache lines: 1,024 bytes with ipsec-mb 1.3, 1,280 with 2.0). Contents are
// private to an engine; a slot expanded by one engine type must not be used by another.
struct alignas(64) KeySlot {
  std::byte bytes[PHANTOM_KEY_SLOT_BYTES];
};
static_assert(sizeof(KeySlot) % 64 == 0);

// One packet. `text[0, text_bytes)` is plaintext or ciphertext, in place; the 16 tag bytes are at text +
// text_bytes (written by seal, compared in constant time by open). `aad` may lie directly in front of the
// text in the same buffer. Nonces and headers are to be written in an earlier pass than the call, so that
// wide loads do not hit small stores.
struct AeadJob {
  const KeySlot* key;
  const std::uint8_t* aad;
  std::uint8_t* text;
  std::uint32_t text_bytes;
  std::uint16_t aad_bytes;
  Suite suite;
  std::uint8_t reserved;
  std::array<std::uint8_t, kNonceBytes> nonce;
};
static_assert(sizeof(AeadJob) == 48);

// Kernel families that tests and benchmarks may ask for. kAuto is the best one of this CPU.
enum class Kernel : std::uint8_t { kAuto, kSse, kAvx2, kAvx512 };

// The fast engine. One ipsec-mb manager each; kernels are chosen for this CPU at construction. Key slots may
// be shared by engines of one kernel family only: families lay out their tables differently.
class Aead {
 public:
  // Throws std::runtime_error with advice when the library cannot serve this CPU. Boot time only.
  Aead() : Aead(Kernel::kAuto) {}
  explicit Aead(Kernel kernel);
  ~Aead();
  Aead(Aead&&) noexcept;
  Aead& operator=(Aead&&) noexcept;

  // Expands a raw key. Control core or boot; some microseconds.
  void expand_key(Suite suite, std::span<const std::uint8_t, kKeyBytes> key, KeySlot& out) const noexcept;

  // Asks for the lines of a job's key, for a call that comes soon. The batch calls do so themselves, a few
  // packets ahead, which leaves the first ones of a batch waiting.
  void prefetch(const AeadJob& job) const noexcept;

  // Seals jobs[0, n), n <= kMaxBatch. Different suites and keys may be mixed.
  void seal_batch(const AeadJob* jobs, unsigned n) const noexcept;

  // Opens jobs[0, n); bit i of the result is set when job i's tag verified.
  [[nodiscard]] std::uint64_t open_batch(const AeadJob* jobs, unsigned n) const noexcept;

  // Name of the kernel family in use (sse, avx, avx2, avx512, avx512_vaes, ...): shown at start and in
  // benchmarks.
  [[nodiscard]] const char* arch() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace crypto
