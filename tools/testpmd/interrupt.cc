#include "tools/testpmd/interrupt.h"

#include <atomic>
#include <csignal>

namespace testpmd {
namespace {

std::atomic<bool> interrupt_seen{false};
std::atomic<bool> termination_seen{false};
static_assert(std::atomic<bool>::is_always_lock_free, "signal handlers may only touch lock-free atomics");

void on_signal(int number) {
  if (number != SIGINT) termination_seen.store(true);
  interrupt_seen.store(true);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

bool interrupted() {
  return interrupt_seen.load() || termination_seen.load();
}

void clear_interrupt() {
  interrupt_seen.store(false);
}

bool terminated() {
  return termination_seen.load();
}

void terminate() {
  termination_seen.store(true);
}

}  // namespace testpmd
