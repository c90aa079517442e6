#include "crypto/secret.h"

#include <cerrno>
#include <climits>
#include <new>
#include <stdexcept>

#include <linux/capability.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace crypto {
namespace {

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t whole_pages(std::size_t bytes) {
  const std::size_t page = page_bytes();
  return bytes == 0 ? page : (bytes + page - 1) / page * page;
}

// From here on a block asks for huge pages of its own: with 4 KiB pages every packet of another session walks
// page tables for each of its lines (bench_scale, 10,000 sessions: three times the cycles).
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// Zeroed pages; those of a large block begin and end at huge pages. Null: no memory.
std::byte* map_pages(std::size_t bytes) {
  const bool huge = bytes >= kHugePageBytes;
  const std::size_t spare = huge ? kHugePageBytes : 0;
  void* pages = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  auto* data = static_cast<std::byte*>(pages);
  if (!huge) return data;
  const std::size_t before =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(data) % kHugePageBytes) % kHugePageBytes;
  if (before != 0) munmap(data, before);
  if (spare != before) munmap(data + before + bytes, spare - before);
  madvise(data + before, bytes, MADV_HUGEPAGE);  // a kernel without them has the small ones
  return data + before;
}

std::size_t mapped_bytes(std::size_t bytes) {
  return bytes < kHugePageBytes ? whole_pages(bytes)
                                : (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
}

bool may_lock_all() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

}  // namespace

void wipe(void* data, std::size_t bytes) noexcept {
  if (bytes != 0) OPENSSL_cleanse(data, bytes);
}

bool equal_ct(const void* a, const void* b, std::size_t bytes) noexcept {
  return bytes == 0 || CRYPTO_memcmp(a, b, bytes) == 0;
}

void random_bytes(std::span<std::uint8_t> out) {
  constexpr std::size_t kMost = INT_MAX;
  while (!out.empty()) {
    const std::size_t part = out.size() < kMost ? out.size() : kMost;
    if (RAND_bytes(out.data(), static_cast<int>(part)) != 1) {
      throw std::runtime_error("OpenSSL cannot provide randomness; is /dev/urandom available here?");
    }
    out = out.subspan(part);
  }
}

bool protect_pages(void* data, std::size_t bytes) noexcept {
  if (bytes == 0) return true;
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = begin / page_bytes() * page_bytes();
  const std::size_t length = whole_pages(begin + bytes - first);
  void* pages = reinterpret_cast<void*>(first);  // NOLINT(performance-no-int-to-ptr): page of `data`
  madvise(pages, length, MADV_DONTDUMP);
  // Only private anonymous memory can be wiped in a child; shared hugepages are left out of it altogether.
  if (madvise(pages, length, MADV_WIPEONFORK) != 0) madvise(pages, length, MADV_DONTFORK);
  return mlock(pages, length) == 0;
}

void harden_process() noexcept {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  // Under a limit later allocations would fail: then only SecureBlocks are locked.
  if (may_lock_all()) mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);  // pages that are in use
}

SecureBlock::SecureBlock(std::size_t bytes) : bytes_(bytes) {
  data_ = map_pages(mapped_bytes(bytes));
  if (data_ == nullptr) throw std::bad_alloc();
  locked_ = protect_pages(data_, mapped_bytes(bytes));
}

SecureBlock::~SecureBlock() {
  wipe(data_, bytes_);
  munmap(data_, mapped_bytes(bytes_));
}

}  // namespace crypto
