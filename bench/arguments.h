// Arguments of a benchmark program's own, beside those of Google Benchmark.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace bench {

// Takes `name N` out of the arguments: N within 1 to `most`, or `otherwise` where it isn't given.
inline std::uint32_t take_number(int& argc, char** argv, const char* name, std::uint32_t most,
                                 std::uint32_t otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) != 0) continue;
    const unsigned long number = std::strtoul(argv[i + 1], nullptr, 10);
    std::rotate(argv + i, argv + i + 2, argv + argc);
    argc -= 2;
    return static_cast<std::uint32_t>(std::clamp(number, 1UL, 1UL * most));
  }
  return otherwise;
}

}  // namespace bench
