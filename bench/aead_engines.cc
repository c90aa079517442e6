#include "bench/aead_engines.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <benchmark/benchmark.h>

namespace bench {
namespace {

using crypto::AeadJob;
using crypto::KeySlot;
using crypto::kTagBytes;

std::uint64_t all(unsigned n) {
  return n == crypto::kMaxBatch ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

const gcm_key_data* gcm_key(const AeadJob& job) {
  return reinterpret_cast<const gcm_key_data*>(job.key->bytes);
}

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "OpenSSL: %s failed\n", what);
  std::abort();
}

EVP_CIPHER_CTX* context_of(const AeadJob& job) {
  EVP_CIPHER_CTX* context = nullptr;
  std::memcpy(&context, job.key->bytes, sizeof(context));
  return context;
}

// Nonce and additional data of a job; its key is there.
EVP_CIPHER_CTX* start(const AeadJob& job, int seal) {
  EVP_CIPHER_CTX* context = context_of(job);
  must(EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, job.nonce.data(), seal) == 1, "nonce");
  int written = 0;
  must(EVP_CipherUpdate(context, nullptr, &written, job.aad, job.aad_bytes) == 1, "additional data");
  return context;
}

void seal(IMB_MGR* mgr, const AeadJob& job) {
  gcm_context_data context;
  IMB_AES256_GCM_ENC(mgr, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                     job.aad, job.aad_bytes, job.text + job.text_bytes, kTagBytes);
}

void open(IMB_MGR* mgr, const AeadJob& job) {
  gcm_context_data context;
  std::array<std::uint8_t, kTagBytes> tag;
  IMB_AES256_GCM_DEC(mgr, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                     job.aad, job.aad_bytes, tag.data(), kTagBytes);
  benchmark::DoNotOptimize(tag);
}

constexpr unsigned kLineBytes = 64;
constexpr unsigned kBlockBytes = 16;
constexpr unsigned kRoundKeyBytes = 240;  // AES-256: the first of an expanded key

// As gcm_key_data of the installed header lays it out; the union's members name the kernels. VAES kernels
// have powers of H in falling order, in 2.0 and later with a second table behind the first, and n blocks of
// text read the last n + 1 of each.
KeyReach reach_of(std::string_view arch) {
  constexpr gcm_key_data* kNone = nullptr;
  constexpr auto bytes = [](std::size_t size) { return static_cast<unsigned>(size); };
  if (arch.find("vaes") == std::string_view::npos) {
    const std::size_t wide = sizeof(kNone->ghash_keys.avx2_avx512);
    const std::size_t narrow = sizeof(kNone->ghash_keys.sse_avx);
    return {kRoundKeyBytes + bytes(arch.starts_with("avx2") || arch.starts_with("avx512") ? wide : narrow), 0,
            0};
  }
#if IMB_VERSION_NUM >= 0x20000
  if (arch.starts_with("avx2")) return {kRoundKeyBytes, bytes(sizeof(kNone->ghash_keys.vaes_avx2) / 2), 2};
  return {kRoundKeyBytes, bytes(sizeof(kNone->ghash_keys.vaes_avx512) / 2), 2};
#else
  return {kRoundKeyBytes, bytes(sizeof(kNone->ghash_keys.vaes_avx512)), 1};
#endif
}

}  // namespace

RawImb::RawImb() : mgr_(alloc_mb_mgr(0)) {
  init_mb_mgr_auto(mgr_.get(), nullptr);
}

void RawImb::expand_key(crypto::Suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                        KeySlot& out) const {
  IMB_AES256_GCM_PRE(mgr_.get(), key.data(), reinterpret_cast<gcm_key_data*>(out.bytes));
}

void RawImb::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) seal(mgr_.get(), job);
}

std::uint64_t RawImb::open_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) open(mgr_.get(), job);
  return all(n);
}

// Distance by measurement, 65,536 keys: on Zen 4 4 to 6 packets are best for texts of all lengths, 8 and more
// up to a tenth slower, 3 and fewer as much.
RawImbPrefetched::RawImbPrefetched() : RawImbPrefetched(crypto::Aead().arch()) {}

RawImbPrefetched::RawImbPrefetched(std::string_view arch)
    : reach_(reach_of(arch)), ahead_(reach_.tables != 0 ? 6 : 4) {
  static_assert(kLookAhead >= 6);
}

// Inline wherever it is called: to g++ a function that does nothing but ask for lines has no effect, and it
// leaves the calls of it out (12, -O3).
[[gnu::always_inline]] inline void RawImbPrefetched::prefetch(const AeadJob& job) const {
  const std::byte* key = job.key->bytes;
  for (unsigned i = 0; i < reach_.front_bytes; i += kLineBytes) __builtin_prefetch(key + i);
  const unsigned tail =
      std::min(kBlockBytes * ((job.text_bytes + kBlockBytes - 1) / kBlockBytes + 1), reach_.table_bytes);
  for (unsigned t = 1; t <= reach_.tables; ++t) {
    const unsigned end = kRoundKeyBytes + t * reach_.table_bytes;
    for (unsigned i = (end - tail) / kLineBytes * kLineBytes; i < end; i += kLineBytes)
      __builtin_prefetch(key + i);
  }
}

void RawImbPrefetched::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (unsigned i = 0; i < n; ++i) {
    prefetch(jobs[i + ahead_]);
    seal(mgr_.get(), jobs[i]);
  }
}

std::uint64_t RawImbPrefetched::open_batch(const AeadJob* jobs, unsigned n) const {
  for (unsigned i = 0; i < n; ++i) {
    prefetch(jobs[i + ahead_]);
    open(mgr_.get(), jobs[i]);
  }
  return all(n);
}

void OpenSslEvp::expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                            KeySlot& out) const {
  const bool gcm = suite == crypto::Suite::kAes256Gcm;
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  must(context != nullptr, "EVP_CIPHER_CTX_new");
  contexts_.emplace_back(context);
  must(EVP_CipherInit_ex(context, gcm ? EVP_aes_256_gcm() : EVP_chacha20_poly1305(), nullptr, key.data(),
                         nullptr, 1) == 1,
       "key");
  std::memset(out.bytes, 0, sizeof(out.bytes));
  std::memcpy(out.bytes, &context, sizeof(context));
}

void OpenSslEvp::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) {
    EVP_CIPHER_CTX* context = start(job, 1);
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    must(EVP_CipherUpdate(context, job.text, &written, job.text, text_bytes) == 1, "text");
    must(EVP_CipherFinal_ex(context, rest, &written) == 1, "end");
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, job.text + text_bytes) == 1, "tag");
  }
}

std::uint64_t OpenSslEvp::open_batch(const AeadJob* jobs, unsigned n) const {
  std::uint64_t good = 0;
  for (unsigned i = 0; i < n; ++i) {
    const AeadJob& job = jobs[i];
    EVP_CIPHER_CTX* context = start(job, 0);
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, job.text + text_bytes) == 1, "tag");
    must(EVP_CipherUpdate(context, job.text, &written, job.text, text_bytes) == 1, "text");
    if (EVP_CipherFinal_ex(context, rest, &written) == 1) good |= std::uint64_t{1} << i;
  }
  return good;
}

}  // namespace bench
