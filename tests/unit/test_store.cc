// The state store: what it refuses and with which advice, durability, and the restart rule inside the file.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/store.h"

namespace dataplane {
namespace {

namespace fs = std::filesystem;
using session::StoreRecord;

StoreRecord record_of(std::uint8_t name, std::uint8_t taken) {
  StoreRecord r;
  r.fingerprint.fill(name);
  r.session_id.fill(static_cast<std::uint8_t>(name + 1));
  r.taken = taken;
  r.peer_epoch = 3;
  r.incarnations = 2;
  for (unsigned i = 0; i < session::kTxStreams; ++i) r.seq_limit[i] = 0xfffffff0U + i;
  r.peer.family = 4;
  r.peer.address = {192, 0, 2, 7};
  r.peer.port = 4500;
  return r;
}

class Store : public testing::Test {
 protected:
  Store() {
    char name[] = "/tmp/phantom-store-XXXXXX";
    root_ = mkdtemp(name);
    dir_ = root_ + "/state";
  }
  ~Store() override {
    std::error_code error;
    fs::remove_all(root_, error);
  }
  void create() { SqliteStore::create(dir_, "gw", "host-a"); }
  std::unique_ptr<SqliteStore> open(const std::string& gateway = "gw", const std::string& host = "host-a") {
    return std::make_unique<SqliteStore>(dir_, gateway, host);
  }
  // Text of the refusal, or nothing.
  std::string refusal(const std::string& gateway = "gw", const std::string& host = "host-a") {
    try {
      open(gateway, host);
    } catch (const StoreError& error) {
      return error.what();
    }
    return {};
  }
  static void commit(SqliteStore& store, const StoreRecord& record) { store.commit({&record, 1}); }

