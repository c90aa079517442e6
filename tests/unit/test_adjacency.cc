// The worker's table of next hops against a plain map, over long random lives of its entries.
#include <map>
#include <random>
#include <utility>

#include <gtest/gtest.h>

#include "dataplane/adjacency.h"

namespace dataplane {
namespace {

constexpr MacAddress kPortMac{2, 0, 0, 0, 0, 1};

IpAddress address(std::uint32_t host, std::uint8_t family) {
  IpAddress ip;
  ip.family = family;
  ip.bytes[0] = 10;
  ip.bytes[family == 4 ? 2 : 14] = static_cast<std::uint8_t>(host >> 8);
  ip.bytes[family == 4 ? 3 : 15] = static_cast<std::uint8_t>(host);
  return ip;
}

NeighbourUpdate update(std::uint16_t index, const IpAddress& to, std::uint8_t port, NeighbourState state) {
  NeighbourUpdate u;
  u.address = to;
  u.port = port;
  u.adjacency = index;
  u.state = state;
  u.mac = {2, 0, 0, 0, 1, static_cast<std::uint8_t>(index)};
  return u;
}

TEST(Adjacency, FindsWhatAMapFinds) {
  constexpr std::uint16_t kIndices = 600;
  AdjacencyTable table(16);
  std::map<std::pair<std::uint32_t, std::uint8_t>, std::uint16_t> there;  // address number and port
  std::map<std::uint16_t, std::pair<std::uint32_t, std::uint8_t>> of;
  std::mt19937 random(5);
  for (unsigned turn = 0; turn < 40'000; ++turn) {
    const auto index = static_cast<std::uint16_t>(random() % kIndices);
    const auto host = static_cast<std::uint32_t>(random() % 2000);
    const auto family = static_cast<std::uint8_t>(host % 2 == 0 ? 4 : 6);
    const auto port = static_cast<std::uint8_t>(random() % 2);
    const std::pair<std::uint32_t, std::uint8_t> place{host, port};
    if (random() % 3 == 0 && of.count(index) != 0) {
      const auto old = of[index];
      ASSERT_TRUE(table.update(
          update(index, address(old.first, old.first % 2 == 0 ? 4 : 6), old.second, NeighbourState::kFree),
          kPortMac));
      there.erase(old);
      of.erase(index);
    } else if (there.count(place) == 0 || there[place] == index) {
      ASSERT_TRUE(
          table.update(update(index, address(host, family), port, NeighbourState::kReachable), kPortMac));
      if (of.count(index) != 0) there.erase(of[index]);
      there[place] = index;
      of[index] = place;
    }
    const auto asked = static_cast<std::uint32_t>(random() % 2000);
    const auto asked_family = static_cast<std::uint8_t>(asked % 2 == 0 ? 4 : 6);
    const auto found = there.find({asked, 1});
    ASSERT_EQ(table.find(1, asked_family, address(asked, asked_family).bytes.data()),
              found == there.end() ? session::kNone : found->second)
        << "turn " << turn;
  }
  for (const auto& [place, index] : there) {
    const auto family = static_cast<std::uint8_t>(place.first % 2 == 0 ? 4 : 6);
    EXPECT_EQ(table.find(place.second, family, address(place.first, family).bytes.data()), index);
    EXPECT_EQ(table.at(index).ether[5], static_cast<std::uint8_t>(index));
    EXPECT_EQ(table.at(index).ether[11], kPortMac[5]);
  }
}

}  // namespace
}  // namespace dataplane
