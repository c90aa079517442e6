#include "dataplane/store.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "session/wire.h"

namespace dataplane {
namespace {

using session::StoreRecord;

constexpr int kApplicationId = 0x50684e54;  // "PhNT": tells our files from other SQLite databases
constexpr int kSchemaVersion = 1;

// The rule that `taken` never decreases lives in the file itself, so no program that writes it can break it.
constexpr const char* kSchema = R"sql(
CREATE TABLE meta(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  gateway TEXT NOT NULL,
  host TEXT NOT NULL,
  opens INTEGER NOT NULL
) STRICT;
CREATE TABLE sessions(
  fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
  session_id BLOB NOT NULL CHECK (length(session_id) = 32),
  taken INTEGER NOT NULL CHECK (taken BETWEEN 0 AND 255),
  peer_epoch INTEGER NOT NULL CHECK (peer_epoch BETWEEN 0 AND 255),
  incarnations INTEGER NOT NULL CHECK (incarnations >= 0),
  seq_limit BLOB NOT NULL CHECK (length(seq_limit) = 128),
  peer_family INTEGER NOT NULL CHECK (peer_family IN (0, 4, 6)),
  peer_address BLOB NOT NULL CHECK (length(peer_address) = 16),
  peer_port INTEGER NOT NULL CHECK (peer_port BETWEEN 0 AND 65535)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER taken_never_decreases BEFORE UPDATE ON sessions WHEN NEW.taken < OLD.taken
BEGIN SELECT RAISE(ABORT, 'an epoch that was taken cannot be given back'); END;
CREATE TRIGGER records_stay BEFORE DELETE ON sessions
BEGIN SELECT RAISE(ABORT, 'a record of used epochs cannot be deleted'); END;
)sql";

constexpr const char* kUpsert =
    "INSERT INTO sessions VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(fingerprint) DO UPDATE SET "
    "session_id=excluded.session_id, taken=excluded.taken, peer_epoch=excluded.peer_epoch, "
    "incarnations=excluded.incarnations, seq_limit=excluded.seq_limit, peer_family=excluded.peer_family, "
    "peer_address=excluded.peer_address, peer_port=excluded.peer_port";

constexpr const char* kSelect =
    "SELECT session_id,taken,peer_epoch,incarnations,seq_limit,peer_family,peer_address,peer_port "
    "FROM sessions WHERE fingerprint=?1";

std::string file_of(const std::string& directory) {
  return directory + "/epochs.db";
}

const char* advice(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return "the disk is full: free space on its file system";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return "it cannot be written: make directory and file writable for this user, on a file system that is "
             "not read-only";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "it is damaged. Do not restore an old copy: it would not know which epochs were used since, and "
             "nonces would repeat. Move the directory away, provide new secrets for all sessions to both "
             "ends, and run phantom-gateway --init-state CONFIG";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another program has it open: close that";
    case SQLITE_CONSTRAINT:
      return "the record was refused: this is a defect of the gateway or a record of other software; nothing "
             "was written";
    default:
      return "check the disk and the system log";
  }
}

// A connection; closes itself.
class Database {
 public:
  Database(std::string file, int flags) : file_(std::move(file)) {
    const int code = sqlite3_open_v2(file_.c_str(), &db_, flags | SQLITE_OPEN_EXRESCODE, nullptr);
    if (code == SQLITE_OK) return;
    const std::string text = error_text("cannot be opened");
    sqlite3_close(db_);
    throw StoreError(text);
  }
  ~Database() { sqlite3_close_v2(db_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  [[nodiscard]] std::string error_text(const std::string& doing) const {
    return "state store " + file_ + ": " + doing + ": " + sqlite3_errmsg(db_) + "; " +
           advice(sqlite3_errcode(db_));
  }
  [[noreturn]] void fail(const std::string& doing) const { throw StoreError(error_text(doing)); }
  void run(const char* sql, const std::string& doing) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(doing);
  }
  [[nodiscard]] bool in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }
  [[nodiscard]] sqlite3* raw() const { return db_; }
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  std::string file_;
  sqlite3* db_ = nullptr;
};

class Statement {
 public:
  Statement(Database& db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v2(db.raw(), sql, -1, &s_, nullptr) != SQLITE_OK) db.fail("cannot be read");
  }
  ~Statement() { sqlite3_finalize(s_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void blob(int at, const void* p, std::size_t bytes) {
    sqlite3_bind_blob(s_, at, p, static_cast<int>(bytes), SQLITE_TRANSIENT);
  }
  void text(int at, const std::string& value) {
    sqlite3_bind_text(s_, at, value.c_str(), -1, SQLITE_TRANSIENT);
  }
  void number(int at, std::int64_t value) { sqlite3_bind_int64(s_, at, value); }
  // True when there is a row.
  bool step(const char* doing) {
    const int code = sqlite3_step(s_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) db_.fail(doing);
    return code == SQLITE_ROW;
  }
  void reset() { sqlite3_reset(s_); }
  [[nodiscard]] std::int64_t number_at(int column) const { return sqlite3_column_int64(s_, column); }
  [[nodiscard]] std::string text_at(int column) const {
    const unsigned char* value = sqlite3_column_text(s_, column);
    return value == nullptr ? std::string() : reinterpret_cast<const char*>(value);
  }
  // Copies exactly `bytes`; anything else in the file is damage.
  void blob_at(int column, void* out, std::size_t bytes) const {
    const void* value = sqlite3_column_blob(s_, column);
    if (value == nullptr || static_cast<std::size_t>(sqlite3_column_bytes(s_, column)) != bytes) {
      throw StoreError("state store " + db_.file() + ": a record has a wrong size; " +
                       advice(SQLITE_CORRUPT));
    }
    std::memcpy(out, value, bytes);
  }

 private:
  Database& db_;
  sqlite3_stmt* s_ = nullptr;
};

// A statement that is kept ends what it was doing when its use ends, however that is.
class Reset {
 public:
  explicit Reset(Statement& statement) : statement_(statement) {}
  ~Reset() { statement_.reset(); }
  Reset(const Reset&) = delete;
  Reset& operator=(const Reset&) = delete;

 private:
  Statement& statement_;
};

std::string pragma(Database& db, const char* sql) {
  Statement statement(db, sql);
  return statement.step("cannot be read") ? statement.text_at(0) : std::string();
}

// Everything or nothing: unless committed, what was done is undone.
class Transaction {
 public:
  explicit Transaction(Database& db) : db_(db) { db.run("BEGIN IMMEDIATE", "cannot be written"); }
  ~Transaction() {
    if (db_.in_transaction()) sqlite3_exec(db_.raw(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() { db_.run("COMMIT", "cannot be written"); }

 private:
  Database& db_;
};

void require_existing(const std::string& file) {
  if (state_file_exists(file)) return;
  throw StoreError("state store " + file +
                   ": missing. For a gateway that never ran with these secrets: phantom-gateway --init-state "
                   "CONFIG. If it did run and the store was lost, provide new secrets to both ends first: "
                   "with the old ones nonces would repeat");
}

void check_integrity(Database& db) {
  const std::string found = pragma(db, "PRAGMA quick_check(1)");
  if (found != "ok") {
    throw StoreError("state store " + db.file() + ": " + found + "; " + advice(SQLITE_CORRUPT));
  }
}

void check_schema(Database& db) {
  if (pragma(db, "PRAGMA application_id") != std::to_string(kApplicationId)) {
    throw StoreError("state store " + db.file() + ": this is not a state store of phantom-gateway. " +
                     "Check state_dir; an empty directory is set up by phantom-gateway --init-state CONFIG");
  }
  const std::string version = pragma(db, "PRAGMA user_version");
  if (version == std::to_string(kSchemaVersion)) return;
  throw StoreError("state store " + db.file() + ": written by a newer phantom-gateway (schema " + version +
                   ", this one knows " + std::to_string(kSchemaVersion) +
                   "): run that version or a newer one");
}

void check_owner(Database& db, const std::string& gateway, const std::string& host) {
  Statement owner(db, "SELECT gateway, host FROM meta");
  if (!owner.step("cannot be read")) {
    throw StoreError("state store " + db.file() + ": it names no owner; " + advice(SQLITE_CORRUPT));
  }
  const std::string other = owner.text_at(0);
  const std::string other_host = owner.text_at(1);
  if (other == gateway && other_host == host) return;
  throw StoreError("state store " + db.file() + ": belongs to gateway \"" + other + "\" on host " +
                   other_host + ", this is \"" + gateway + "\" on host " + host +
                   ". If that one will never run again with these secrets, take it over by phantom-gateway "
                   "--adopt-state CONFIG; else use --init-state with another state_dir and new secrets");
}

// WAL with FULL: a commit is on stable storage when it returns. EXCLUSIVE keeps every other process out.
void set_up(Database& db) {
  db.run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON",
         "cannot be read");
  check_integrity(db);
  check_schema(db);
  if (pragma(db, "PRAGMA journal_mode=WAL") != "wal") {
    throw StoreError("state store " + db.file() +
                     ": its file system does not support SQLite's write-ahead log: use a local one");
  }
  db.run("PRAGMA synchronous=FULL", "cannot be written");
}

void write_new(const std::string& file, const std::string& gateway, const std::string& host) {
  Database db(file, SQLITE_OPEN_READWRITE);
  db.run("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL", "cannot be written");
  Transaction transaction(db);
  db.run(kSchema, "cannot be created");
  db.run(("PRAGMA application_id=" + std::to_string(kApplicationId)).c_str(), "cannot be created");
  db.run(("PRAGMA user_version=" + std::to_string(kSchemaVersion)).c_str(), "cannot be created");
  Statement meta(db, "INSERT INTO meta VALUES(1,?1,?2,0)");
  meta.text(1, gateway);
  meta.text(2, host);
  meta.step("cannot be created");
  transaction.commit();
}

void bind(Statement& s, const StoreRecord& r) {
  std::array<std::uint8_t, 4 * session::kTxStreams> limits;
  for (unsigned i = 0; i < session::kTxStreams; ++i) session::store_be32(&limits[i * 4], r.seq_limit[i]);
  s.blob(1, r.fingerprint.data(), r.fingerprint.size());
  s.blob(2, r.session_id.data(), r.session_id.size());
  s.number(3, r.taken);
  s.number(4, r.peer_epoch);
  s.number(5, r.incarnations);
  s.blob(6, limits.data(), limits.size());
  s.number(7, r.peer.family);
  s.blob(8, r.peer.address.data(), r.peer.address.size());
  s.number(9, r.peer.port);
}

StoreRecord unbind(const Statement& s, const session::Fingerprint& fingerprint) {
  StoreRecord r;
  std::array<std::uint8_t, 4 * session::kTxStreams> limits;
  r.fingerprint = fingerprint;
  s.blob_at(0, r.session_id.data(), r.session_id.size());
  r.taken = static_cast<std::uint8_t>(s.number_at(1));
  r.peer_epoch = static_cast<std::uint8_t>(s.number_at(2));
  r.incarnations = static_cast<std::uint32_t>(s.number_at(3));
  s.blob_at(4, limits.data(), limits.size());
  for (unsigned i = 0; i < session::kTxStreams; ++i) r.seq_limit[i] = session::load_be32(&limits[i * 4]);
  r.peer.family = static_cast<std::uint8_t>(s.number_at(5));
  s.blob_at(6, r.peer.address.data(), r.peer.address.size());
  r.peer.port = static_cast<std::uint16_t>(s.number_at(7));
  return r;
}

}  // namespace

struct SqliteStore::Impl {
  explicit Impl(const std::string& directory)
      : lock(directory), db(file_of(directory), SQLITE_OPEN_READWRITE) {}
  // Prepared with their first use, kept: preparing takes longer than looking one record up.
  Statement& prepared(std::optional<Statement>& statement, const char* sql) {
    if (!statement) statement.emplace(db, sql);
    return *statement;
  }
  StateLock lock;
  Database db;
  std::optional<Statement> select, upsert;
};

void SqliteStore::create(const std::string& directory, const std::string& gateway_name,
                         const std::string& host) {
  make_state_directory(directory);
  const StateLock lock(directory);
  const std::string file = file_of(directory);
  if (state_file_exists(file)) {
    throw StoreError("state store " + file +
                     ": exists already and is left alone. Start the gateway with it; a new one under the "
                     "same secrets would repeat nonces");
  }
  // Complete before it gets its name: a crash leaves no half-made store.
  const std::string fresh = file + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    throw StoreError("state store " + fresh + ": cannot be created: " + std::strerror(errno) + "; " +
                     advice(errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN));
  }
  close(fd);
  try {
    write_new(fresh, gateway_name, host);
    sync_directory(directory);
    if (std::rename(fresh.c_str(), file.c_str()) != 0) {
      throw StoreError("state store " + file + ": cannot be created: " + std::strerror(errno));
    }
  } catch (...) {
    unlink(fresh.c_str());
    throw;
  }
  sync_directory(directory);
}

void SqliteStore::adopt(const std::string& directory, const std::string& gateway_name,
                        const std::string& host) {
  require_existing(file_of(directory));
  Impl impl(directory);
  set_up(impl.db);
  Transaction transaction(impl.db);
  Statement owner(impl.db, "UPDATE meta SET gateway=?1, host=?2");
  owner.text(1, gateway_name);
  owner.text(2, host);
  owner.step("cannot be written");
  transaction.commit();
}

SqliteStore::SqliteStore(const std::string& directory, const std::string& gateway_name,
                         const std::string& host) {
  require_existing(file_of(directory));
  impl_ = std::make_unique<Impl>(directory);
  set_up(impl_->db);
  check_owner(impl_->db, gateway_name, host);
  impl_->db.run("UPDATE meta SET opens = opens + 1", "cannot be written");  // proves that writing works
}

SqliteStore::~SqliteStore() = default;

std::optional<StoreRecord> SqliteStore::load(const session::Fingerprint& fingerprint) {
  Statement& select = impl_->prepared(impl_->select, kSelect);
  const Reset after(select);
  select.blob(1, fingerprint.data(), fingerprint.size());
  if (!select.step("cannot be read")) return std::nullopt;
  return unbind(select, fingerprint);
}

void SqliteStore::commit(std::span<const StoreRecord> records) {
  if (records.empty()) return;
  Transaction transaction(impl_->db);
  Statement& upsert = impl_->prepared(impl_->upsert, kUpsert);
  const Reset after(upsert);
  for (const StoreRecord& record : records) {
    bind(upsert, record);
    upsert.step("cannot be written");
    upsert.reset();
  }
  transaction.commit();
}

}  // namespace dataplane
