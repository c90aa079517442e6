// Makes the harness: reads its configuration, starts EAL, opens ports, builds the Phantom end.
//
// The configuration is that of a gateway (the Phantom end that the harness plays), in which the WAN ports are
// the harness's own towards the gateway under test and the LAN port is its place in that gateway's LAN; table
// [harness] says what only a harness has. See tools/testpmd/README.md.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools/testpmd/harness.h"

namespace testpmd {

struct HarnessOptions {
  std::string config;            // path
  std::vector<std::string> eal;  // behind --eal
  bool init_state = false;       // make the state store first
};

// Exit codes: 2 configuration or usage, 3 state store, 4 EAL or a device, as phantom-gateway's.
struct HarnessError : std::runtime_error {
  HarnessError(int code, const std::string& text) : std::runtime_error(text), exit_code(code) {}
  int exit_code;
};

// Set by whoever catches SIGINT and SIGTERM: waits and trials of the harness end.
extern std::atomic<bool> interrupted;

// Throws HarnessError with advice.
std::unique_ptr<Harness> make_harness(const HarnessOptions& options);

}  // namespace testpmd
