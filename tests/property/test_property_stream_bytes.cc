// The timer wheel against a sorted list, and a transfer over a bad link against the bytes that went in.
#include <cstdint>
#include <map>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "session/timer_wheel.h"
#include "tests/support/stream_pair.h"

namespace {

using session::Timer;
using session::TimerWheel;
using support::StreamPair;

// ---- timer wheel

constexpr std::size_t kTimers = 12;

struct WheelStep {
  std::uint8_t kind;  // 0..4 arm, 5 cancel, others: time passes
  std::uint8_t timer;
  std::uint8_t scale;
  std::uint64_t size;
};
void showValue(const WheelStep& step, std::ostream& os) {
  os << "{" << unsigned{step.kind} << "," << unsigned{step.timer} << "," << unsigned{step.scale} << ","
     << step.size << "}";
}
rc::Gen<WheelStep> wheel_step() {
  return rc::gen::construct<WheelStep>(
      rc::gen::inRange<std::uint8_t>(0, 10), rc::gen::inRange<std::uint8_t>(0, kTimers),
      rc::gen::inRange<std::uint8_t>(10, 56), rc::gen::arbitrary<std::uint64_t>());
}

TEST(PropertyStreamBytes, TheWheelExpiresWhatASortedListDoes) {
  EXPECT_TRUE(rc::check("timer wheel", [](std::uint64_t start_seed) {
    const auto steps = *rc::gen::container<std::vector<WheelStep>>(wheel_step());
    std::uint64_t now = start_seed >> 4;
    TimerWheel wheel(now);
    std::vector<Timer> timers(kTimers);
    std::map<std::size_t, std::uint64_t> model;  // armed: when
    for (const WheelStep& step : steps) {
      const std::uint64_t distance = step.size >> (64 - step.scale);
      if (step.kind < 5) {
        wheel.arm(timers[step.timer], now + distance);
        model[step.timer] = now + distance;
        continue;
      }
      if (step.kind == 5) {
        wheel.cancel(timers[step.timer]);
        model.erase(step.timer);
        continue;
      }
      now += distance;
      while (const Timer* expired = wheel.next_expired(now)) {
        const auto index = static_cast<std::size_t>(expired - timers.data());
        RC_ASSERT(model.count(index) == 1U);
        RC_ASSERT(model[index] <= now);
        model.erase(index);
      }
      std::uint64_t first = UINT64_MAX;
      for (const auto& [index, at] : model) {
        RC_ASSERT(at + TimerWheel::kTickNs > now);  // a tick late at most
        first = std::min(first, at);
      }
      RC_ASSERT(wheel.armed() == model.size());
      const std::uint64_t next = wheel.next_deadline_ns();
      const bool right = model.empty() ? next == UINT64_MAX : next < first + TimerWheel::kTickNs;
      RC_ASSERT(right);
    }
  }));
}

// ---- a stream each way against what was written

struct Shape {
  std::uint8_t loss, duplicates, jitter_ms, delay_ms, rate, epochs;
};
void showValue(const Shape& shape, std::ostream& os) {
  os << "{loss " << unsigned{shape.loss} << " %, twice " << unsigned{shape.duplicates} << " %, jitter "
     << unsigned{shape.jitter_ms} << " ms, delay " << unsigned{shape.delay_ms} << " ms, rate "
     << unsigned{shape.rate} << "}";
}

// Bytes one way, as the application writes and reads them.
struct Direction {
  session::Streams& sender;
  unsigned receiver;
  std::vector<std::uint32_t> writes;
  std::vector<std::uint8_t> written;
  std::size_t at = 0, offset = 0;
  bool finished = false;

  void offer(std::uint16_t id) {
    session::StreamError error;
    while (at < writes.size()) {
      std::vector<std::uint8_t> bytes(writes[at] - offset);
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = support::pattern(id, written.size() + i);
      const std::size_t took = sender.send(id, bytes, error);
      written.insert(written.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(took));
      offset += took;
      if (took < bytes.size()) return;
      ++at;
      offset = 0;
    }
    if (!finished) finished = sender.finish(id) == session::StreamError::kOk;
  }
};

TEST(PropertyStreamBytes, EveryByteArrivesOnceAndInOrderAndEverythingEnds) {
  EXPECT_TRUE(rc::check("streams over a bad link", [](std::uint64_t seed) {
    const auto shape = *rc::gen::construct<Shape>(
        rc::gen::inRange<std::uint8_t>(0, 30), rc::gen::inRange<std::uint8_t>(0, 20),
        rc::gen::inRange<std::uint8_t>(0, 60), rc::gen::inRange<std::uint8_t>(0, 80),
        rc::gen::inRange<std::uint8_t>(0, 4), rc::gen::inRange<std::uint8_t>(0, 3));
    StreamPair::Setup setup;
    setup.seed = seed;
    setup.memory = {8, 64, 64};  // both directions have to live with scarcity
    setup.link.loss = shape.loss / 100.0;
    setup.link.duplicates = shape.duplicates / 100.0;
    setup.link.jitter_ns = shape.jitter_ms * 1'000'000ULL;
    setup.link.delay_ns = shape.delay_ms * 1'000'000ULL + 1'000;
    setup.link.bytes_per_s = shape.rate == 0 ? 0 : 50'000ULL << (3 * shape.rate);
    StreamPair pair(setup);
    session::StreamError error;
    const auto id = pair.a().open({}, error).value_or(0);
    const auto sizes =
        rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 9'000));
    Direction there{pair.a(), 1, *sizes, {}}, back{pair.b(), 0, *sizes, {}};
    unsigned turns = 0;
    pair.application = [&] {
      there.offer(id);
      if (pair.saw(1, id, session::StreamNews::kOpened)) back.offer(id);
      if (shape.epochs != 0 && ++turns % (200U * shape.epochs) == 0 && pair.end(0).epoch < 200) {
        pair.set_epoch(turns / 200 % 2, static_cast<std::uint8_t>(pair.end(turns / 200 % 2).epoch + 1));
      }
    };
    const auto closed = [&](unsigned end) { return pair.saw(end, id, session::StreamNews::kClosed); };
    RC_ASSERT(pair.run([&] { return closed(0) && closed(1); }, 7'200'000));
    RC_ASSERT(pair.end(1).received[id] == there.written);
    RC_ASSERT(pair.end(0).received[id] == back.written);
    RC_ASSERT(pair.broken().empty());
    pair.application = nullptr;
    pair.run_for_ms(120'000);
    for (unsigned i = 0; i < 2; ++i) {
      const auto usage = pair.end(i).memory.usage();
      RC_ASSERT(usage.streams + usage.segments + usage.blocks == 0U);
      RC_ASSERT(pair.end(i).streams->bandwidth(0).inflight_bytes == 0U);
      RC_ASSERT(pair.end(i).wheel.armed() == 0U);
    }
  }));
}

}  // namespace
