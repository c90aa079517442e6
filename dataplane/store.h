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

#include "session/epoch_store.h"

namespace dataplane {

class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class SqliteStore final : public session::EpochStore {
 public:
  // Creates a new store in `directory` (mode 0700; `phantom-gateway --init-state`). Refuses if there is one
  // already.
  static void create(const std::string& directory, const std::string& gateway_name);
  // Takes an existing store over for this gateway and host (`--adopt-state`), when it is certain that no
  // other uses it.
  static void adopt(const std::string& directory, const std::string& gateway_name);
  // Opens it; throws StoreError.
  SqliteStore(const std::string& directory, const std::string& gateway_name);
  ~SqliteStore() override;

  std::optional<session::StoreRecord> load(const session::Fingerprint& fingerprint) override;
  void commit(std::span<const session::StoreRecord> records) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dataplane
