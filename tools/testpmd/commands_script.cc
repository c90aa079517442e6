// trial, wait, assert, live, load, echo, help, quit.
#include <fmt/core.h>

#include "tools/testpmd/commands.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/live.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

Outcome trial(Console& console, const Args& args) {
  if (console.harness().running()) return refused("traffic runs; `stop` it, a trial starts its own");
  TrialSpec spec;
  spec.offer = console.harness().offer();
  spec.offer.pps = rate_pps(parse_rate(args[0]).value_or(Rate{}), spec.offer.sizes);
  spec.seconds = parse_seconds(args[1]).value_or(1);
  spec.progress = [&](double done) {
    console.progress({"trial " + args[0], done / spec.seconds, spec.seconds - done, {}});
    return !interrupt_seen();
  };
  const TrialResult found = console.harness().trial(spec);
  console.remember(found);
  Report report{{trial_table({found})}, {}};
  console.result(fmt::format("trial rate {} time {}", args[0], args[1]), report);
  if (found.interrupted || interrupt_seen()) return {};
  if (!found.error.empty()) return failed("the trial is void: " + found.error);
  return {};
}

Outcome wait(Console& console, const Args& args) {
  console.wait(parse_seconds(args[0]).value_or(0));
  return {};
}

Outcome assertion(Console& console, const Args& args) {
  return console.check(args[0]);
}

Outcome live(Console& console, const Args& args) {
  run_live(console, args.has(0) ? parse_seconds(args[0]).value_or(0) : 0);
  return {};
}

Outcome load(Console& console, const Args& args) {
  return console.run_file(args[0]);
}

Outcome echo(Console& console, const Args& args) {
  console.print(args.has(0) ? args[0] + "\n" : "\n");
  return {};
}

Outcome help(Console& console, const Args& args) {
  const std::string words = args.has(0) ? args[0] : "";
  std::string text = console.table().help(words);
  if (text.empty()) {
    std::vector<std::string> beginnings;
    for (const Command& command : console.table().commands()) {
      beginnings.push_back(command.pattern.substr(0, command.pattern.find(' ')));
    }
    return refused(fmt::format("no command has \"{}\"{}", words, did_you_mean(words, beginnings)));
  }
  if (words.empty()) {
    text +=
        "\n  a|b: one of these; <kind>: a value; [ ... ]: may be left out; Tab completes\n"
        "  assertions know: " +
        listed(console.fact_names(), 20) + "\n";
  }
  console.print(text);
  return {};
}

Outcome quit(Console& console, const Args&) {
  console.leaving = true;
  return {};
}

}  // namespace

std::vector<Command> script_commands() {
  return {
      {"trial rate <rate> time <seconds>", "clear, send so long, drain, read: one measurement", trial},
      {"wait <seconds>", "let traffic run; Ctrl-C ends it", wait},
      {"assert <expr...>", "fails unless it holds: 'loss == 0 && mpps >= 1 && p99_us < 250us'", assertion},
      {"live [ <seconds> ]", "a screen of rates until q or Ctrl-C", live},
      {"load <file>", "run the commands of a file", load},
      {"echo [ <text...> ]", "print the text", echo},
      {"help [ <text...> ]", "commands (with this word)", help},
      {"quit", "stop traffic and leave", quit},
  };
}

}  // namespace testpmd
