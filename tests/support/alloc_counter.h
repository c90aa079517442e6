// Counts heap allocations of the whole process. Linking alloc_counter.cc replaces malloc and its family;
// under a sanitizer, which owns them, its hooks are used instead.
#pragma once

#include <cstdint>

namespace support {

[[nodiscard]] std::uint64_t allocations();

}  // namespace support
