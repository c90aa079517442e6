// What phantom-cat understands behind -L.
#include <gtest/gtest.h>

#include "dataplane/address_text.h"
#include "tools/cat/options.h"

namespace {

TEST(PhantomCat, Forwards) {
  struct Row {
    const char* text;
    const char* listen;
    const char* target;
  };
  const Row rows[] = {
      {"8080", "127.0.0.1:8080", ""},
      {"8080:10.0.0.5:80", "127.0.0.1:8080", "10.0.0.5:80"},
      {"8080:[2001:db8::5]:80", "127.0.0.1:8080", "[2001:db8::5]:80"},
      {"0.0.0.0:8080", "0.0.0.0:8080", ""},
      {"192.0.2.1:8080:10.0.0.5:80", "192.0.2.1:8080", "10.0.0.5:80"},
      {"[::1]:8080", "[::1]:8080", ""},
      {"[::1]:8080:[2001:db8::5]:443", "[::1]:8080", "[2001:db8::5]:443"},
  };
  for (const Row& row : rows) {
    const auto forward = cat::parse_forward(row.text);
    ASSERT_TRUE(forward) << row.text;
    EXPECT_EQ(dataplane::to_text(forward->listen), row.listen) << row.text;
    EXPECT_EQ(forward->target, row.target) << row.text;
  }
  for (const char* bad : {"", ":", "x", "0", "70000", "8080:", "8080:10.0.0.5", "8080:10.0.0.5:",
                          "8080:host:80", "10.0.0.5", "[::1]", "[::1", "[::1]:", "8080:10.0.0.5:80:90"}) {
    EXPECT_FALSE(cat::parse_forward(bad)) << bad;
  }
}

}  // namespace
