// Two path managers over a network that loses, delays, reorders and repeats packets, moves either end to
// other addresses, with and without the old one living on, and cuts everything for a while, while strangers
// re-send packets from elsewhere. What holds in every interleaving:
//
//  1. Once the network is well again, both sides send over live addresses and all data arrives.
//  2. Every attempt ends: with the network quiet nothing stays in validation, and no deadline lies in the
//  past.
//  3. No address that was not proven gets three times the bytes that came from it.
//  4. Traffic goes to addresses alone that the peer's own packets answered from: never to a stranger's.
//  5. A slot moves at most every 100 ms.
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "tests/support/path_net.h"

namespace {

using session::PathEnds;
using session::PathManager;
using session::PathPolicy;
using session::PathScheduler;
using support::kMs;
using support::kSecond;
using support::PathNet;
using support::v4;
using support::v6;

struct Op {
  std::uint8_t kind;
  std::uint8_t arg;
  std::uint16_t ms;
};
void showValue(const Op& op, std::ostream& os) {
  os << "{" << unsigned{op.kind} << "," << unsigned{op.arg} << "," << op.ms << "}";
}

const session::Endpoint kA = v4(1);
const session::Endpoint kA2 = v4(2);
const session::Endpoint kB = v4(10);
const session::Endpoint kB2 = v4(11);
constexpr std::uint8_t kStranger = 200;  // last byte of every stranger's address

class World {
 public:
  World(std::uint8_t scheduler, bool two, std::uint64_t seed) : two_(two) {
    PathPolicy policy;
    policy.scheduler = static_cast<PathScheduler>(scheduler % 3);
    std::vector<PathEnds> first{{kA, kB}};
    std::vector<PathEnds> second{{kB, kA}};
    if (two) {
      first.push_back({kA2, kB2});
      second.push_back({kB2, kA2});
    }
    net_ = std::make_unique<PathNet>(policy, first, second, seed);
    net_->data_gap_ns = {5 * kMs, 5 * kMs};
    net_->tap = [this](const PathNet::Packet& p) { watch(p); };
    net_->nowhere = [](const PathNet::Packet& p) { return p.as_sent.remote.address[3] == kStranger; };
  }

  void apply(const Op& op) {
    PathNet& n = *net_;
    switch (op.kind % 9) {
      case 0:
        n.loss_per_mille = op.arg % 4 == 0 ? 300 : op.arg % 50;
        break;
      case 1:
        n.jitter_ns = op.arg % 40 * kMs;
        n.delay_ns = (1 + op.arg % 60) * kMs;
        break;
      case 2:
        n.repeat_per_mille = op.arg;
        break;
      case 3:
      case 4:
        n.remap(two_ && op.arg % 3 == 0 ? kA2 : kA, fresh(op.arg), op.kind % 9 == 3);
        break;
      case 5:  // an operator; the other end of it works
        (void)n.side[op.arg % 2].pm->migrate(0,
                                             op.arg % 2 == 0
                                                 ? PathEnds{v4(static_cast<std::uint8_t>(5 + op.arg % 3)), kB}
                                                 : PathEnds{kB, outside(kA)},
                                             n.now);
        break;
      case 6:
        n.cut = [](const PathNet::Packet&) { return true; };
        n.run(op.ms * kMs);
        n.cut = nullptr;
        break;
      case 7:
        stranger(op.arg);
        break;
      case 8:
        n.data_gap_ns = {op.arg % 2 == 0 ? 0 : 5 * kMs, op.arg % 4 < 2 ? 0 : 3 * kMs};
        break;
    }
    n.run(op.ms * kMs);
    bounded();
  }

