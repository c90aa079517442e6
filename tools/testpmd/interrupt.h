// Ctrl-C and friends: SIGINT interrupts what runs, SIGTERM and SIGHUP end the program in order.
//
// Thread: signal handlers write, the main lcore reads.
#pragma once

namespace testpmd {

// SIGINT, SIGTERM and SIGHUP set the flags below; SIGPIPE is ignored.
void catch_interrupts();
// Since the last clear_interrupt(), or terminated().
bool interrupted();
void clear_interrupt();
bool terminated();
void terminate();

}  // namespace testpmd
