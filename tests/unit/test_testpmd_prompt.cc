// The prompt of phantom-testpmd without a terminal, EAL or packets: command table, messages for mistakes,
// values, assertions, reports, scripts.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/fake_harness.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/expression.h"
#include "tools/testpmd/facts.h"
#include "tools/testpmd/live.h"
#include "tools/testpmd/report.h"
#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

using Json = nlohmann::ordered_json;

// A console whose output is text.
class Bench {
 public:
  Bench() : out_(open_memstream(&text_, &size_)), console_(harness, settings(out_)) {}
  ~Bench() {
    std::fclose(out_);
    std::free(text_);  // NOLINT: from open_memstream
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // What the line printed; its outcome is in `last`.
  std::string run(const std::string& line) {
    const std::size_t before = printed().size();
    last = console_.run(line);
    return printed().substr(before);
  }
  std::string error_of(const std::string& line) {
    run(line);
    EXPECT_EQ(last.code, kExitUsage) << line;
    return last.text;
  }
  std::string printed() {
    std::fflush(out_);
    return {text_, size_};
  }
  Console& console() { return console_; }

  FakeHarness harness;
  Outcome last;

 private:
  static ConsoleSettings settings(std::FILE* out) {
    ConsoleSettings made;
    made.out = out;
    made.attacks = {{"replay", "replay_duplicate", "copies"}, {"wrong-tag", "auth", "tag changed"}};
    return made;
  }
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* out_;
  Console console_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What Tab does: the text to add, or what is listed.
struct Completion {
  std::string added;
  std::vector<std::string> listed;
};
Completion complete(CommandTable& table, const std::string& line) {
  Completion completion;
  std::array<char, 512> into{};
  int state = 0;
  int code = table.complete(line.c_str(), &state, into.data(), into.size());
  if (code == 2) completion.added = into.data();
  for (; code == 1; code = table.complete(line.c_str(), &state, into.data(), into.size())) {
    completion.listed.emplace_back(into.data());
    if (completion.listed.size() > 100) break;
  }
  return completion;
}

// ---- command table

TEST(TestpmdTable, CommandsReachTheHarness) {
  Bench bench;
  for (const char* line :
       {"start", "stop", "start tx_first 100", "stop", "rekey all", "rekey beta 3", "migrate gamma",
        "attack replay rate 10k count 500", "attack stop", "set relay ab delay=5ms loss=1%",
        "capture 'my file.pcapng' count 10", "capture /tmp/x", "capture stop", "trial rate 1000 time 2"}) {
    bench.run(line);
    EXPECT_TRUE(bench.last.ok()) << line << ": " << bench.last.text;
  }
  const std::vector<std::string> expected = {"start",
                                             "stop",
                                             "start",
                                             "first 100",
                                             "stop",
                                             "rekey all 1",
                                             "rekey beta 3",
                                             "migrate gamma",
                                             "attack replay 10000 500",
                                             "attack stop",
                                             "relay ab delay=5ms loss=1%",
                                             "capture my file.pcapng 10",
                                             "capture /tmp/x 0",
                                             "capture stop",
                                             "trial 1000"};
  EXPECT_EQ(bench.harness.calls, expected);
}

TEST(TestpmdTable, SettingsBecomeTheOffer) {
  Bench bench;
  for (const char* line : {"set fwd seal", "set burst 16", "set txpkts 64x7,1518x1", "set ways both",
                           "set sessions 2", "set streams 4", "set txrate 100mbit"}) {
    bench.run(line);
    ASSERT_TRUE(bench.last.ok()) << line << ": " << bench.last.text;
  }
  const Offer& offer = bench.harness.offer();
  EXPECT_EQ(bench.harness.mode(), Mode::kSeal);
  EXPECT_EQ(offer.burst, 16U);
  EXPECT_EQ(offer.ways, Ways::kBoth);
  EXPECT_EQ(offer.sessions, 2U);
  EXPECT_EQ(offer.streams, 4U);
  ASSERT_EQ(offer.sizes.size(), 2U);
  EXPECT_EQ(offer.sizes[0].weight, 7U);
  // (7 * 64 + 1518) / 8 = 245.75 bytes, and 20 of the wire.
  EXPECT_NEAR(offer.pps, 1e8 / (8 * 265.75), 1e-6);
  bench.run("set txpkts 64");
  EXPECT_NEAR(bench.harness.offer().pps, 1e8 / (8 * 84.0), 1e-6) << "bits stay bits when sizes change";
  bench.run("set txrate max");
  EXPECT_EQ(bench.harness.offer().pps, 0);
}

TEST(TestpmdTable, EmptyLinesAndCommentsAreNothing) {
  Bench bench;
  for (const char* line : {"", "   ", "# a comment", "  # start", "start # now"}) {
    bench.run(line);
    EXPECT_TRUE(bench.last.ok()) << line << ": " << bench.last.text;
  }
  EXPECT_EQ(bench.harness.calls, std::vector<std::string>{"start"});
  EXPECT_EQ(bench.run("echo 'a # b'"), "a # b\n");
  EXPECT_EQ(bench.run("echo  a   b # c"), "a   b\n");
}

// Every pattern is found by cmdline, and none is ambiguous with another.
TEST(TestpmdTable, EveryPatternIsOneCommand) {
  Bench bench;
  const std::map<std::string, std::string> examples = {
      {"mode", "gen"},      {"rate", "10kpps"}, {"sizes", "imix"},   {"burst", "32"},    {"sessions", "2"},
      {"streams", "2"},     {"count", "10"},    {"port", "wan0"},    {"session", "all"}, {"steps", "2"},
      {"attack", "replay"}, {"pps", "10"},      {"settings", "a=b"}, {"file", "/f"},     {"seconds", "1"},
      {"expr", "loss==0"},  {"text", "help"},   {"number", "0"}};
  for (const Command& command : bench.console().table().commands()) {
    std::string line = std::regex_replace(command.pattern, std::regex(R"([\[\]])"), " ");
    line = std::regex_replace(line, std::regex(R"((\w+)(\|\w+)+)"), "$1");
    for (const auto& [kind, word] : examples) {
      line = std::regex_replace(line, std::regex("<" + kind + R"((\.\.\.)?>)"), word);
    }
    const auto parsed = bench.console().table().parse(line);
    EXPECT_EQ(parsed.command, &command) << command.pattern << " as '" << line << "': " << parsed.error;
  }
}

TEST(TestpmdTable, WrongPatternsAreRefusedAtOnce) {
  const auto make = [](const char* pattern) {
    CommandTable table({{pattern, "", [](Console&, const Args&) { return Outcome{}; }}}, plain_kinds());
  };
  EXPECT_THROW(make("set <nosuchkind>"), std::logic_error);
  EXPECT_THROW(make("set [ x"), std::logic_error);
  EXPECT_THROW(make(""), std::logic_error);
  EXPECT_NO_THROW(make("set a|b [ <count> ]"));
}

// ---- mistakes

TEST(TestpmdMistakes, UnknownWordsNameTheNearest) {
  Bench bench;
  EXPECT_EQ(bench.error_of("strat"),
            "column 1: unknown command \"strat\"; did you mean \"start\"? (`help` lists them)");
  std::string error = bench.error_of("set fdw gen");
  EXPECT_TRUE(has(error, "column 5: unknown word \"fdw\"; did you mean \"fwd\"?")) << error;
  EXPECT_TRUE(has(error, "expected one of fwd, txrate, txpkts")) << error;
  error = bench.error_of("set fwd sael");
  EXPECT_TRUE(has(error, "column 9: wrong value \"sael\"; did you mean \"seal\"")) << error;
  error = bench.error_of("rekey alhpa");
  EXPECT_TRUE(has(error, "did you mean \"alpha\"")) << error;
  error = bench.error_of("attack wrong-tga rate 10 count 5");
  EXPECT_TRUE(has(error, "did you mean \"wrong-tag\"")) << error;
  error = bench.error_of("show port stats lan1");
  EXPECT_TRUE(has(error, "did you mean \"lan0\"")) << error;
  error = bench.error_of("xyzzy");
  EXPECT_FALSE(has(error, "did you mean")) << error;
}

TEST(TestpmdMistakes, WrongValuesSayWhatIsExpected) {
  Bench bench;
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"set burst 65", "column 11: wrong value \"65\"; expected packets in a burst, 1 to 64"},
      {"set burst 0", "1 to 64"},
      {"set txrate 5parsec", "expected a rate above 0"},
      {"set txrate -1", "expected a rate above 0"},
      {"set txpkts 63", "64 to 9018 bytes"},
      {"set txpkts 64,,70", "64 to 9018 bytes"},
      {"set txpkts 64x0", "64 to 9018 bytes"},
      {"trial rate 1000 time 0", "a time above 0"},
      {"start tx_first 0", "a number of packets above 0"},
      {"capture 'x", "a quote is not closed"},
  };
  for (const auto& [line, part] : rows) {
    const std::string error = bench.error_of(line);
    EXPECT_TRUE(has(error, part)) << line << ": " << error;
  }
  EXPECT_TRUE(bench.harness.calls.empty());
}

