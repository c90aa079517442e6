#include "bench/aead_clock.h"

#include "bench/samples.h"
#include "crypto/aead.h"

namespace bench {

AeadClock aead_clock;

namespace {

void note(std::uint64_t begin, std::uint64_t end, unsigned n) {
  if (aead_clock.calls++ == 0) aead_clock.first_begin = begin;
  aead_clock.cycles += end - begin;
  aead_clock.last_end = end;
  aead_clock.jobs += n;
}

}  // namespace

// The engine's own functions, and what the linker calls in their place.
void engine_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__real__ZNK6crypto4Aead10seal_batchEPKNS_7AeadJobEj");
std::uint64_t engine_open(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__real__ZNK6crypto4Aead10open_batchEPKNS_7AeadJobEj");
void timed_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__wrap__ZNK6crypto4Aead10seal_batchEPKNS_7AeadJobEj");
std::uint64_t timed_open(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__wrap__ZNK6crypto4Aead10open_batchEPKNS_7AeadJobEj");

void timed_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept {
  const std::uint64_t begin = stamp();
  engine_seal(engine, jobs, n);
  note(begin, stamp(), n);
}

std::uint64_t timed_open(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept {
  const std::uint64_t begin = stamp();
  const std::uint64_t opened = engine_open(engine, jobs, n);
  note(begin, stamp(), n);
  return opened;
}

}  // namespace bench
