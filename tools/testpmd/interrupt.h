// Ctrl-C and friends: SIGINT interrupts what runs, SIGTERM and SIGHUP end the program in order.
//
// Thread: signal handlers write, the main lcore reads.
#pragma once

#include <atomic>

namespace testpmd {

// SIGINT, SIGTERM and SIGHUP set the flags below; SIGPIPE is ignored.
// `mirror` (which lives as long as the program, or none) is set by each of them and cleared by
// clear_interrupt().
void catch_interrupts(std::atomic<bool>* mirror = nullptr);
// Since the last clear_interrupt(), or termination_seen().
bool interrupt_seen();
void clear_interrupt();
bool termination_seen();

}  // namespace testpmd