  std::string root_;
  std::string dir_;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "in: " << text;
}

TEST_F(Store, KeepsRecordsAcrossReopening) {
  create();
  commit(*open(), record_of(1, 9));
  const auto found = open()->load(record_of(1, 0).fingerprint);
  ASSERT_TRUE(found);
  const StoreRecord expected = record_of(1, 9);
  EXPECT_EQ(found->session_id, expected.session_id);
  EXPECT_EQ(found->taken, 9);
  EXPECT_EQ(found->peer_epoch, 3);
  EXPECT_EQ(found->incarnations, 2U);
  EXPECT_EQ(found->seq_limit, expected.seq_limit);
  EXPECT_EQ(found->peer, expected.peer);
  EXPECT_FALSE(open()->load(record_of(2, 0).fingerprint));
}

TEST_F(Store, FilesAreForTheOwnerAlone) {
  create();
  const auto store = open();
  commit(*store, record_of(1, 1));
  EXPECT_EQ(fs::status(dir_).permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(dir_)) {
    EXPECT_EQ(entry.status().permissions(), fs::perms::owner_read | fs::perms::owner_write) << entry.path();
  }
}

TEST_F(Store, MissingOneIsRefusedWithTheCommandThatMakesIt) {
  expect_contains(refusal(), "missing");
  expect_contains(refusal(), "--init-state");
  expect_contains(refusal(), dir_);
  EXPECT_FALSE(fs::exists(dir_)) << "looking must not create anything";
}

TEST_F(Store, CreationLeavesAnExistingOneAlone) {
  create();
  commit(*open(), record_of(1, 9));
  EXPECT_THROW(create(), StoreError);
  EXPECT_EQ(open()->load(record_of(1, 0).fingerprint)->taken, 9);
}

TEST_F(Store, TakenNeverDecreases) {
  create();
  const auto store = open();
  commit(*store, record_of(1, 9));
  const std::vector<StoreRecord> batch = {record_of(2, 5), record_of(1, 8)};
  EXPECT_THROW(store->commit(batch), StoreError);
  EXPECT_EQ(store->load(batch[1].fingerprint)->taken, 9);
  EXPECT_FALSE(store->load(batch[0].fingerprint)) << "the whole transaction is undone";
  commit(*store, record_of(1, 9));
  commit(*store, record_of(1, 10));
  EXPECT_EQ(store->load(batch[1].fingerprint)->taken, 10);
}

TEST_F(Store, TwoHoldersAreRefusedByProcess) {
  create();
  const auto store = open();
  expect_contains(refusal(), "process " + std::to_string(getpid()));
  EXPECT_THROW(SqliteStore::adopt(dir_, "gw", "host-b"), StoreError);
}

TEST_F(Store, ForeignOneIsRefusedUntilAdopted) {
  create();
  commit(*open(), record_of(1, 9));
  expect_contains(refusal("gw", "host-b"), "host-a");
  expect_contains(refusal("gw", "host-b"), "--adopt-state");
  expect_contains(refusal("other"), "belongs to gateway \"gw\"");
  SqliteStore::adopt(dir_, "gw", "host-b");
  EXPECT_EQ(open("gw", "host-b")->load(record_of(1, 0).fingerprint)->taken, 9);
  expect_contains(refusal(), "host-b");
}

TEST_F(Store, DamageIsRefused) {
  create();
  {
    const auto store = open();
    std::vector<StoreRecord> many;
    for (unsigned i = 1; i < 200; ++i) many.push_back(record_of(static_cast<std::uint8_t>(i), 1));
    store->commit(many);
  }
  const auto bytes = fs::file_size(dir_ + "/epochs.db");
  ASSERT_GT(bytes, 16384U);
  std::fstream file(dir_ + "/epochs.db", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(bytes) - 8192);
  file << std::string(4096, '\x5a');
  file.close();
  expect_contains(refusal(), "damaged");
  expect_contains(refusal(), "new secrets");
}

TEST_F(Store, NoDatabaseAtAllIsRefused) {
  create();
  std::ofstream(dir_ + "/epochs.db", std::ios::trunc) << "this is not a database, but long enough to be read";
  expect_contains(refusal(), "damaged");
  std::ofstream(dir_ + "/epochs.db", std::ios::trunc).close();
  expect_contains(refusal(), "not a state store");
}

TEST_F(Store, NewerSchemaIsRefused) {
  create();
  // user_version of an SQLite file: big-endian at offset 60 of its header.
  std::fstream file(dir_ + "/epochs.db", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(63);
  file.put(2);
  file.close();
  expect_contains(refusal(), "newer");
}

TEST_F(Store, SurvivesKill) {
  create();
  const pid_t child = fork();
  if (child == 0) {
    const auto store = open();
    for (std::uint8_t taken = 1; taken <= 20; ++taken) commit(*store, record_of(1, taken));
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(open()->load(record_of(1, 0).fingerprint)->taken, 20);
}

// A file system of its own: in a private mount namespace when we may, so that nothing stays behind.
class StoreOnMount : public Store {
 protected:
  bool mount_tmpfs(const char* options) {
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) return false;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    fs::create_directories(dir_);
    mounted_ = mount("tmpfs", dir_.c_str(), "tmpfs", 0, options) == 0;
    return mounted_;
  }
  ~StoreOnMount() override {
    if (mounted_) umount2(dir_.c_str(), MNT_DETACH);
  }
  bool mounted_ = false;
};

TEST_F(StoreOnMount, ReadOnlyDirectoryIsRefused) {
  if (mount_tmpfs("size=1m,mode=0700")) {
    create();
    ASSERT_EQ(mount(nullptr, dir_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    expect_contains(refusal(), "cannot be written");
    EXPECT_THROW(SqliteStore::create(dir_ + "/below", "gw", "host-a"), StoreError);
    return;
  }
  create();
  ASSERT_EQ(chmod((dir_ + "/lock").c_str(), 0400), 0);
  ASSERT_EQ(chmod(dir_.c_str(), 0500), 0);
  // Root without the right to mount still writes everywhere.
  if (geteuid() != 0) expect_contains(refusal(), "cannot be written");
  ASSERT_EQ(chmod(dir_.c_str(), 0700), 0);
}

TEST_F(StoreOnMount, FullDiskFailsTheCommitAndChangesNothing) {
  const bool own_disk = mount_tmpfs("size=256k,mode=0700");
  create();
  const auto store = open();
  commit(*store, record_of(1, 1));
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  if (own_disk) {
    std::ofstream filler(dir_ + "/filler", std::ios::binary);
    while (filler.write(std::string(4096, 'x').data(), 4096)) {
    }
  } else {  // without the right to mount: files that may not grow
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{65536, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  std::string text;
  std::uint8_t taken = 2;
  for (; taken < 200 && text.empty(); ++taken) {
    try {
      commit(*store, record_of(1, taken));
    } catch (const StoreError& error) {
      text = error.what();
    }
  }
  expect_contains(text, own_disk ? "disk is full" : "cannot be written");
  const std::uint8_t last = static_cast<std::uint8_t>(taken - 2);
  EXPECT_EQ(store->load(record_of(1, 0).fingerprint)->taken, last);
  fs::remove(dir_ + "/filler");
  setrlimit(RLIMIT_FSIZE, &before);
  commit(*store, record_of(1, 200));
  EXPECT_EQ(store->load(record_of(1, 0).fingerprint)->taken, 200);
}

}  // namespace
}  // namespace dataplane
