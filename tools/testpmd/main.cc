// phantom-testpmd: options, then a harness, then a run of it (app.h).
#include <exception>
#include <memory>

#include <fmt/core.h>

#include "crypto/secret.h"
#include "tools/testpmd/app.h"
#include "tools/testpmd/attacker.h"
#include "tools/testpmd/bench_commands.h"
#include "tools/testpmd/engine.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/options.h"

namespace testpmd {
namespace {

std::vector<AttackInfo> known_attacks() {
  std::vector<AttackInfo> list;
  list.reserve(attacks().size());
  for (const AttackKind& kind : attacks()) {
    list.push_back({std::string(kind.name), std::string(kind.reason), std::string(kind.help)});
  }
  return list;
}

int run(int argc, char** argv) {
  const std::vector<AttackInfo> attacks = known_attacks();
  int code = kExitOk;
  const auto options = parse_options(argc, argv, attacks, code);
  if (!options) return code;
  catch_interrupts(&interrupted);
  const std::unique_ptr<Harness> harness = make_harness(options->harness);
  return run_app(*harness, options->app, attacks, bench_commands());
}

}  // namespace
}  // namespace testpmd

int main(int argc, char** argv) {
  crypto::harden_process();
  try {
    return testpmd::run(argc, argv);
  } catch (const testpmd::HarnessError& error) {
    fmt::print(stderr, "phantom-testpmd: {}\n", error.what());
    return error.exit_code;
  } catch (const std::exception& error) {
    fmt::print(stderr, "phantom-testpmd: {}\n", error.what());
    return testpmd::kExitFailure;
  }
}
