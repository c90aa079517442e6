// The prompt's own commands, by duty. Tables of others are handed to Console beside these.
#pragma once

#include <vector>

#include "tools/testpmd/command.h"

namespace testpmd {

std::vector<Command> traffic_commands();  // start, stop, set, clear
std::vector<Command> show_commands();
std::vector<Command> end_commands();     // rekey, migrate, attack, relay, capture
std::vector<Command> script_commands();  // trial, wait, assert, live, load, echo, help, quit

}  // namespace testpmd
