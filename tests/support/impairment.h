// The harness's model of a bad network, for the tests' relay and simulations.
#pragma once

#include "tools/testpmd/impairment.h"

namespace support {

using testpmd::ImpairedLink;
using testpmd::Impairment;
using testpmd::ImpairmentCounters;
using testpmd::ImpairmentSettings;
using testpmd::kNever;

}  // namespace support
