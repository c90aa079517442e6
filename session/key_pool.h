// Control's side of a shard's expanded keys: allocates slots, expands into them, wipes them when they come
// back.
//
// Owner: control core. A slot is written only between allocate() and the message that hands its index to the
// worker, and again only after the worker returned it, so the two never meet.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "session/hot.h"

namespace session {

class KeyPool {
 public:
  explicit KeyPool(std::span<crypto::KeySlot> slots);
  [[nodiscard]] std::uint32_t allocate();  // kNone when empty
  void release(std::uint32_t index);       // wipes
  [[nodiscard]] crypto::KeySlot& slot(std::uint32_t index) { return slots_[index]; }
  [[nodiscard]] std::uint32_t free_count() const { return static_cast<std::uint32_t>(free_.size()); }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }

 private:
  std::span<crypto::KeySlot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<bool> in_use_;  // a double release is a bug that must not corrupt keys
};

}  // namespace session
