#include "dataplane/event_log.h"

#include <chrono>

#include <spdlog/spdlog.h>

namespace dataplane {

void EventLog::add(std::string_view session, std::string_view kind, std::string text, const char* level) {
  const auto at = std::chrono::system_clock::now().time_since_epoch();
  Event event;
  event.number = next_++;
  event.unix_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(at).count());
  event.session = session;
  event.kind = kind;
  event.text = std::move(text);
  const std::string_view name = level;
  const auto severity = spdlog::level::from_str(name == "warn" ? "warning" : std::string(name));
  if (session.empty()) {
    spdlog::log(severity, "{}", event.text);
  } else {
    spdlog::log(severity, "session {}: {}", session, event.text);
  }
  if (events_.size() == kEventsKept) events_.pop_front();
  events_.push_back(std::move(event));
}

std::vector<Event> EventLog::since(std::uint64_t after, std::size_t most) const {
  std::vector<Event> found;
  const std::uint64_t first = oldest();
  for (std::uint64_t at = after < first ? 0 : after - first + 1; at < events_.size() && found.size() < most;
       ++at) {
    found.push_back(events_[at]);
  }
  return found;
}

}  // namespace dataplane
