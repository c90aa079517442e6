// Draws what a path's flow estimates beside the truth, on four shapes of path, as one SVG on standard output:
//
//   build/bench/flow_picture > flow.svg
//
// Grey: the link as it is. Blue: the estimate. Orange: what was acknowledged. Virtual time, the link of the
// tests, 1 % of random loss; the same numbers every time.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/support/flow_link.h"

namespace {

using flow_test::FlowSender;
using flow_test::kMs;
using flow_test::kSecond;
using flow_test::LinkShape;

constexpr std::uint64_t kChangeNs = 6 * kSecond;
constexpr std::uint64_t kEndNs = 24 * kSecond;
constexpr std::uint64_t kStepNs = 100 * kMs;

struct Shape {
  const char* name;
  std::uint64_t rate_bps;  // after the change
  std::uint64_t delay_ns;
};
constexpr Shape kShapes[] = {{"steady: 100 Mbit/s, 50 ms", 12'500'000, 25 * kMs},
                             {"step up: to 400 Mbit/s", 50'000'000, 25 * kMs},
                             {"step down: to 25 Mbit/s", 3'125'000, 25 * kMs},
                             {"delay jump: to 120 ms", 12'500'000, 60 * kMs}};

struct Course {
  std::vector<double> true_rate, rate, goodput;  // Mbit/s
  std::vector<double> true_rtt, rtt;             // ms
};

Course run(const Shape& shape) {
  LinkShape link;
  link.loss = 0.01;
  FlowSender sender(link, 1);
  Course course;
  std::uint64_t acked = 0;
  for (std::uint64_t now = kStepNs; now <= kEndNs; now += kStepNs) {
    sender.run_until(now);
    const session::BandwidthSnapshot seen = sender.flow().snapshot();
    const auto mbit = [](std::uint64_t bytes) { return static_cast<double>(bytes) * 8 / 1e6; };
    course.true_rate.push_back(mbit(sender.link().shape().rate_bps));
    course.rate.push_back(mbit(seen.bottleneck_bw_bps));
    course.goodput.push_back(mbit((sender.acked_bytes() - acked) * (kSecond / kStepNs)));
    course.true_rtt.push_back(static_cast<double>(2 * sender.link().shape().delay_ns) / 1e6);
    course.rtt.push_back(static_cast<double>(seen.min_rtt_ns) / 1e6);
    acked = sender.acked_bytes();
    if (now != kChangeNs) continue;
    sender.link().set_rate(shape.rate_bps);
    sender.link().set_delay(shape.delay_ns);
  }
  return course;
}

constexpr double kWidth = 460;
constexpr double kHeight = 150;

struct Line {
  const std::vector<double>* values;
  const char* color;
  double width;
};

void draw(const std::string& title, const char* unit, const std::vector<Line>& lines, double left,
          double top) {
  double most = 0;
  for (const Line& line : lines)
    most = std::max(most, *std::max_element(line.values->begin(), line.values->end()));
  most *= 1.1;
  std::printf("<g transform='translate(%.0f,%.0f)'>\n<text x='0' y='-8'>%s</text>\n", left, top,
              title.c_str());
  std::printf("<rect width='%.0f' height='%.0f' fill='none' stroke='#ccc'/>\n", kWidth, kHeight);
  std::printf("<text class='s' x='4' y='12'>%.0f %s</text>\n", most, unit);
  std::printf("<text class='s' x='%.0f' y='%.0f' text-anchor='end'>%.0f s</text>\n", kWidth - 4, kHeight - 4,
              static_cast<double>(kEndNs / kSecond));
  for (const Line& line : lines) {
    std::printf("<polyline fill='none' stroke='%s' stroke-width='%.1f' points='", line.color, line.width);
    for (std::size_t i = 0; i < line.values->size(); ++i) {
      const double x = kWidth * static_cast<double>(i) / static_cast<double>(line.values->size() - 1);
      std::printf("%.1f,%.1f ", x, kHeight * (1 - (*line.values)[i] / most));
    }
    std::printf("'/>\n");
  }
  std::printf("</g>\n");
}

}  // namespace

int main() {
  std::printf(
      "<svg xmlns='http://www.w3.org/2000/svg' width='1000' height='840' font-family='sans-serif' "
      "font-size='13'>\n<style>.s{font-size:10px;fill:#666}</style>\n"
      "<rect width='100%%' height='100%%' fill='white'/>\n");
  double top = 40;
  for (const Shape& shape : kShapes) {
    const Course course = run(shape);
    draw(shape.name + std::string(", bandwidth"), "Mbit/s",
         {{&course.goodput, "#f0a030", 1}, {&course.true_rate, "#999", 3}, {&course.rate, "#2060c0", 1.5}},
         25, top);
    draw("minimum RTT", "ms", {{&course.true_rtt, "#999", 3}, {&course.rtt, "#2060c0", 1.5}}, 515, top);
    top += 205;
  }
  std::printf("</svg>\n");
  return 0;
}
