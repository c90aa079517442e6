#include "tools/testpmd/harness.h"

namespace testpmd {

const char* mode_name(Mode mode) {
  switch (mode) {
    case Mode::kGen:
      return "gen";
    case Mode::kSeal:
      return "seal";
    case Mode::kVerify:
      return "verify";
    case Mode::kLoop:
      return "loop";
    case Mode::kSelf:
      return "self";
    case Mode::kRelay:
      return "relay";
    case Mode::kReflect:
      return "reflect";
    case Mode::kCapture:
      return "capture";
  }
  return "unknown";
}

std::vector<SizeShare> imix() {
  return {{64, 7}, {570, 4}, {1518, 1}};
}

}  // namespace testpmd
