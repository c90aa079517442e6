// The state store on disk: SQLite, one writer (this gateway), WAL with synchronous FULL. The only user of
// sqlite3.h.
//
// Thread: control core. Errors are StoreError with what happened and what to do; a store that is missing,
// unwritable, locked by another gateway, damaged, or that belongs to another gateway is refused: never a
// silent start at epoch 0.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "dataplane/state_dir.h"
#include "session/epoch_store.h"

namespace dataplane {

class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// DIRECTORY/epochs.db, mode 0600; DIRECTORY/lock names the holder. `host` is the identity of this machine: a
// store of another gateway or host is refused, for that one may still be using the same secrets.
class SqliteStore final : public session::EpochStore {
 public:
  // Creates a new store in `directory` (mode 0700; `phantom-gateway --init-state`). Refuses if there is one
  // already.
  static void create(const std::string& directory, const std::string& gateway_name,
                     const std::string& host = host_identity());
  // Takes an existing store over for this gateway and host (`--adopt-state`), when it is certain that no
  // other uses it.
  static void adopt(const std::string& directory, const std::string& gateway_name,
                    const std::string& host = host_identity());
  // Opens it; throws StoreError.
  SqliteStore(const std::string& directory, const std::string& gateway_name,
              const std::string& host = host_identity());
  ~SqliteStore() override;

  std::optional<session::StoreRecord> load(const session::Fingerprint& fingerprint) override;
  // Refuses (StoreError) a record whose `taken` is lower than the stored one; then none of them is written.
  void commit(std::span<const session::StoreRecord> records) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dataplane
