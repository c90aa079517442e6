// What happened, for people and programs: a bounded list of events with growing numbers.
//
// Owner: control core, under Control::lock(). Readers ask for everything after a number they know; one that
// fell behind the list learns how many it missed. No secrets are ever in an event.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace dataplane {

inline constexpr std::size_t kEventsKept = 4096;

struct Event {
  std::uint64_t number = 0;   // 1, 2, 3, ...
  std::uint64_t unix_ms = 0;  // wall clock
  std::string session;        // name, or empty: the gateway as a whole
  std::string kind;           // e.g. "migrated", "rekeyed", "added", "removed", "budget_low"
  std::string text;           // one line for people
};

class EventLog {
 public:
  // Also goes to the log at that level (spdlog's names: "debug", "info", "warn", "error").
  void add(std::string_view session, std::string_view kind, std::string text, const char* level = "info");
  // Events with a number above `after`, oldest first, at most `most`.
  [[nodiscard]] std::vector<Event> since(std::uint64_t after, std::size_t most) const;
  [[nodiscard]] std::uint64_t last() const { return next_ - 1; }
  [[nodiscard]] std::uint64_t oldest() const { return next_ - events_.size(); }

 private:
  std::deque<Event> events_;
  std::uint64_t next_ = 1;
};

}  // namespace dataplane
