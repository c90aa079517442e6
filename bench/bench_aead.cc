// Seal and open: our engine beside raw ipsec-mb calls and OpenSSL EVP, in the same run.
//
// Arguments: text bytes, number of keys, batch. Each burst takes the next keys of a shuffled order, so 65,536
// keys miss the caches as a gateway with that many busy sessions would. cycles_per_packet is the time stamp
// counter over the packets of a run; the ratio of two rows with the same arguments is the figure that travels
// between machines.
//
// Opening is measured with a genuine tag: the ciphertext is restored before every burst, and that copy is
// timed in all three rows alike.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <intel-ipsec-mb.h>
#include <x86intrin.h>

#include "crypto/aead.h"
#include "crypto/aead_ref.h"

namespace {

using crypto::AeadJob;
using crypto::KeySlot;
using crypto::kMaxBatch;
using crypto::kTagBytes;
using crypto::Suite;

constexpr std::uint16_t kHeaderBytes = 45;
constexpr std::size_t kBufferBytes = 2048;  // a packet buffer: header, length field, text, tag
constexpr std::size_t kTextAt = 49;

// The baseline: what the library costs with nothing of ours around it, neither prefetch nor (for opening) a
// comparison of tags.
class RawImb {
 public:
  RawImb() : mgr_(alloc_mb_mgr(0)) { init_mb_mgr_auto(mgr_, nullptr); }
  ~RawImb() { free_mb_mgr(mgr_); }
  RawImb(const RawImb&) = delete;
  RawImb& operator=(const RawImb&) = delete;

  void expand_key(Suite, std::span<const std::uint8_t, crypto::kKeyBytes> key, KeySlot& out) const {
    IMB_AES256_GCM_PRE(mgr_, key.data(), reinterpret_cast<gcm_key_data*>(out.bytes));
  }
  void seal_batch(const AeadJob* jobs, unsigned n) const {
    gcm_context_data context;
    for (const AeadJob& job : std::span(jobs, n)) {
      IMB_AES256_GCM_ENC(mgr_, reinterpret_cast<const gcm_key_data*>(job.key->bytes), &context, job.text,
                         job.text, job.text_bytes, job.nonce.data(), job.aad, job.aad_bytes,
                         job.text + job.text_bytes, kTagBytes);
    }
  }
  [[nodiscard]] std::uint64_t open_batch(const AeadJob* jobs, unsigned n) const {
    gcm_context_data context;
    std::array<std::uint8_t, kTagBytes> tag;
    for (const AeadJob& job : std::span(jobs, n)) {
      IMB_AES256_GCM_DEC(mgr_, reinterpret_cast<const gcm_key_data*>(job.key->bytes), &context, job.text,
                         job.text, job.text_bytes, job.nonce.data(), job.aad, job.aad_bytes, tag.data(),
                         kTagBytes);
      benchmark::DoNotOptimize(tag);
    }
    return n == kMaxBatch ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
  }

 private:
  IMB_MGR* mgr_;
};

// Keys, buffers and jobs of one run; the jobs of a burst get their keys anew before it.
template <class Engine>
class Load {
 public:
  Load(const benchmark::State& state, Suite suite)
      : text_bytes_(static_cast<std::uint32_t>(state.range(0))),
        batch_(static_cast<unsigned>(state.range(2))),
        keys_(static_cast<std::size_t>(state.range(1))),
        order_(keys_.size()),
        buffers_(kMaxBatch * kBufferBytes, 0x5A),
        sealed_(kMaxBatch) {
    expand(suite);
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::uint32_t>(i);
    std::shuffle(order_.begin(), order_.end(), std::mt19937_64(1));
    for (unsigned i = 0; i < batch_; ++i) {
      std::uint8_t* head = buffers_.data() + i * kBufferBytes;
      jobs_[i] = AeadJob{&keys_[0], head, head + kTextAt, text_bytes_, kHeaderBytes, suite, 0, {}};
    }
  }

  void next_keys() {
    for (unsigned i = 0; i < batch_; ++i) {
      jobs_[i].key = &keys_[order_[next_]];
      if (++next_ == order_.size()) next_ = 0;
    }
  }

  // Keeps what was sealed just now, so that the same bursts can be opened again and again.
  void seal_for_opening() {
    engine_.seal_batch(jobs_.data(), batch_);
    for (unsigned i = 0; i < batch_; ++i) {
      sealed_[i].assign(jobs_[i].text, jobs_[i].text + text_bytes_ + kTagBytes);
    }
  }
  void restore() {
    for (unsigned i = 0; i < batch_; ++i) std::memcpy(jobs_[i].text, sealed_[i].data(), sealed_[i].size());
  }

