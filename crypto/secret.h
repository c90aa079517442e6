// Memory for secrets: wiped after use, compared in constant time, locked and kept out of core dumps.
//
// Thread: any; an object belongs to whoever holds it. Nothing here logs or prints a secret.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace crypto {

// Overwrites memory in a way the compiler cannot remove.
void wipe(void* data, std::size_t bytes) noexcept;

// True when a[0, bytes) equals b[0, bytes); time depends on `bytes` alone.
[[nodiscard]] bool equal_ct(const void* a, const void* b, std::size_t bytes) noexcept;

// Cryptographic randomness from OpenSSL. Throws std::runtime_error when the generator fails.
void random_bytes(std::span<std::uint8_t> out);

// Fixed-size secret. Copies are explicit (`clone`), moves wipe the source, destruction wipes.
template <std::size_t N>
class SecretBytes {
 public:
  SecretBytes() = default;
  ~SecretBytes() { wipe(bytes_.data(), N); }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  SecretBytes(SecretBytes&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_.data(), N); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      wipe(other.bytes_.data(), N);
    }
    return *this;
  }
  [[nodiscard]] SecretBytes clone() const {
    SecretBytes copy;
    copy.bytes_ = bytes_;
    return copy;
  }
  static SecretBytes from(std::span<const std::uint8_t, N> raw) {
    SecretBytes secret;
    for (std::size_t i = 0; i < N; ++i) secret.bytes_[i] = raw[i];
    return secret;
  }

  [[nodiscard]] std::span<std::uint8_t, N> span() { return bytes_; }
  [[nodiscard]] std::span<const std::uint8_t, N> span() const { return bytes_; }
  [[nodiscard]] const std::uint8_t* data() const { return bytes_.data(); }
  [[nodiscard]] std::uint8_t* data() { return bytes_.data(); }
  static constexpr std::size_t size() { return N; }

 private:
  std::array<std::uint8_t, N> bytes_{};
};

// Locks [data, data + bytes) into memory and excludes it from core dumps and from fork (a child reads zeros,
// or nothing where the kernel cannot wipe). Whole pages are affected, so give page-aligned memory. False,
// with errno set, when the kernel refuses the lock (RLIMIT_MEMLOCK); the exclusion from dumps and fork is
// applied all the same.
bool protect_pages(void* data, std::size_t bytes) noexcept;

// Makes the whole process undumpable, unreadable by a debugger of the same user and, where it may lock as
// much as it likes (CAP_IPC_LOCK, or LimitMEMLOCK=infinity), kept out of swap: secrets pass through stacks
// and objects of control. Called first in main().
void harden_process() noexcept;

// A page-aligned block of locked, undumpable, zeroed memory; wiped before it is returned to the system. From
// 2 MiB on it lies in huge pages where the kernel has some to give (transparent ones: nothing need be
// reserved).
class SecureBlock {
 public:
  explicit SecureBlock(std::size_t bytes);  // throws std::bad_alloc
  ~SecureBlock();
  SecureBlock(const SecureBlock&) = delete;
  SecureBlock& operator=(const SecureBlock&) = delete;
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] bool locked() const { return locked_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  bool locked_ = false;
};

}  // namespace crypto
