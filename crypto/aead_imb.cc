// The fast AEAD engine: direct ipsec-mb calls over a burst. The only file that includes the library's header.
//
// The library's GCM has no multi-buffer form, so a burst buys two things: no job management between packets,
// and key lines that are on their way to L1 before the packet that needs them is reached.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include <intel-ipsec-mb.h>

#include "crypto/aead.h"
#include "crypto/secret.h"

#ifdef PHANTOM_NONCE_AUDIT
#include "crypto/nonce_audit.h"
#endif

namespace crypto {
namespace {

constexpr unsigned kLineBytes = 64;
constexpr unsigned kGcmBlockBytes = 16;
// Round keys of AES-256: 15 times 16 bytes at the start of gcm_key_data, in front of the GHASH tables.
constexpr unsigned kRoundKeyBytes = 240;
// Prefetch distances in packets (bench_aead, 65,536 keys). VAES kernels work through more key lines in fewer
// cycles, so a line has to be asked for earlier.
constexpr unsigned kPrefetchAheadVaes = 8;
constexpr unsigned kPrefetchAhead = 4;
// Texts of this many blocks and more touch every table a kernel has (48 powers of H in 1.3, 32 in 2.0).
constexpr unsigned kReachBlocks = 48;

static_assert(sizeof(gcm_key_data) <= sizeof(KeySlot), "PHANTOM_KEY_SLOT_BYTES is from another ipsec-mb");
static_assert(alignof(gcm_key_data) <= alignof(KeySlot));
static_assert(kKeyBytes <= sizeof(KeySlot));
static_assert(sizeof(KeySlot) <= 32 * kLineBytes, "key lines must fit the mask");

// Which cache lines of an expanded key a call reads, by text length. Tables of the VAES kernels hold powers
// of H in falling order, so that n blocks read the last n + 1 entries; 2.0 has a second table behind the
// first.
class KeyReach {
 public:
  // Reads the first `bytes` whatever the length.
  void set_whole(unsigned bytes) { line_mask_.fill(lines(0, bytes)); }

  // Round keys, and of each of `tables` tables of `table_bytes` the tail that the length asks for.
  void set_tails(unsigned table_bytes, unsigned tables) {
    for (unsigned blocks = 0; blocks <= kReachBlocks; ++blocks) {
      const unsigned tail = std::min((blocks + 1) * kGcmBlockBytes, table_bytes);
      std::uint32_t mask = lines(0, kRoundKeyBytes);
      for (unsigned t = 1; t <= tables; ++t) {
        const unsigned end = kRoundKeyBytes + t * table_bytes;
        mask |= lines(end - tail, end);
      }
      line_mask_[blocks] = mask;
    }
  }

  [[nodiscard]] std::uint32_t mask(std::uint32_t text_bytes) const {
    return line_mask_[std::min((text_bytes + kGcmBlockBytes - 1) / kGcmBlockBytes, kReachBlocks)];
  }

 private:
  static std::uint32_t lines(unsigned begin, unsigned end) {
    std::uint32_t mask = 0;
    for (unsigned line = begin / kLineBytes; line * kLineBytes < end; ++line) mask |= 1U << line;
    return mask;
  }

