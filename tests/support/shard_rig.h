// A shard on plain memory, with a control that keeps books on every key it handed in, for tests. Key slots
// hold no keys: what a shard decides depends on their indices alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/shard.h"
#include "session/shard_commands.h"

namespace support {

inline session::ShardLimits small_shard() {
  session::ShardLimits limits;
  limits.sessions = 4;
  limits.keys = 512;
  limits.windows = 32;
  limits.window_bits = 1024;
  limits.streams_per_session = 8;
  limits.tombstones = 8;
  limits.tombstones_per_session = 4;
  limits.older_blocks = 2;
  limits.previous_pkts = 1000;
  limits.path_sets = 2;
  return limits;
}

// A plan of `count` paths for slot 0, generation 1: path i has id i, source tag 100 + i and carries every
// stream s with s % count == i, without copies.
inline session::PathPlan plan_of(unsigned count) {
  session::PathPlan plan;
  plan.slot = 0;
  plan.generation = 1;
  plan.count = count;
  for (unsigned i = 0; i < count; ++i) {
    plan.outer[i].length = 28;
    plan.outer[i].inner_mtu = static_cast<std::uint16_t>(1400 + 10 * i);
    plan.outer[i].path_id = static_cast<std::uint8_t>(i);
    plan.source_tag[i] = 100 + i;
  }
  for (unsigned s = 0; s < session::kTxStreams; ++s) plan.primary[s] = static_cast<std::uint8_t>(s % count);
  plan.second.fill(session::kNoPathSlot);
  return plan;
}

class ShardRig {
 public:
  explicit ShardRig(const session::ShardLimits& limits = small_shard())
      : memory_((session::Shard::bytes_needed(limits) + sizeof(Line) - 1) / sizeof(Line)),
        slots_(limits.keys),
        shard_(limits, slots_, std::as_writable_bytes(std::span(memory_))),
        commands_(shard_) {
    for (std::uint32_t i = limits.keys; i-- > 0;) free_.push_back(i);
  }

  session::Shard& shard() { return shard_; }
  session::ShardCommands& commands() { return commands_; }
  session::SessionHot& hot(std::uint32_t slot = 0) { return shard_.hot(slot); }

  // Keys of an epoch that no other reference holds.
  session::KeyRef make_ref(unsigned epoch, bool receive_only = false) {
    session::KeyRef ref;
    ref.recv_key = take_key();
    if (!receive_only) ref.send_key = take_key();
    ref.epoch = static_cast<std::uint8_t>(epoch);
    ref.nonce_prefix = {ref.epoch, 1, 2, 3};
    ref.valid = true;
    return ref;
  }

  session::SessionInit make_init(std::uint32_t slot, std::uint32_t generation, unsigned epoch = 0) {
    session::SessionInit init;
    init.id.fill(static_cast<std::uint8_t>(slot + 1));
    init.slot = slot;
    init.generation = generation;
    init.current = make_ref(epoch);
    init.seq_limit.fill(1'000'000);
    return init;
  }

  // A session in slot 0, generation 1.
  void add(unsigned epoch = 0) { ASSERT_TRUE(commands_.add(make_init(0, 1, epoch))); }
  void install_next(std::uint32_t slot = 0, std::uint32_t generation = 1) {
    ASSERT_TRUE(commands_.install_next(slot, generation, make_ref(hot(slot).current.epoch + 1U)));
  }
  // Own rekeys until `epoch` is current.
  void rekey_to(unsigned epoch) {
    while (hot().current.epoch < epoch) {
      install_next();
      ASSERT_TRUE(commands_.rekey(0, 1));
    }
  }

  // Takes what the shard gave up; a key that was not out, or comes twice, fails.
  std::vector<std::uint32_t> take_retired() {
    std::vector<std::uint32_t> taken;
    for (std::uint32_t key = 0; shard_.retired_front(key); shard_.retired_pop()) {
      EXPECT_EQ(out_.erase(key), 1U) << "key " << key << " came back without being out";
      free_.push_back(key);
      taken.push_back(key);
    }
    return taken;
  }
  bool is_out(std::uint32_t key) const { return out_.count(key) != 0; }
  std::size_t keys_out() const { return out_.size(); }
  std::size_t keys_free() const { return free_.size(); }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::uint32_t take_key() {
    const std::uint32_t key = free_.back();
    free_.pop_back();
    out_.insert(key);
    return key;
  }

  std::vector<Line> memory_;
  std::vector<crypto::KeySlot> slots_;
  session::Shard shard_;
  session::ShardCommands commands_;
  std::vector<std::uint32_t> free_;
  std::set<std::uint32_t> out_;
};

}  // namespace support
