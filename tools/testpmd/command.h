// A command of the prompt: one row of a table.
//
// Pattern: words and values, parted by blanks.
//   word          as it is
//   a|b|c         one of these words
//   <kind>        one word of that kind (argument_kind.h); in quotes it may hold blanks
//   <kind...>     the rest of the line (last)
//   [ ... ]       may be left out
// Choices and values become arguments, in their order.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace testpmd {

class Console;

// Exit codes of phantom-testpmd.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,  // an assertion is false, a run or trial failed
  kExitUsage = 2,    // options, configuration, or a command that is refused
  kExitStore = 3,
  kExitDevice = 4,
};

// What became of a command. Anything but kExitOk ends a script with that code.
struct [[nodiscard]] Outcome {
  int code = kExitOk;
  std::string text;  // why, one line or some

  [[nodiscard]] bool ok() const { return code == kExitOk; }
};
inline Outcome refused(std::string why) {
  return {kExitUsage, std::move(why)};
}
inline Outcome failed(std::string why) {
  return {kExitFailure, std::move(why)};
}
// For what answers with a text that is empty when all is well.
inline Outcome unless(std::string why) {
  return {why.empty() ? kExitOk : kExitUsage, std::move(why)};
}

class Args {
 public:
  void push(std::string word) { words_.push_back(std::move(word)); }
  [[nodiscard]] std::size_t size() const { return words_.size(); }
  [[nodiscard]] bool has(std::size_t index) const { return index < words_.size(); }
  const std::string& operator[](std::size_t index) const { return words_.at(index); }

 private:
  std::vector<std::string> words_;
};

struct Command {
  std::string pattern;
  std::string help;  // one line
  std::function<Outcome(Console&, const Args&)> run;
};

}  // namespace testpmd
