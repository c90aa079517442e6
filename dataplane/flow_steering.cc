#include "dataplane/flow_steering.h"

#include <algorithm>

#include <spdlog/spdlog.h>

#include "dataplane/address_text.h"

namespace dataplane {

FlowSteering::FlowSteering(unsigned workers, FlowDriver& driver, Clock clock)
    : workers_(workers), driver_(driver), clock_(std::move(clock)) {}

// Calls pay for themselves with a rest afterwards, however slow the driver is.
void FlowSteering::timed(const std::function<void()>& call) {
  const std::uint64_t begin_ns = clock_();
  call();
  const std::uint64_t end_ns = clock_();
  const std::uint64_t took_ns = end_ns - begin_ns;
  counters_.slowest_us = std::max(counters_.slowest_us, took_ns / 1000);
  rest_until_ns_ = std::max(rest_until_ns_, end_ns + took_ns * kRestFactor);
}

FlowSteering::Judgement& FlowSteering::judgement(const Flow& flow) {
  return judged_[flow.port][flow.ends.remote.family == 4 ? 0 : 1];
}

bool FlowSteering::supported(const Flow& flow, unsigned queue) {
  Support& known = judgement(flow).support;
  if (known == Support::kUnknown) {
    std::string why;
    timed([&] { why = driver_.validate(flow, queue); });
    known = why.empty() ? Support::kYes : Support::kNo;
    spdlog::info("flow steering: port {} {} rules for UDP over IPv{}{}{}", flow.port,
                 why.empty() ? "takes" : "takes no", flow.ends.remote.family, why.empty() ? "" : ": ", why);
  }
  return known == Support::kYes;
}

void FlowSteering::want(std::uint64_t session, unsigned queue, std::vector<Flow> flows) {
  if (workers_ < 2) return;
  std::erase_if(flows,
                [](const Flow& flow) { return flow.port >= kMaxPorts || flow.ends.remote.family == 0; });
  auto at = entries_.find(session);
  if (at == entries_.end()) {
    if (flows.empty()) return;
    at = entries_.try_emplace(session).first;
  }
  Entry& entry = at->second;
  entry.queue = queue;
  if (entry.wanted == flows && !flows.empty()) return;
  entry.wanted = std::move(flows);
  if (entry.queued) return;
  entry.queued = true;
  due_.push_back(session);
}

void* FlowSteering::try_install(const Flow& flow, unsigned queue) {
  Judgement& port = judgement(flow);
  std::string why;
  void* handle = nullptr;
  timed([&] { handle = driver_.install(flow, queue, why); });
  if (handle != nullptr) {
    ++counters_.installed;
    ++counters_.active;
    port.refused_in_row = 0;
    return handle;
  }
  ++counters_.refused;
  spdlog::debug("flow steering: port {} refused {}: {}", flow.port, to_text(flow.ends.remote), why);
  if (++port.refused_in_row == kRefusalsInRow) {
    port.support = Support::kNo;
    spdlog::info("flow steering: port {} refuses every rule ({}): it is not asked any more", flow.port, why);
  }
  return nullptr;
}

// The first wanted flow without a rule gets one. True: a call was made.
bool FlowSteering::install_one(Entry& entry) {
  for (const Flow& flow : entry.wanted) {
    const auto same = [&](const Rule& rule) { return rule.flow == flow; };
    if (std::any_of(entry.rules.begin(), entry.rules.end(), same)) continue;
    Rule rule{flow, nullptr};
    if (!supported(flow, entry.queue)) {
      ++counters_.unsupported;
    } else if (counters_.active >= kMaxFlowRules) {
      ++counters_.refused;
    } else {
      rule.handle = try_install(flow, entry.queue);
    }
    entry.rules.push_back(rule);
    return true;
  }
  return false;
}

void FlowSteering::remove(const Rule& rule) {
  if (rule.handle == nullptr) return;
  std::string why;
  timed([&] { why = driver_.remove(rule.flow.port, rule.handle); });
  --counters_.active;
  ++(why.empty() ? counters_.removed : counters_.failed_removals);
  if (!why.empty()) {
    spdlog::warn("flow steering: port {} did not remove the rule of {}: {}", rule.flow.port,
                 to_text(rule.flow.ends.remote), why);
  }
}

bool FlowSteering::remove_one(Entry& entry) {
  const auto unwanted = std::find_if(entry.rules.begin(), entry.rules.end(), [&](const Rule& rule) {
    return std::find(entry.wanted.begin(), entry.wanted.end(), rule.flow) == entry.wanted.end();
  });
  if (unwanted == entry.rules.end()) return false;
  remove(*unwanted);
  entry.rules.erase(unwanted);
  return true;
}

bool FlowSteering::step(Entry& entry) {
  return install_one(entry) || remove_one(entry);
}

unsigned FlowSteering::service(std::uint64_t now_ns) {
  unsigned calls = 0;
  while (!due_.empty() && calls < kRuleCallsPerLoop && now_ns >= rest_until_ns_) {
    const std::uint64_t session = due_.front();
    const auto at = entries_.find(session);
    if (step(at->second)) {
      ++calls;
      continue;
    }
    due_.pop_front();
    at->second.queued = false;
    if (at->second.wanted.empty()) entries_.erase(at);
  }
  return calls;
}

void FlowSteering::clear() {
  for (auto& [session, entry] : entries_) {
    for (const Rule& rule : entry.rules) remove(rule);
  }
  entries_.clear();
  due_.clear();
}

bool FlowSteering::steered(std::uint64_t session) const {
  const auto at = entries_.find(session);
  if (at == entries_.end() || at->second.wanted.empty()) return false;
  return std::all_of(at->second.wanted.begin(), at->second.wanted.end(), [&](const Flow& flow) {
    return std::any_of(at->second.rules.begin(), at->second.rules.end(),
                       [&](const Rule& rule) { return rule.flow == flow && rule.handle != nullptr; });
  });
}

}  // namespace dataplane
