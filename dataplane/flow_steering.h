// Rules in ports that bring a session's packets to the queue of the worker that owns it, wherever the hash
// would put them: eth / ipv4|ipv6 / udp with both addresses and ports -> queue.
//
// Owner: control core. An optimization and never a condition: packets that come to another worker are handed
// over by ring. What is wanted is noted at once; the calls, which a driver may take its time for, are made a
// few a loop, with pauses as long as kRestFactor times what the last one took. After a migration the new rule
// comes first, then the old one goes. Whether a port takes such rules is asked once per port and family.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dataplane/stats.h"
#include "session/path_manager.h"

namespace dataplane {

inline constexpr unsigned kRuleCallsPerLoop = 4;
inline constexpr std::uint64_t kRestFactor = 9;  // at most a tenth of control's time
// So many refusals in a row by a port that said it takes such rules, and it is not asked any more: net_tap
// says yes where the kernel then says no.
inline constexpr unsigned kRefusalsInRow = 32;
// Rules in all; further sessions do without.
inline constexpr std::size_t kMaxFlowRules = 65'536;

struct Flow {
  std::uint8_t port = 0;   // index of the gateway's port
  session::PathEnds ends;  // packets from remote to local
  friend bool operator==(const Flow&, const Flow&) = default;
};

// A port's rule calls; errors are texts, empty when it worked. Tests put their own in place.
class FlowDriver {
 public:
  virtual ~FlowDriver() = default;
  virtual std::string validate(const Flow& flow, unsigned queue) = 0;
  // Null and `error`: refused.
  virtual void* install(const Flow& flow, unsigned queue, std::string& error) = 0;
  virtual std::string remove(std::uint8_t port, void* rule) = 0;
};

struct SteeringCounters {
  std::uint64_t active = 0;
  std::uint64_t installed = 0;
  std::uint64_t removed = 0;
  std::uint64_t refused = 0;      // by a port that takes others, or for want of room here
  std::uint64_t unsupported = 0;  // flows wanted on ports that take no such rules
  std::uint64_t failed_removals = 0;
  std::uint64_t slowest_us = 0;  // longest call
};

class FlowSteering {
 public:
  using Clock = std::function<std::uint64_t()>;  // ns
  // With one worker there is nothing to steer.
  FlowSteering(unsigned workers, FlowDriver& driver, Clock clock);

  // From now on these flows of a session go to its owner's queue, and no others. No flows: forgotten, with
  // its rules.
  void want(std::uint64_t session, unsigned queue, std::vector<Flow> flows);
  // Calls that are due. Returns how many were made.
  unsigned service(std::uint64_t now_ns);
  // Removes all rules, at once.
  void clear();
  // Every wanted flow has its rule.
  [[nodiscard]] bool steered(std::uint64_t session) const;
  [[nodiscard]] const SteeringCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t sessions() const { return entries_.size(); }

 private:
  struct Rule {
    Flow flow;
    void* handle = nullptr;  // null: refused, not asked for again
  };
  struct Entry {
    unsigned queue = 0;
    bool queued = false;
    std::vector<Flow> wanted;
    std::vector<Rule> rules;
  };
  enum class Support : std::uint8_t { kUnknown, kYes, kNo };

  struct Judgement {
    Support support = Support::kUnknown;
    unsigned refused_in_row = 0;
  };
  Judgement& judgement(const Flow& flow);
  bool supported(const Flow& flow, unsigned queue);
  void* try_install(const Flow& flow, unsigned queue);
  bool step(Entry& entry);
  bool install_one(Entry& entry);
  bool remove_one(Entry& entry);
  void remove(const Rule& rule);
  void timed(const std::function<void()>& call);

  unsigned workers_;
  FlowDriver& driver_;
  Clock clock_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::deque<std::uint64_t> due_;
  std::array<std::array<Judgement, 2>, kMaxPorts> judged_{};  // by port and family (IPv4, IPv6)
  SteeringCounters counters_;
  std::uint64_t rest_until_ns_ = 0;
};

}  // namespace dataplane
