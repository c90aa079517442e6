// Stands in for OpenSSL's generator, so that what the product draws comes from a seed as well. The product
// has no such switch: only tests that link this file and make one of these have it. Thread: one.
#pragma once

#include <cstdint>

namespace support {

// While it exists RAND_bytes() of this process, hence crypto::random_bytes(), goes by the seed.
class SeededRandom {
 public:
  explicit SeededRandom(std::uint64_t seed);
  ~SeededRandom();
  SeededRandom(const SeededRandom&) = delete;
  SeededRandom& operator=(const SeededRandom&) = delete;
};

}  // namespace support
