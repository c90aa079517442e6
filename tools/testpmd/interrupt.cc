#include "tools/testpmd/interrupt.h"

#include <atomic>
#include <csignal>
#include <initializer_list>

namespace testpmd {
namespace {

std::atomic<bool> interrupt_flag{false};
std::atomic<bool> termination_flag{false};
std::atomic<std::atomic<bool>*> mirror_flag{nullptr};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<void*>::is_always_lock_free,
              "signal handlers may only touch lock-free atomics");

void on_signal(int number) {
  if (number != SIGINT) termination_flag.store(true);
  interrupt_flag.store(true);
  if (std::atomic<bool>* const mirror = mirror_flag.load()) mirror->store(true);
}

}  // namespace

void catch_interrupts(std::atomic<bool>* mirror) {
  mirror_flag.store(mirror);
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

bool interrupt_seen() {
  return interrupt_flag.load() || termination_flag.load();
}

void clear_interrupt() {
  interrupt_flag.store(false);
  if (std::atomic<bool>* const mirror = mirror_flag.load()) mirror->store(false);
}

bool termination_seen() {
  return termination_flag.load();
}

}  // namespace testpmd