  std::array<std::uint32_t, kReachBlocks + 1> line_mask_{};
};

bool has(std::uint64_t features, std::uint64_t wanted) {
  return (features & wanted) == wanted;
}

bool is_vaes(const IMB_MGR& mgr, IMB_ARCH arch) {
  if (arch == IMB_ARCH_AVX512) return has(mgr.features, IMB_CPUFLAGS_AVX512_T2);
#if IMB_VERSION_NUM >= 0x20000
  if (arch == IMB_ARCH_AVX2) return has(mgr.features, IMB_CPUFLAGS_AVX2_T2);
#endif
#if IMB_VERSION_NUM >= 0x30000
  if (arch == IMB_ARCH_AVX10) return true;
#endif
  return false;
}

// Layouts as in gcm_key_data of the installed header; the union's members name the kernel families.
KeyReach reach_of(IMB_ARCH arch, bool vaes) {
  constexpr gcm_key_data* kNone = nullptr;
  KeyReach reach;
  if (!vaes) {
    const bool wide = arch == IMB_ARCH_AVX2 || arch == IMB_ARCH_AVX512;
    const std::size_t table =
        wide ? sizeof(kNone->ghash_keys.avx2_avx512) : sizeof(kNone->ghash_keys.sse_avx);
    reach.set_whole(kRoundKeyBytes + static_cast<unsigned>(table));
    return reach;
  }
#if IMB_VERSION_NUM >= 0x20000
  const bool ymm = arch == IMB_ARCH_AVX2;
  const std::size_t both = ymm ? sizeof(kNone->ghash_keys.vaes_avx2) : sizeof(kNone->ghash_keys.vaes_avx512);
  reach.set_tails(static_cast<unsigned>(both / 2), 2);
#else
  reach.set_tails(sizeof(kNone->ghash_keys.vaes_avx512), 1);
#endif
  return reach;
}

const char* arch_name(IMB_ARCH arch, bool vaes) {
  switch (arch) {
    case IMB_ARCH_SSE:
      return "sse";
    case IMB_ARCH_AVX2:
      return vaes ? "avx2_vaes" : "avx2";
    case IMB_ARCH_AVX512:
      return vaes ? "avx512_vaes" : "avx512";
#if IMB_VERSION_NUM < 0x20000
    case IMB_ARCH_NOAESNI:
      return "noaesni";
    case IMB_ARCH_AVX:
      return "avx";
#endif
#if IMB_VERSION_NUM >= 0x30000
    case IMB_ARCH_AVX10:
      return "avx10";
#endif
    default:
      return "unknown";
  }
}

const gcm_key_data* gcm_key(const AeadJob& job) {
  return reinterpret_cast<const gcm_key_data*>(job.key->bytes);
}

// Two 16-byte tags, without a branch on their content.
bool equal_tags(const std::uint8_t* a, const std::uint8_t* b) {
  std::uint64_t left[2];
  std::uint64_t right[2];
  std::memcpy(left, a, kTagBytes);
  std::memcpy(right, b, kTagBytes);
  return ((left[0] ^ right[0]) | (left[1] ^ right[1])) == 0;
}

struct Contexts {
  gcm_context_data gcm;
  chacha20_poly1305_context_data chacha;
};

// One job in place; the tag goes to `tag`, which for sealing lies behind the text.
template <bool kSeal>
void run_gcm(IMB_MGR* mgr, const AeadJob& job, gcm_context_data& context, std::uint8_t* tag) {
  if constexpr (kSeal) {
    IMB_AES256_GCM_ENC(mgr, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                       job.aad, job.aad_bytes, tag, kTagBytes);
  } else {
    IMB_AES256_GCM_DEC(mgr, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                       job.aad, job.aad_bytes, tag, kTagBytes);
  }
}

template <bool kSeal>
void run_chacha(IMB_MGR* mgr, const AeadJob& job, chacha20_poly1305_context_data& context,
                std::uint8_t* tag) {
  const void* key = job.key->bytes;
  IMB_CHACHA20_POLY1305_INIT(mgr, key, &context, job.nonce.data(), job.aad, job.aad_bytes);
  if constexpr (kSeal) {
    IMB_CHACHA20_POLY1305_ENC_UPDATE(mgr, key, &context, job.text, job.text, job.text_bytes);
    IMB_CHACHA20_POLY1305_ENC_FINALIZE(mgr, &context, tag, kTagBytes);
  } else {
    IMB_CHACHA20_POLY1305_DEC_UPDATE(mgr, key, &context, job.text, job.text, job.text_bytes);
    IMB_CHACHA20_POLY1305_DEC_FINALIZE(mgr, &context, tag, kTagBytes);
  }
}

}  // namespace

struct Aead::Impl {
  explicit Impl(Kernel kernel);
  ~Impl() {
    if (mgr != nullptr) free_mb_mgr(mgr);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void init(Kernel kernel);
  void prefetch(const AeadJob& job) const;
  template <bool kSeal>
  std::uint64_t run(const AeadJob* jobs, unsigned n) const;

  IMB_MGR* mgr = nullptr;
  IMB_ARCH used = IMB_ARCH_NONE;
  unsigned ahead = kPrefetchAhead;
  const char* name = "unknown";
  KeyReach reach;
#ifdef PHANTOM_NONCE_AUDIT
  NonceAudit audit;
#endif
};

Aead::Impl::Impl(Kernel kernel) {
  mgr = alloc_mb_mgr(0);
  if (mgr == nullptr) throw std::runtime_error("ipsec-mb: no memory for a manager");
  init(kernel);
  const int error = imb_get_errno(mgr);
  if (error != 0 || used == IMB_ARCH_NONE) {
    const std::string why = error != 0 ? imb_get_strerror(error) : "no kernel for this CPU";
    free_mb_mgr(mgr);
    mgr = nullptr;
    throw std::runtime_error(
        "ipsec-mb cannot serve this CPU (" + why +
        "): AES-NI, PCLMULQDQ and SSE4.2 are needed; in a virtual machine pass the host's CPU "
        "flags through");
  }
  const bool vaes = is_vaes(*mgr, used);
  ahead = vaes ? kPrefetchAheadVaes : kPrefetchAhead;
  name = arch_name(used, vaes);
  reach = reach_of(used, vaes);
}

void Aead::Impl::init(Kernel kernel) {
  switch (kernel) {
    case Kernel::kAuto:
      init_mb_mgr_auto(mgr, &used);
      return;
    case Kernel::kSse:
      init_mb_mgr_sse(mgr);
      used = IMB_ARCH_SSE;
      return;
    case Kernel::kAvx2:
      init_mb_mgr_avx2(mgr);
      used = IMB_ARCH_AVX2;
      return;
    case Kernel::kAvx512:
      init_mb_mgr_avx512(mgr);
      used = IMB_ARCH_AVX512;
      return;
  }
}

void Aead::Impl::prefetch(const AeadJob& job) const {
  const std::byte* key = job.key->bytes;
  std::uint32_t mask = job.suite == Suite::kAes256Gcm ? reach.mask(job.text_bytes) : 1U;
  for (; mask != 0; mask &= mask - 1) {
    __builtin_prefetch(key + static_cast<std::size_t>(__builtin_ctz(mask)) * kLineBytes);
  }
}

template <bool kSeal>
std::uint64_t Aead::Impl::run(const AeadJob* jobs, unsigned n) const {
  Contexts contexts;
  bool chacha = false;
  std::uint64_t good = 0;
  // A key that the packet before uses too is on its way already.
  const auto ask = [&](unsigned i) {
    if (i == 0 || jobs[i].key != jobs[i - 1].key || jobs[i].text_bytes > jobs[i - 1].text_bytes)
      prefetch(jobs[i]);
  };
  for (unsigned i = 0; i < std::min(ahead, n); ++i) ask(i);
  for (unsigned i = 0; i < n; ++i) {
    if (i + ahead < n) ask(i + ahead);
    const AeadJob& job = jobs[i];
    std::uint8_t computed[kTagBytes];
    std::uint8_t* tag = kSeal ? job.text + job.text_bytes : computed;
    if (job.suite == Suite::kAes256Gcm) [[likely]] {
      run_gcm<kSeal>(mgr, job, contexts.gcm, tag);
    } else {
      run_chacha<kSeal>(mgr, job, contexts.chacha, tag);
      chacha = true;
    }
    if constexpr (!kSeal) {
      good |= std::uint64_t{equal_tags(computed, job.text + job.text_bytes)} << i;
    }
  }
  // The ChaCha20-Poly1305 context holds the one-time key and keystream; the GCM kernels clear theirs.
  if (chacha) [[unlikely]]
    wipe(&contexts.chacha, sizeof(contexts.chacha));
  return good;
}

Aead::Aead(Kernel kernel) : impl_(std::make_unique<Impl>(kernel)) {}
Aead::~Aead() = default;
Aead::Aead(Aead&&) noexcept = default;
Aead& Aead::operator=(Aead&&) noexcept = default;

void Aead::expand_key(Suite suite, std::span<const std::uint8_t, kKeyBytes> key,
                      KeySlot& out) const noexcept {
  std::memset(out.bytes, 0, sizeof(out.bytes));
  if (suite == Suite::kAes256Gcm) {
    IMB_AES256_GCM_PRE(impl_->mgr, key.data(), reinterpret_cast<gcm_key_data*>(out.bytes));
  } else {
    std::memcpy(out.bytes, key.data(), kKeyBytes);
  }
#ifdef PHANTOM_NONCE_AUDIT
  impl_->audit.name_key(key, std::span(out.bytes).subspan(sizeof(gcm_key_data)));
#endif
}

void Aead::prefetch(const AeadJob& job) const noexcept {
  impl_->prefetch(job);
}

void Aead::seal_batch(const AeadJob* jobs, unsigned n) const noexcept {
#ifdef PHANTOM_NONCE_AUDIT
  impl_->audit.record(jobs, n, sizeof(gcm_key_data));
#endif
  impl_->run<true>(jobs, n);
}

std::uint64_t Aead::open_batch(const AeadJob* jobs, unsigned n) const noexcept {
  return impl_->run<false>(jobs, n);
}

const char* Aead::arch() const noexcept {
  return impl_->name;
}

}  // namespace crypto
