// What dataplane/README.md says of names that programs print is what they print.
#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "session/drop_reason.h"

namespace {

// Rows `| `name` | text |` below a heading, until the next one.
std::map<std::string, std::string> table_below(const std::string& heading) {
  std::ifstream file(PHANTOM_README);
  std::map<std::string, std::string> rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) inside = line == heading;
    if (!inside || !line.starts_with("| `")) continue;
    const std::size_t name_end = line.find('`', 3);
    const std::size_t text = line.find("| ", name_end) + 2;
    rows[line.substr(3, name_end - 3)] = line.substr(text, line.rfind(" |") - text);
  }
  return rows;
}

TEST(Documentation, EveryDropReasonWithItsMeaning) {
  std::map<std::string, std::string> expected;
  for (std::size_t i = 1; i < session::kDropReasons; ++i) {
    expected[std::string(session::kDropReasonNames[i])] = session::kDropReasonTexts[i];
  }
  EXPECT_EQ(table_below("### Dropped"), expected);
}

TEST(Documentation, EveryConsumedKind) {
  const auto rows = table_below("### Consumed");
  EXPECT_EQ(rows.size(), session::kConsumedKinds);
  for (const std::string_view name : session::kConsumedKindNames) {
    EXPECT_TRUE(rows.contains(std::string(name))) << name;
  }
}

}  // namespace