TEST(TestpmdMistakes, LinesThatEndEarlyOrGoOn) {
  Bench bench;
  std::string error = bench.error_of("set");
  EXPECT_TRUE(has(error, "column 4: the command is not complete; expected one of fwd")) << error;
  error = bench.error_of("trial rate 1000");
  EXPECT_TRUE(has(error, "not complete; expected time")) << error;
  error = bench.error_of("stop now");
  EXPECT_TRUE(has(error, "column 6: unknown word \"now\"; expected the end of the line")) << error;
  error = bench.error_of("start tx_frist");
  EXPECT_TRUE(has(error, "did you mean \"tx_first\"")) << error;
}

// Whatever is typed is a command, nothing, or a mistake with an explanation; cmdline and the explanations
// agree about which.
TEST(TestpmdMistakes, AnyLineIsACommandNothingOrAMistake) {
  Bench bench;
  const CommandTable& table = bench.console().table();
  const std::vector<std::string> pieces = {
      "set",   "fwd",     "gen",   "txrate", "10k",  "max", "show",   "port",   "stats",
      "all",   "rekey",   "alpha", "'",      "\"",   "#",   "attack", "replay", "rate",
      "count", "5",       "stop",  "trial",  "time", "1s",  "echo",   "help",   "relay",
      "ab",    "loss=1%", " ",     "\t",     "\r",   "x'y", "<",      "|",      "\x80"};
  std::mt19937 random(7);
  std::size_t commands = 0, nothing = 0, mistakes = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string line;
    for (auto words = random() % 8; words > 0; --words) {
      line += pieces[random() % pieces.size()];
      if (random() % 8 != 0) line += ' ';
    }
    const CommandTable::Parsed parsed = table.parse(line);
    ASSERT_FALSE(parsed.command != nullptr && !parsed.error.empty()) << line;
    commands += parsed.command != nullptr ? 1 : 0;
    mistakes += parsed.error.empty() ? 0 : 1;
    nothing += parsed.command == nullptr && parsed.error.empty() ? 1 : 0;
    ASSERT_FALSE(has(parsed.error, "more than one command")) << line;
    ASSERT_FALSE(has(parsed.error, "expected the end of the line") && has(parsed.error, "not complete"))
        << line << ": " << parsed.error;
  }
  EXPECT_GT(commands, 100U);
  EXPECT_GT(nothing, 100U);
  EXPECT_GT(mistakes, 10'000U);
}

