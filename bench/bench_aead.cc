// Seal and open: our engine beside raw ipsec-mb calls, with and without keys prefetched by hand, and
// OpenSSL's EVP, in the same run.
//
// Arguments: text bytes, number of keys, batch. Each burst takes the next keys of a shuffled order, so 65,536
// keys miss the caches as a gateway with that many busy sessions would. cycles_per_packet (median) and
// cycles_per_packet_min are of samples of 64 packets; the ratio of two rows with the same arguments is the
// figure that travels between machines. A million keys take 1 GiB; rows that find no memory say so.
//
// Opening is measured with a genuine tag: the ciphertext is restored before every sample, outside the clock.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/aead_engines.h"
#include "bench/memory.h"
#include "bench/samples.h"
#include "crypto/secret.h"

namespace {

using bench::OpenSslEvp;
using bench::RawImb;
using bench::RawImbPrefetched;
using bench::stamp;
using crypto::AeadJob;
using crypto::KeySlot;
using crypto::kMaxBatch;
using crypto::kTagBytes;
using crypto::Suite;

constexpr std::uint16_t kHeaderBytes = 45;
constexpr std::size_t kBufferBytes = 2048;  // a packet buffer: header, length field, text, tag
constexpr std::size_t kTextAt = 49;
constexpr std::size_t kSpareBytes = std::size_t{512} << 20;  // left to everyone else
// Contexts of OpenSSL's are some KiB each, wherever the allocator puts them.
constexpr std::size_t kEvpBytes = 4096;

// An engine and the keys it expanded, in the memory that gateways keep keys in. One pool at a time: what
// other engines had goes when the next asks.
template <class Engine>
struct Pool {
  Engine engine;
  std::unique_ptr<crypto::SecureBlock> memory;
  std::size_t keys = 0;
  [[nodiscard]] KeySlot* slots() const { return reinterpret_cast<KeySlot*>(memory->data()); }
};

template <class Engine>
std::size_t bytes_for(std::size_t keys) {
  return keys * (sizeof(KeySlot) + (std::is_same_v<Engine, OpenSslEvp> ? kEvpBytes : 0));
}

// One key in every slot, so that a burst sealed once opens under whatever slots come next: where the slots
// lie is what matters, not what they hold. OpenSSL's contexts lie elsewhere, so each slot has its own.
template <class Engine>
void expand_all(Pool<Engine>& pool, Suite suite, std::size_t keys) {
  constexpr std::array<std::uint8_t, crypto::kKeyBytes> kRaw{1, 2, 3};
  pool.memory = std::make_unique<crypto::SecureBlock>(keys * sizeof(KeySlot));
  pool.keys = keys;
  pool.engine.expand_key(suite, kRaw, pool.slots()[0]);
  for (std::size_t i = 1; i < keys; ++i) {
    if constexpr (std::is_same_v<Engine, OpenSslEvp>) {
      pool.engine.expand_key(suite, kRaw, pool.slots()[i]);
    } else {
      pool.slots()[i] = pool.slots()[0];
    }
  }
}

// The pool in use, of whichever engine.
std::shared_ptr<void> held;

// Null when there is no memory for so many keys.
template <class Engine, Suite kSuite>
std::shared_ptr<Pool<Engine>> pool_of(std::size_t keys) {
  static std::weak_ptr<Pool<Engine>> mine;
  std::shared_ptr<Pool<Engine>> pool = mine.lock();
  if (pool && pool->keys >= keys) return pool;
  pool.reset();
  held.reset();
  if (bytes_for<Engine>(keys) + kSpareBytes > bench::available_memory()) return nullptr;
  pool = std::make_shared<Pool<Engine>>();
  expand_all(*pool, kSuite, keys);
  held = pool;
  mine = pool;
  return pool;
}

const std::vector<std::uint32_t>& shuffled(std::size_t keys) {
  static std::map<std::size_t, std::vector<std::uint32_t>> orders;
  std::vector<std::uint32_t>& order = orders[keys];
  if (order.empty()) {
    for (std::size_t i = 0; i < keys; ++i) order.push_back(static_cast<std::uint32_t>(i));
    std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  }
  return order;
}

// Buffers and jobs of one row; the jobs of a sample get their keys anew before it.
template <class Engine>
class Load {
 public:
  Load(const benchmark::State& state, Suite suite, const Pool<Engine>& pool)
      : pool_(pool),
        batch_(static_cast<unsigned>(state.range(2))),
        order_(shuffled(static_cast<std::size_t>(state.range(1)))),
        buffers_(kJobs * kBufferBytes, 0x5A),
        sealed_(kMaxBatch) {
    const auto text_bytes = static_cast<std::uint32_t>(state.range(0));
    for (unsigned i = 0; i < kJobs; ++i) {
      std::uint8_t* head = buffers_.data() + i * kBufferBytes;
      jobs_[i] = AeadJob{pool.slots(), head, head + kTextAt, text_bytes, kHeaderBytes, suite, 0, {}};
    }
    seal();
    for (unsigned i = 0; i < kMaxBatch; ++i) {
      sealed_[i].assign(jobs_[i].text, jobs_[i].text + text_bytes + kTagBytes);
    }
  }

