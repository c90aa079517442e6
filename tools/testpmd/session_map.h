// Which lane owns a session: the one whose worker has it, so that nothing is handed over inside the harness,
// nor, with as many workers, inside the gateway.
//
// Thread: made by the main lcore, constant afterwards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace testpmd {

class SessionMap {
 public:
  SessionMap() = default;
  // `owners`: lanes, by session.
  SessionMap(const std::vector<unsigned>& owners, unsigned lanes) : one_(lanes == 1), of_lane_(lanes) {
    for (std::uint32_t session = 0; session < owners.size(); ++session) {
      std::vector<std::uint32_t>& ours = of_lane_[owners[session]];
      places_.push_back(Place{owners[session], static_cast<std::uint32_t>(ours.size())});
      ours.push_back(session);
    }
  }

  [[nodiscard]] std::uint32_t sessions() const { return static_cast<std::uint32_t>(places_.size()); }
  [[nodiscard]] unsigned lanes() const { return static_cast<unsigned>(of_lane_.size()); }
  [[nodiscard]] unsigned owner(std::uint32_t session) const { return one_ ? 0 : places_[session].lane; }
  // Its position among those of its lane.
  [[nodiscard]] std::uint32_t local(std::uint32_t session) const {
    return one_ ? session : places_[session].local;
  }
  [[nodiscard]] const std::vector<std::uint32_t>& of_lane(unsigned lane) const { return of_lane_[lane]; }
  // How many of the first `sessions` are this lane's.
  [[nodiscard]] std::uint32_t count(unsigned lane, std::uint32_t sessions) const {
    const auto& ours = of_lane_[lane];
    return static_cast<std::uint32_t>(std::lower_bound(ours.begin(), ours.end(), sessions) - ours.begin());
  }

 private:
  struct Place {
    unsigned lane;
    std::uint32_t local;
  };
  bool one_ = true;
  std::vector<Place> places_;
  std::vector<std::vector<std::uint32_t>> of_lane_;
};

}  // namespace testpmd
