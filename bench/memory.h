// How much memory a benchmark may still take.
#pragma once

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

namespace bench {

// MemAvailable of the kernel, bytes; 0 where it does not say.
inline std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kib = 0;
    if (words >> name >> kib && name == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

}  // namespace bench