TEST(TestpmdMistakes, RefusalsOfTheHarnessAreGivenOnAndNothingIsHalfStarted) {
  Bench bench;
  bench.harness.names.clear();
  EXPECT_EQ(bench.error_of("set fwd seal"), "mode seal needs sessions, and none is configured");
  bench.harness.refuse_start = "the gateway does not answer";
  EXPECT_EQ(bench.error_of("start"), "the gateway does not answer");
  EXPECT_FALSE(bench.harness.running());
  EXPECT_FALSE(bench.console().ran);
  EXPECT_EQ(bench.error_of("stop"), "no traffic runs; `start` begins it");
  bench.harness.void_trial = "the generator was the limit";
  bench.run("trial rate 10 time 1");
  EXPECT_EQ(bench.last.code, kExitFailure);
  EXPECT_EQ(bench.last.text, "the trial is void: the generator was the limit");
}

// ---- completion

TEST(TestpmdCompletion, WordsChoicesAndNames) {
  Bench bench;
  CommandTable& table = bench.console().table();
  EXPECT_EQ(complete(table, "sto").added, "p ");
  EXPECT_EQ(complete(table, "set fw").added, "d ");
  EXPECT_EQ(complete(table, "set fwd re").listed, (std::vector<std::string>{"relay", "reflect"}));
  EXPECT_EQ(complete(table, "rekey ga").added, "mma ");
  EXPECT_EQ(complete(table, "attack wr").added, "ong-tag ");
  EXPECT_EQ(complete(table, "show port stats l").added, "an0 ");
  EXPECT_EQ(complete(table, "nonsense ").listed.size(), 0U);
}