  // What was behind the end of a sample is the begin of the next one.
  void next_keys() {
    for (unsigned i = 0; i < bench::kLookAhead; ++i) jobs_[i].key = jobs_[kMaxBatch + i].key;
    for (unsigned i = bench::kLookAhead; i < kJobs; ++i) {
      jobs_[i].key = &pool_.slots()[order_[next_]];
      if (++next_ == order_.size()) next_ = 0;
    }
  }
  // What was sealed at first, so that it can be opened again and again.
  void restore() {
    for (unsigned i = 0; i < kMaxBatch; ++i) std::memcpy(jobs_[i].text, sealed_[i].data(), sealed_[i].size());
  }

  void seal() const {
    for (unsigned at = 0; at < kMaxBatch; at += batch_) pool_.engine.seal_batch(&jobs_[at], batch_);
  }
  // How many opened.
  [[nodiscard]] unsigned open() const {
    int good = 0;
    for (unsigned at = 0; at < kMaxBatch; at += batch_) {
      good += __builtin_popcountll(pool_.engine.open_batch(&jobs_[at], batch_));
    }
    return static_cast<unsigned>(good);
  }

 private:
  static constexpr unsigned kJobs = kMaxBatch + bench::kLookAhead;
  const Pool<Engine>& pool_;
  unsigned batch_;
  const std::vector<std::uint32_t>& order_;
  std::vector<std::uint8_t> buffers_;
  std::vector<std::vector<std::uint8_t>> sealed_;
  std::array<AeadJob, kJobs> jobs_{};
  std::size_t next_ = 0;
};

template <class Engine, Suite kSuite, bool kSeal>
void run(benchmark::State& state) {
  const auto pool = pool_of<Engine, kSuite>(static_cast<std::size_t>(state.range(1)));
  if (!pool) {
    state.SkipWithError("not enough memory for so many keys");
    return;
  }
  Load<Engine> load(state, kSuite, *pool);
  bench::Samples samples;
  unsigned good = kMaxBatch;
  for (auto _ : state) {
    load.next_keys();
    if (!kSeal) load.restore();
    const std::uint64_t begin = stamp();
    if constexpr (kSeal) {
      load.seal();
    } else {
      good = std::min(good, load.open());
    }
    samples.add(static_cast<double>(stamp() - begin) / kMaxBatch);
  }
  bench::put(state, "cycles_per_packet", samples);
  if (good != kMaxBatch) state.SkipWithError("a genuine packet was refused");
}

constexpr std::int64_t kMostKeys = 1'048'576;

void all(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bytes", "keys", "batch"});
  b->ArgsProduct({{64, 128, 256, 512, 1024, 1420}, {1, 1024, 65536, kMostKeys}, {1, 8, 32, 64}});
}
void some(benchmark::internal::Benchmark* b) {
  b->ArgNames({"bytes", "keys", "batch"});
  b->ArgsProduct({{64, 512, 1420}, {1, 65536}, {32}});
}

constexpr Suite kGcm = Suite::kAes256Gcm;
constexpr Suite kChaCha = Suite::kChaCha20Poly1305;
BENCHMARK_TEMPLATE(run, RawImb, kGcm, true)->Name("seal/gcm/raw_imb")->Apply(all);
BENCHMARK_TEMPLATE(run, RawImb, kGcm, false)->Name("open/gcm/raw_imb")->Apply(all);
BENCHMARK_TEMPLATE(run, RawImbPrefetched, kGcm, true)->Name("seal/gcm/raw_imb_prefetched")->Apply(all);
BENCHMARK_TEMPLATE(run, RawImbPrefetched, kGcm, false)->Name("open/gcm/raw_imb_prefetched")->Apply(all);
BENCHMARK_TEMPLATE(run, crypto::Aead, kGcm, true)->Name("seal/gcm/ours")->Apply(all);
BENCHMARK_TEMPLATE(run, crypto::Aead, kGcm, false)->Name("open/gcm/ours")->Apply(all);
BENCHMARK_TEMPLATE(run, OpenSslEvp, kGcm, true)->Name("seal/gcm/openssl")->Apply(some);
BENCHMARK_TEMPLATE(run, OpenSslEvp, kGcm, false)->Name("open/gcm/openssl")->Apply(some);
BENCHMARK_TEMPLATE(run, crypto::Aead, kChaCha, true)->Name("seal/chacha/ours")->Apply(some);
BENCHMARK_TEMPLATE(run, crypto::Aead, kChaCha, false)->Name("open/chacha/ours")->Apply(some);
BENCHMARK_TEMPLATE(run, OpenSslEvp, kChaCha, true)->Name("seal/chacha/openssl")->Apply(some);
BENCHMARK_TEMPLATE(run, OpenSslEvp, kChaCha, false)->Name("open/chacha/openssl")->Apply(some);

}  // namespace

int main(int argc, char** argv) {
  benchmark::AddCustomContext("aead_kernels", crypto::Aead().arch());
  benchmark::AddCustomContext("ipsec_mb", IMB_VERSION_STR);
  benchmark::AddCustomContext("key_slot_bytes", std::to_string(sizeof(KeySlot)));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  held.reset();
  benchmark::Shutdown();
  return 0;
}