  void heal() {
    PathNet& n = *net_;
    n.loss_per_mille = n.repeat_per_mille = n.jitter_ns = 0;
    n.delay_ns = 10 * kMs;
    n.data_gap_ns = {5 * kMs, 5 * kMs};
    // The pause of an attempt that failed in bad times may have grown to a minute.
    n.run(90 * kSecond);
    bounded();
    const std::uint64_t sent0 = n.side[0].data_sent;
    const std::uint64_t sent1 = n.side[1].data_sent;
    const std::uint64_t in0 = n.side[0].data_in;
    const std::uint64_t in1 = n.side[1].data_in;
    n.run(5 * kSecond);
    RC_ASSERT(n.side[1].data_in - in1 + 10 >= n.side[0].data_sent - sent0);
    RC_ASSERT(n.side[0].data_in - in0 + 10 >= n.side[1].data_sent - sent1);
    n.data_gap_ns = {0, 0};
    n.run(120 * kSecond);
    for (const auto& side : n.side) {
      RC_ASSERT(!side.pm->migrating());
      for (const auto& slot : side.pm->view()) RC_ASSERT(!slot.candidate.has_value());
    }
  }

 private:
  session::Endpoint outside(const session::Endpoint& local) const {
    const auto at = net_->mapped.find(PathNet::key(local));
    return at == net_->mapped.end() ? local : at->second;
  }
  session::Endpoint fresh(std::uint8_t arg) {
    const auto port = static_cast<std::uint16_t>(5000 + ++serial_);
    return arg % 4 == 0 ? v6(3, port) : v4(3, port);
  }
  // Copies of packets under way come first, and from elsewhere.
  void stranger(std::uint8_t arg) {
    PathNet& n = *net_;
    unsigned copies = 0;
    std::vector<PathNet::Packet> under_way;
    for (const auto& [at, p] : n.in_flight) under_way.push_back(p);
    for (PathNet::Packet p : under_way) {
      if (++copies > 20U) break;
      p.ends.remote = v4(kStranger, static_cast<std::uint16_t>(1000 + (arg + copies) % 30));
      ledger_[1 - p.from][PathNet::key(p.ends.remote)].in +=
          28 + (p.data ? 200 : PathManager::kChallengeBytes);
      n.arrive(p);
    }
  }
  struct Account {
    std::uint64_t in = 0;
    std::uint64_t out = 0;
  };
  void watch(const PathNet::Packet& p) {
    if (p.as_sent.remote.address[3] != kStranger || p.as_sent.remote.family != 4) return;
    RC_ASSERT(!p.data);
    Account& account = ledger_[p.from][PathNet::key(p.as_sent.remote)];
    account.out += 28 + PathManager::kChallengeBytes;
    RC_ASSERT(account.out < 3 * account.in);
  }
  void bounded() {
    for (unsigned i = 0; i < 2; ++i) {
      std::uint64_t moves = 0;
      for (const auto& slot : net_->side[i].pm->view()) moves += slot.migrations;
      const std::uint64_t most =
          net_->side[i].pm->view().size() * ((net_->now - kSecond) / PathManager::kMoveGapNs + 2);
      RC_ASSERT(moves <= most);
    }
  }

  bool two_;
  unsigned serial_ = 0;
  std::unique_ptr<PathNet> net_;
  std::array<std::map<PathNet::Key, Account>, 2> ledger_;
};

TEST(PropertyPaths, EveryInterleavingEndsOnLivePathsWithEveryAttemptEnded) {
  ASSERT_TRUE(rc::check("two managers over a bad network", [] {
    const auto scheduler = *rc::gen::inRange<std::uint8_t>(0, 3);
    const bool two = *rc::gen::arbitrary<bool>();
    const auto seed = *rc::gen::inRange<std::uint64_t>(1, 1'000'000);
    const auto ops = *rc::gen::container<std::vector<Op>>(
        rc::gen::construct<Op>(rc::gen::inRange<std::uint8_t>(0, 9), rc::gen::arbitrary<std::uint8_t>(),
                               rc::gen::inRange<std::uint16_t>(0, 2000)));
    World world(scheduler, two, seed);
    for (const Op& op : ops) world.apply(op);
    world.heal();
  }));
}

}  // namespace
