// Commands as DPDK's cmdline library takes them: cmdline_parse finds the command of a line, cmdline_complete
// what may follow. What is wrong with a line, line_parser.h says.
//
// Thread: main lcore. Needs no EAL.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/testpmd/argument_kind.h"
#include "tools/testpmd/command.h"
#include "tools/testpmd/line_parser.h"

namespace testpmd {

class CommandTable {
 public:
  // Throws std::logic_error for a wrong pattern, std::bad_alloc.
  CommandTable(std::vector<Command> commands, ArgumentKinds kinds);
  ~CommandTable();
  CommandTable(const CommandTable&) = delete;
  CommandTable& operator=(const CommandTable&) = delete;

  struct Parsed {
    const Command* command = nullptr;  // none and no error: an empty line or a comment
    Args args;
    std::string error;
  };
  [[nodiscard]] Parsed parse(const std::string& line) const;

  // As cmdline_complete (cmdline_parse.h), but every choice is listed once.
  int complete(const char* line, int* state, char* into, unsigned size);

  // Of the commands that begin with these words (none: all), their patterns and help. Empty: none does.
  [[nodiscard]] std::string help(const std::string& words) const;
  [[nodiscard]] const std::vector<Command>& commands() const { return commands_; }

 private:
  struct Cmdline;

  std::vector<Command> commands_;
  ArgumentKinds kinds_;
  std::vector<Form> forms_;
  std::unique_ptr<Cmdline> cmdline_;
};

}  // namespace testpmd
