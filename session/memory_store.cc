#include "session/memory_store.h"

#include <stdexcept>

namespace session {

std::optional<StoreRecord> MemoryStore::load(const Fingerprint& fingerprint) {
  const auto found = records_.find(fingerprint);
  if (found == records_.end()) return std::nullopt;
  return found->second;
}

void MemoryStore::commit(std::span<const StoreRecord> records) {
  if (failing_) throw std::runtime_error("the store in memory was told to fail");
  for (const StoreRecord& record : records) records_[record.fingerprint] = record;
  ++commits_;
}

}  // namespace session