TEST(TestpmdCompletion, AChoiceIsListedOnce) {
  Bench bench;
  const auto listed = complete(bench.console().table(), "").listed;
  const std::set<std::string> once(listed.begin(), listed.end());
  EXPECT_EQ(once.size(), listed.size());
  EXPECT_EQ(once.count("set"), 1U);
  EXPECT_EQ(once.count("quit"), 1U);
  const auto values = complete(bench.console().table(), "set burst ").listed;
  ASSERT_EQ(values.size(), 1U);
  EXPECT_TRUE(has(values[0], "<burst>")) << values[0];
}

// ---- values

TEST(TestpmdValues, Rates) {
  const auto pps = [](const char* word) {
    const auto rate = parse_rate(word);
    return rate && rate->unit == Rate::Unit::kPps ? rate->value : -1;
  };
  EXPECT_EQ(pps("1000"), 1'000);
  EXPECT_EQ(pps("1.5mpps"), 1.5e6);
  EXPECT_EQ(pps("200kpps"), 2e5);
  EXPECT_EQ(parse_rate("max")->unit, Rate::Unit::kMax);
  EXPECT_EQ(parse_rate("10gbit")->value, 1e10);
  for (const char* wrong :
       {"", "0", "-1", "nan", "inf", "1e9", "10 gbit", "gbit", "1.2.3", "1000000000000gpps"}) {
    EXPECT_FALSE(parse_rate(wrong)) << wrong;
  }
  EXPECT_EQ(rate_text(*parse_rate("1500kpps")), "1.5mpps");
  EXPECT_EQ(rate_text(*parse_rate("10gbit")), "10gbit");
  EXPECT_EQ(rate_text(*parse_rate("999")), "999pps");
  // Line rate of 10 Gbit/s with frames of 64 bytes.
  EXPECT_NEAR(rate_pps(*parse_rate("10gbit"), {{64, 1}}), 14'880'952, 1);
}

TEST(TestpmdValues, SizesCountsTimes) {
  EXPECT_EQ(sizes_text(*parse_sizes("imix")), "64x7,570x4,1518x1");
  EXPECT_EQ(sizes_text(*parse_sizes("64,512,1400")), "64,512,1400");
  EXPECT_NEAR(mean_frame_bytes(imix()), (7 * 64 + 4 * 570 + 1518) / 12.0, 1e-9);
  for (const char* wrong : {"", ",", "64,", "9019", "64x", "x7", "64x7x7", "64;70", "0"}) {
    EXPECT_FALSE(parse_sizes(wrong)) << wrong;
  }
  EXPECT_EQ(parse_count("10k"), 10'000U);
  EXPECT_EQ(parse_count("1.5m"), 1'500'000U);
  for (const char* wrong : {"", "1.5", "-1", "10kk", "99999999999999999999", "0x10"}) {
    EXPECT_FALSE(parse_count(wrong)) << wrong;
  }
  EXPECT_EQ(parse_seconds("500ms"), 0.5);
  EXPECT_EQ(parse_seconds("2m"), 120);
  for (const char* wrong : {"", "0", "-1", "10y", "1e3"}) EXPECT_FALSE(parse_seconds(wrong)) << wrong;
}

TEST(TestpmdValues, NearestWords) {
  const std::vector<std::string> words = {"start", "stop", "set", "show", "rekey", "migrate"};
  EXPECT_EQ(nearest("strat", words).front(), "start");
  EXPECT_EQ(nearest("mig", words).front(), "migrate");
  EXPECT_TRUE(nearest("xyz", words).empty());
  EXPECT_EQ(grouped(std::uint64_t{1'234'567}), "1,234,567");
  EXPECT_EQ(grouped(std::int64_t{-1'234}), "-1,234");
  EXPECT_EQ(grouped(std::uint64_t{12}), "12");
  EXPECT_EQ(scaled(1'234'567), "1.235 M");
}

// ---- assertions

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = fact_names({"replay", "wrong-tag"});
  return all;
}

Expression::Verdict judge(const char* text, const Facts& facts) {
  std::string error;
  const auto expression = Expression::parse(text, names(), error);
  EXPECT_TRUE(expression) << error;
  return expression ? expression->evaluate(facts) : Expression::Verdict{};
}

TEST(TestpmdAssert, Truth) {
  const Facts facts = {{"loss", 0},     {"mpps", 1.2},     {"p99_us", 250},         {"loss_ratio", 0.005},
                       {"sent", 1.5e6}, {"drops.auth", 3}, {"attack.wrong-tag", 10}};
  for (const char* holds : {"loss==0", "loss == 0 && mpps >= 1", "!(loss > 0)", "mpps<1 || p99_us<=250us",
                            "p99_us < 1ms", "loss_ratio < 1%", "loss_ratio>=0.5%", "sent == 1500k",
                            "sent >= 1m", "drops.auth != 0", "attack.wrong-tag == 10", "1 < 2",
                            "0 == drops.replay_duplicate", "!!(mpps>1)", "loss==1 && loss==2 || mpps>1"}) {
    EXPECT_TRUE(judge(holds, facts).holds) << holds;
  }
  for (const char* fails : {"loss>0", "mpps>=1 && loss==1", "loss==1||mpps==0", "!(loss==0)",
                            "loss==1 && (loss==2 || mpps>1)", "p99_us > 250.5us"}) {
    EXPECT_FALSE(judge(fails, facts).holds) << fails;
  }
}

TEST(TestpmdAssert, SaysWhichPartFailed) {
  const Facts facts = {{"loss", 12}, {"mpps", 0.75}, {"sent", 100}};
  EXPECT_EQ(judge("sent==100 && loss==0", facts).why, "loss==0 is false: loss = 12");
  EXPECT_EQ(judge("loss == 0 && mpps >= 1", facts).why,
            "loss == 0 is false: loss = 12; mpps >= 1 is false: mpps = 0.75");
  EXPECT_EQ(judge("!(loss > 0)", facts).why, "!(loss > 0) is false");
  EXPECT_EQ(judge("loss < mpps", facts).why, "loss < mpps is false: loss = 12, mpps = 0.75");
}

TEST(TestpmdAssert, MistakesArePlaced) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"los==0", "column 1: unknown name \"los\"; did you mean \"loss\""},
      {"drops.replay_duplicat==0", "did you mean \"drops.replay_duplicate\""},
      {"attack.wrong_tag>0", "did you mean \"attack.wrong-tag\""},
      {"loss=0", "expected ==, !=, <, <=, > or >="},
      {"loss==", "expected a name or a number"},
      {"", "expected a name or a number"},
      {"(loss==0", "expected )"},
      {"loss==0 mpps>1", "column 9: expected &&, || or the end"},
      {"loss==0 &&", "expected a name or a number"},
      {"p99_us<5parsec", "unknown unit \"parsec\""},
      {"loss==0)", "expected &&, || or the end"},
      {"loss", "expected ==, !="},
  };
  for (const auto& [text, part] : rows) {
    std::string error;
    EXPECT_FALSE(Expression::parse(text, names(), error)) << text;
    EXPECT_TRUE(has(error, part)) << text << ": " << error;
  }
  std::string error;
  EXPECT_FALSE(Expression::parse(std::string(5'000, '(') + "loss==0", names(), error));
  EXPECT_TRUE(has(error, "too many")) << error;
}

TEST(TestpmdAssert, AnyTextIsAnExpressionOrAMistake) {
  const std::vector<std::string> pieces = {"loss", "==", "0", "&&", "||",         "!", "(",  ")",
                                           "1.5m", "%",  " ", "<",  "drops.auth", "-", "..", "1e9"};
  std::mt19937 random(8);
  std::size_t good = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string text;
    for (auto words = random() % 10; words > 0; --words) text += pieces[random() % pieces.size()];
    std::string error;
    const auto expression = Expression::parse(text, names(), error);
    ASSERT_NE(expression.has_value(), !error.empty()) << text;
    if (!expression) continue;
    ++good;
    const Expression::Verdict verdict = expression->evaluate({{"loss", 1}});
    ASSERT_NE(verdict.holds, !verdict.why.empty()) << text;
  }
  EXPECT_GT(good, 20U);
}

TEST(TestpmdAssert, FactsOfTotalsAndOfTheLastTrial) {
  Bench bench;
  bench.harness.loss_ratio = 0.1;
  bench.run("set txrate 10k");
  bench.run("start");
  bench.harness.pass(2);
  bench.harness.end_drop("auth", 4);
  bench.run("stop");
  Facts facts = bench.console().facts();
  EXPECT_EQ(facts["sent"], 20'000);
  EXPECT_EQ(facts["loss"], 2'000);
  EXPECT_NEAR(facts["loss_ratio"], 0.1, 1e-9);
  EXPECT_NEAR(facts["mpps"], 0.009, 1e-9);
  EXPECT_NEAR(facts["gbps"], 9'000 * 64 * 8 / 1e9, 1e-9);
  EXPECT_NEAR(facts["p99_us"], 10, 0.1);
  EXPECT_EQ(facts["drops.auth"], 4);
  EXPECT_EQ(facts["drops"], 4);
  bench.run("trial rate 1000 time 1");
  EXPECT_EQ(bench.console().facts()["sent"], 1'000);
  bench.run("clear fwd stats all");
  EXPECT_EQ(bench.console().facts()["sent"], 0);
  bench.run("assert 'sent > 0'");
  EXPECT_EQ(bench.last.code, kExitFailure);
  EXPECT_EQ(bench.last.text, "assertion 'sent > 0' does not hold: sent > 0 is false: sent = 0");
  EXPECT_EQ(bench.error_of("assert 'sned > 0'").substr(0, 40), "'sned > 0', column 1: unknown name \"sned");
}

// A way that only listens loses nothing; one that got more than was sent can't be right.
TEST(TestpmdAssert, NegativeLossIsNotConsistent) {
  Totals totals;
  totals.way[1].received = 10;
  EXPECT_EQ(lost_packets(totals), 0);
  EXPECT_TRUE(consistent(totals));
  totals.way[0].sent_pkts = 5;
  totals.way[0].received = 6;
  EXPECT_EQ(lost_packets(totals), -1);
  EXPECT_FALSE(consistent(totals));
}

// ---- reports

TEST(TestpmdReport, ThreeFormatsOfOneTable) {
  Report report;
  report.tables = {{"ports",
                    "Ports",
                    {{"name", "port", Show::kPlain},
                     {"pkts", "packets", Show::kCount},
                     {"ratio", "of all", Show::kPercent}},
                    {{std::string("a,\"b\""), std::uint64_t{1'234'567}, 0.5},
                     {std::string("c"), std::int64_t{-3}, Cell{}}}}};
  const std::string table = table_text(report);
  EXPECT_TRUE(has(table, "  port    packets    of all\n")) << table;
  EXPECT_TRUE(has(table, "  a,\"b\" 1,234,567 50.0000 %\n")) << table;
  const Json json = report_json(report);
  EXPECT_EQ(json["ports"][0]["pkts"], 1'234'567);
  EXPECT_EQ(json["ports"][1]["pkts"], -3);
  EXPECT_TRUE(json["ports"][1]["ratio"].is_null());
  EXPECT_EQ(csv_text(report), "table,name,pkts,ratio\nports,\"a,\"\"b\"\"\",1234567,0.5\nports,c,-3,\n");
}

TEST(TestpmdReport, EveryShowPrintsInEveryFormatWithinItsWidth) {
  Bench bench;
  bench.harness.loss_ratio = 0.25;
  bench.harness.fastest_pps = 2e9;
  bench.run("set relay both loss=1%");
  bench.run("start");
  bench.harness.pass(100);
  bench.run("attack replay rate 10 count 3");
  for (const char* line :
       {"show port stats all", "show port stats wan0", "show port xstats lan0", "show port info all",
        "show fwd stats all", "show fwd bursts", "show sessions", "show sessions 1", "show latency",
        "show config", "show attack", "show relay", "attack list"}) {
    bench.run("set format table");
    const std::string text = bench.run(line);
    ASSERT_TRUE(bench.last.ok()) << line << bench.last.text;
    EXPECT_EQ(has(text, "sent packets"), std::string(line) == "show fwd stats all") << text;
    std::istringstream table(text);
    for (std::string row; std::getline(table, row);)
      EXPECT_LE(row.size(), kReportColumns) << line << "\n" << row;
    bench.run("set format json");
    const std::string json = bench.run(line);
    EXPECT_TRUE(Json::accept(json)) << line << json;
    EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 1) << line;
    bench.run("set format csv");
    EXPECT_EQ(bench.run(line).substr(0, 6), "table,") << line;
  }
}

TEST(TestpmdReport, LossAndRatesAreThoseOfTheCounters) {
  Bench bench;
  bench.harness.loss_ratio = 0.5;
  bench.run("set txrate 1000");
  bench.run("start");
  bench.harness.pass(4);
  bench.run("set format json");
  const Json json = Json::parse(bench.run("show fwd stats all"));
  EXPECT_EQ(json["ways"][0]["way"], "up");
  EXPECT_EQ(json["ways"][0]["loss"], 2'000);
  EXPECT_EQ(json["ways"][0]["sent_pps"], 1'000);
  EXPECT_EQ(json["ways"][0]["received_wire_bps"], 500 * 84 * 8);
  EXPECT_EQ(json["ways"][2]["sent"], 4'000);
  // 100 cycles a packet sent; the ports see each sent packet, and the half that comes back.
  EXPECT_NEAR(json["lanes"]["cycles_per_packet"].get<double>(), 400'000.0 / 6'000, 0.01);
  const Json sessions = Json::parse(bench.run("show sessions 2"));
  EXPECT_EQ(sessions["sessions"].size(), 2U);
  EXPECT_EQ(sessions["sessions"][1]["loss"], 1);
}

TEST(TestpmdReport, TrialsAreKeptForTheEnd) {
  Bench bench;
  bench.run("trial rate 1000 time 1");
  bench.run("trial rate 2000 time 1");
  ASSERT_EQ(bench.console().results().size(), 2U);
  EXPECT_EQ(bench.console().results()[1]["command"], "trial rate 2000 time 1");
  EXPECT_EQ(bench.console().results()[1]["trials"][0]["offered"], 2'000);
  EXPECT_TRUE(has(bench.console().results_csv(), "\n\ntable,")) << bench.console().results_csv();
}

TEST(TestpmdReport, LiveScreenFitsAndShowsRates) {
  Bench bench;
  bench.harness.loss_ratio = 0.01;
  bench.run("start");
  const Totals before = bench.harness.totals();
  bench.harness.pass(1);
  const std::string screen = live_screen(bench.harness, before, bench.harness.totals());
  EXPECT_TRUE(has(screen, "2.000 M")) << screen;
  EXPECT_TRUE(has(screen, "p99.9 10.0")) << screen;
  EXPECT_TRUE(has(live_line(bench.harness, before, bench.harness.totals()), "sent/s    2.000 M"));
  std::istringstream lines(screen);
  for (std::string row; std::getline(lines, row);) EXPECT_LE(row.size(), kReportColumns) << row;
  const std::string printed = bench.run("live 2");
  EXPECT_EQ(std::count(printed.begin(), printed.end(), '\n'), 2) << "a line a second: " << printed;
}

// ---- scripts

class TestpmdScript : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    std::string path = testing::TempDir() + "/testpmd_prompt_" + std::to_string(getpid()) + "_" + name;
    std::ofstream(path) << text;
    made_.push_back(path);
    return path;
  }
  void TearDown() override {
    for (const std::string& path : made_) std::filesystem::remove(path);
  }
  Bench bench;

 private:
  std::vector<std::string> made_;
};

TEST_F(TestpmdScript, AnErrorNamesFileAndLineAndEndsIt) {
  const std::string path = file("error", "# traffic\nset burst 8\nset brust 9\nstart\n");
  const Outcome outcome = bench.console().run_file(path);
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_EQ(outcome.text.substr(0, path.size() + 3), path + ":3:");
  EXPECT_TRUE(has(outcome.text, "did you mean \"burst\"")) << outcome.text;
  EXPECT_EQ(bench.harness.offer().burst, 8U);
  EXPECT_FALSE(bench.harness.running());
}

TEST_F(TestpmdScript, AFalseAssertionEndsItWithItsOwnCode) {
  const std::string path =
      file("assert", "trial rate 1k time 1\nassert 'loss == 0'\nassert 'mpps > 1'\nstart\n");
  const Outcome outcome = bench.console().run_file(path);
  EXPECT_EQ(outcome.code, kExitFailure);
  EXPECT_TRUE(has(outcome.text, ":3: assertion 'mpps > 1' does not hold")) << outcome.text;
  EXPECT_FALSE(bench.harness.running());
  ASSERT_EQ(bench.console().checked().size(), 2U);
  EXPECT_TRUE(bench.console().checked()[0].holds);
}

TEST_F(TestpmdScript, FilesLoadFilesButNotThemselves) {
  const std::string inner = file("inner", "set burst 4\r\nfail\n");
  const Outcome nested = bench.console().run_file(file("outer", "load " + inner + "\n"));
  EXPECT_TRUE(has(nested.text, "outer:1: ")) << nested.text;
  EXPECT_TRUE(has(nested.text, "inner:2: ")) << nested.text;
  EXPECT_EQ(bench.harness.offer().burst, 4U);
  const std::string own = testing::TempDir() + "/testpmd_prompt_" + std::to_string(getpid()) + "_own";
  const Outcome circle = bench.console().run_file(file("own", "load " + own + "\n"));
  EXPECT_EQ(circle.code, kExitUsage);
  EXPECT_TRUE(has(circle.text, "is loaded by itself")) << circle.text;
  EXPECT_EQ(bench.console().run_file("/nonexistent/x").code, kExitUsage);
}

TEST_F(TestpmdScript, QuitEndsItAndNothingAfterItRuns) {
  EXPECT_TRUE(bench.console().run_file(file("quit", "set burst 4\nquit\nset burst 5\n")).ok());
  EXPECT_TRUE(bench.console().leaving);
  EXPECT_EQ(bench.harness.offer().burst, 4U);
}

TEST_F(TestpmdScript, LinesOfADescriptorComeOneByOneAndTheLastNeedsNoEnd) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const std::string text = "set burst 4\nset streams 3\n\nset burst 7";
  ASSERT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(ends[1]);
  unsigned lines = 0;
  EXPECT_TRUE(bench.console().run_descriptor(ends[0], "stdin", lines).ok());
  close(ends[0]);
  EXPECT_EQ(lines, 4U);
  EXPECT_EQ(bench.harness.offer().burst, 7U);
  EXPECT_EQ(bench.harness.offer().streams, 3U);
  EXPECT_GT(bench.harness.pumps, 0U);
}

TEST(TestpmdHelp, IsWhatTheReadmeSays) {
  std::ifstream file(PHANTOM_TESTPMD_README);
  const std::string readme((std::istreambuf_iterator<char>(file)), {});
  Bench bench;
  std::istringstream help(bench.console().table().help(""));
  for (std::string row; std::getline(help, row);) EXPECT_TRUE(has(readme, row + "\n")) << row;
  for (const std::string& name : fact_names({})) {
    EXPECT_TRUE(name.starts_with("drops.") || has(readme, "`" + name + "`")) << name;
  }
}

TEST(TestpmdHelp, ListsCommandsByWord) {
  Bench bench;
  const std::string all = bench.run("help");
  for (const Command& command : bench.console().table().commands()) {
    EXPECT_TRUE(has(all, command.pattern)) << command.pattern;
    EXPECT_FALSE(command.help.empty()) << command.pattern;
  }
  const std::string set = bench.run("help set");
  EXPECT_TRUE(has(set, "set txrate")) << set;
  EXPECT_FALSE(has(set, "capture stop")) << set;
  EXPECT_TRUE(has(bench.error_of("help strat"), "did you mean \"start\""));
}

}  // namespace
}  // namespace testpmd
