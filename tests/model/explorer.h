// Explicit-state search: every schedule of actions up to a depth, on the real code, states seen before left
// out.
//
// A World is two endpoints and the network between them. Sessions can't be copied, so a state is kept as the
// schedule that leads to it, and reached again by running that schedule from the start: everything in a World
// must depend on its actions alone (virtual time, no randomness that matters). World has
//   static constexpr unsigned kActions;     actions are 0..kActions-1
//   static std::string name(unsigned);      for people
//   bool enabled(unsigned) const;           can the action be taken here?
//   void run(unsigned);                     takes it; throws Violation when an invariant breaks
//   std::string key() const;                what tells this state from others; equal keys are one state
//   void settle();                          lets the network heal and checks what must hold then; World is
//   spent
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

namespace model {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const std::string& what) {
  if (!holds) throw Violation(what);
}

struct Explored {
  std::uint64_t states = 0;
  std::uint64_t transitions = 0;
  std::string violation;  // empty: none; else what broke, and the schedule
};

template <class World>
class Explorer {
 public:
  using Factory = std::function<std::unique_ptr<World>()>;
  using Schedule = std::vector<std::uint8_t>;

  explicit Explorer(Factory factory) : factory_(std::move(factory)) {}

  Explored explore(unsigned depth) {
    std::vector<Node> level;
    try {
      visit(Schedule{}, level);
      for (unsigned d = 0; d < depth && !level.empty(); ++d) level = next_level(level);
    } catch (const Violation& violation) {
      result_.violation = violation.what() + text(running_);
    }
    return result_;
  }

 private:
  struct Node {  // a state, and what can happen there
    Schedule schedule;
    std::vector<std::uint8_t> enabled;
  };

  std::unique_ptr<World> reach(const Schedule& schedule) {
    running_.clear();
    auto world = factory_();
    for (const std::uint8_t action : schedule) step(*world, action);
    return world;
  }

  void step(World& world, std::uint8_t action) {
    running_.push_back(action);
    world.run(action);
  }

  // A new state is let settle and joins `level`.
  void visit(const Schedule& schedule, std::vector<Node>& level) {
    const auto world = reach(schedule);
    if (!seen_.insert(world->key()).second) return;
    ++result_.states;
    Node node{schedule, {}};
    for (unsigned action = 0; action < World::kActions; ++action) {
      if (world->enabled(action)) node.enabled.push_back(static_cast<std::uint8_t>(action));
    }
    level.push_back(std::move(node));
    world->settle();
  }

  std::vector<Node> next_level(const std::vector<Node>& level) {
    std::vector<Node> next;
    for (const Node& node : level) {
      Schedule longer = node.schedule;
      longer.push_back(0);
      for (const std::uint8_t action : node.enabled) {
        longer.back() = action;
        ++result_.transitions;
        visit(longer, next);
      }
    }
    return next;
  }

  static std::string text(const Schedule& schedule) {
    std::string out = "\n  schedule:";
    for (const std::uint8_t action : schedule) out += "\n    " + World::name(action);
    return out;
  }

  Factory factory_;
  std::unordered_set<std::string> seen_;
  Schedule running_;
  Explored result_;
};

// Steps that the environment adds to the depth of every search, or takes off (PHANTOM_MODEL_DEEPER=-1).
inline unsigned adjusted(unsigned depth) {
  const char* text = std::getenv("PHANTOM_MODEL_DEEPER");
  const long more = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  return static_cast<unsigned>(std::max(1L, static_cast<long>(depth) + more));
}

inline void print(const char* what, unsigned depth, const Explored& result) {
  std::printf("%s: depth %u, %llu states, %llu transitions\n", what, depth,
              static_cast<unsigned long long>(result.states),
              static_cast<unsigned long long>(result.transitions));
}

}  // namespace model
