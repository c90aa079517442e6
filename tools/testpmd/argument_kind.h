// Kinds of values in commands: what fits, what to say when it doesn't, and what completion offers.
//
// Thread: main lcore.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tools/testpmd/harness.h"

namespace testpmd {

struct ArgumentKind {
  std::string name;      // as in patterns
  std::string expected;  // "a rate: 1.5mpps, 10gbit or max"
  std::function<bool(std::string_view)> fits;
  std::function<std::vector<std::string>()> choices;  // offered by Tab; may be empty
};
using ArgumentKinds = std::map<std::string, ArgumentKind>;

// Those that need nothing but the text: text, word, file, count, pps, rate, seconds, sizes, mode, weight...
ArgumentKinds plain_kinds();
// And those of one harness: session, port, attack.
ArgumentKinds harness_kinds(const Harness& harness, const std::vector<std::string>& attacks);

}  // namespace testpmd
