#include "session/key_pool.h"

#include "crypto/secret.h"

namespace session {

KeyPool::KeyPool(std::span<crypto::KeySlot> slots) : slots_(slots), in_use_(slots.size(), false) {
  free_.reserve(slots.size());
  for (std::size_t i = slots.size(); i > 0; --i) free_.push_back(static_cast<std::uint32_t>(i - 1));
}

std::uint32_t KeyPool::allocate() {
  if (free_.empty()) return kNone;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  in_use_[index] = true;
  return index;
}

void KeyPool::release(std::uint32_t index) {
  if (index >= slots_.size() || !in_use_[index]) return;
  crypto::wipe(&slots_[index], sizeof(crypto::KeySlot));
  in_use_[index] = false;
  free_.push_back(index);
}

}  // namespace session
