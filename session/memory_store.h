// An EpochStore in memory, which can be made to fail: for tests and for programs that prove something within
// one life of the process. It forgets with the process, so a gateway must never use it (a restart would reuse
// nonces).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "session/epoch_store.h"

namespace session {

class MemoryStore final : public EpochStore {
 public:
  std::optional<StoreRecord> load(const Fingerprint& fingerprint) override;
  void commit(std::span<const StoreRecord> records) override;

  // While set, commit() throws std::runtime_error and changes nothing, as a full disk would.
  void fail(bool on) { failing_ = on; }
  [[nodiscard]] std::uint64_t commits() const { return commits_; }

 private:
  std::map<Fingerprint, StoreRecord> records_;
  std::uint64_t commits_ = 0;
  bool failing_ = false;
};

}  // namespace session