  [[nodiscard]] const Engine& engine() const { return engine_; }
  [[nodiscard]] const AeadJob* jobs() const { return jobs_.data(); }
  [[nodiscard]] unsigned batch() const { return batch_; }

 private:
  // One value in every slot, so that a burst sealed once opens under whatever slots come next: where the
  // slots lie is what matters, not what they hold.
  void expand(Suite suite) {
    constexpr std::array<std::uint8_t, crypto::kKeyBytes> kRaw{1, 2, 3};
    engine_.expand_key(suite, kRaw, keys_[0]);
    std::fill(keys_.begin() + 1, keys_.end(), keys_[0]);
  }

  Engine engine_;
  std::uint32_t text_bytes_;
  unsigned batch_;
  std::vector<KeySlot> keys_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint8_t> buffers_;
  std::vector<std::vector<std::uint8_t>> sealed_;
  std::array<AeadJob, kMaxBatch> jobs_{};
  std::size_t next_ = 0;
};

void report(benchmark::State& state, std::uint64_t cycles, unsigned batch) {
  const auto packets = static_cast<double>(state.iterations()) * batch;
  state.counters["cycles_per_packet"] = static_cast<double>(cycles) / packets;
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
  state.SetBytesProcessed(static_cast<std::int64_t>(packets) * state.range(0));
}

template <class Engine, Suite kSuite>
void seal(benchmark::State& state) {
  Load<Engine> load(state, kSuite);
  const std::uint64_t start = __rdtsc();
  for (auto _ : state) {
    load.next_keys();
    load.engine().seal_batch(load.jobs(), load.batch());
  }
  report(state, __rdtsc() - start, load.batch());
}

template <class Engine, Suite kSuite>
void open(benchmark::State& state) {
  Load<Engine> load(state, kSuite);
  load.seal_for_opening();
  std::uint64_t good = 0;
  std::uint64_t rounds = 0;
  const std::uint64_t start = __rdtsc();
  for (auto _ : state) {
    load.restore();
    load.next_keys();
    good +=
        static_cast<std::uint64_t>(__builtin_popcountll(load.engine().open_batch(load.jobs(), load.batch())));
    ++rounds;
  }
  report(state, __rdtsc() - start, load.batch());
  if (good != rounds * load.batch()) state.SkipWithError("a genuine packet was refused");
}

void sizes_keys_batches(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"bytes", "keys", "batch"});
  bench->ArgsProduct({{64, 128, 256, 512, 1024, 1420}, {1, 65536}, {1, 8, 32, 64}});
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"bytes", "keys", "batch"});
  bench->ArgsProduct({{64, 512, 1420}, {1, 65536}, {32}});
}

BENCHMARK_TEMPLATE(seal, RawImb, Suite::kAes256Gcm)->Name("seal/gcm/raw_imb")->Apply(sizes_keys_batches);
BENCHMARK_TEMPLATE(seal, crypto::Aead, Suite::kAes256Gcm)->Name("seal/gcm/ours")->Apply(sizes_keys_batches);
BENCHMARK_TEMPLATE(seal, crypto::AeadRef, Suite::kAes256Gcm)->Name("seal/gcm/openssl")->Apply(sizes);
BENCHMARK_TEMPLATE(open, RawImb, Suite::kAes256Gcm)->Name("open/gcm/raw_imb")->Apply(sizes_keys_batches);
BENCHMARK_TEMPLATE(open, crypto::Aead, Suite::kAes256Gcm)->Name("open/gcm/ours")->Apply(sizes_keys_batches);
BENCHMARK_TEMPLATE(open, crypto::AeadRef, Suite::kAes256Gcm)->Name("open/gcm/openssl")->Apply(sizes);
BENCHMARK_TEMPLATE(seal, crypto::Aead, Suite::kChaCha20Poly1305)->Name("seal/chacha/ours")->Apply(sizes);
BENCHMARK_TEMPLATE(seal, crypto::AeadRef, Suite::kChaCha20Poly1305)
    ->Name("seal/chacha/openssl")
    ->Apply(sizes);
BENCHMARK_TEMPLATE(open, crypto::Aead, Suite::kChaCha20Poly1305)->Name("open/chacha/ours")->Apply(sizes);
BENCHMARK_TEMPLATE(open, crypto::AeadRef, Suite::kChaCha20Poly1305)
    ->Name("open/chacha/openssl")
    ->Apply(sizes);

}  // namespace

int main(int argc, char** argv) {
  benchmark::AddCustomContext("aead_kernels", crypto::Aead().arch());
  benchmark::AddCustomContext("ipsec_mb", IMB_VERSION_STR);
  benchmark::AddCustomContext("key_slot_bytes", std::to_string(sizeof(KeySlot)));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
