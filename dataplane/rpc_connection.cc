#include "dataplane/rpc_connection.h"

#include <algorithm>

#include <fmt/core.h>

namespace dataplane {
namespace {

// What was handled or sent is cut off the front of a buffer when it is that much.
constexpr std::size_t kCompactBytes = 1U << 16;

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

bool RpcConnection::wants_input() const {
  return !ended_ && !broken_ && in_.size() - start_ <= kRpcMostLineBytes;
}

void RpcConnection::receive(std::string_view bytes) {
  if (!broken_) in_.append(bytes);
}

void RpcConnection::sent(std::size_t bytes) {
  sent_ += bytes;
  if (sent_ < out_.size() && sent_ < kCompactBytes) return;
  out_.erase(0, sent_);
  sent_ = 0;
}

bool RpcConnection::finished() const {
  if (!batch_.is_null()) return false;
  return broken_ || (ended_ && start_ == in_.size());
}

void RpcConnection::consume(std::size_t end) {
  start_ = end;
  scanned_ = end;
  if (start_ < in_.size() && start_ < kCompactBytes) return;
  in_.erase(0, start_);
  start_ = 0;
  scanned_ = 0;
}

// The line stays in the buffer; without an end, too, so that consume() is up to the caller.
bool RpcConnection::next_line(std::string_view& line) {
  const std::size_t end = in_.find('\n', scanned_);
  if (end != std::string::npos) {
    line = std::string_view(in_).substr(start_, end - start_);
    return true;
  }
  scanned_ = in_.size();
  line = std::string_view(in_).substr(start_);
  return line.size() > kRpcMostLineBytes || (ended_ && !line.empty());
}

void RpcConnection::refuse_long_line() {
  ++dispatcher_.counters().oversized;
  push(dispatcher_.error(kRpcInvalidRequest,
                         fmt::format("Invalid Request: a line of more than {} bytes", kRpcMostLineBytes)));
  broken_ = true;
  in_.clear();
  in_.shrink_to_fit();
  start_ = 0;
  scanned_ = 0;
}

void RpcConnection::handle(std::string_view line) {
  std::optional<RpcInput> request = parse_rpc(line);
  if (!request) {
    push(dispatcher_.error(kRpcParse, "Parse error: expected one JSON text a line, in UTF-8"));
  } else if (!request->is_array()) {
    if (const auto answer = dispatcher_.answer(*request, caller_)) push(*answer);
  } else if (request->empty()) {
    push(dispatcher_.error(kRpcInvalidRequest, "Invalid Request: an empty batch"));
  } else {
    batch_ = std::move(*request);
    next_ = 0;
  }
}

bool RpcConnection::batch_step() {
  if (const auto answer = dispatcher_.answer(batch_[next_], caller_)) {
    std::string text = rpc_line(*answer);
    text.pop_back();
    answers_ += (answers_.empty() ? '[' : ',') + text;
  }
  if (++next_ < batch_.size()) return true;
  if (!answers_.empty()) out_ += answers_ + "]\n";
  answers_.clear();
  answers_.shrink_to_fit();
  batch_ = nullptr;
  return true;
}

bool RpcConnection::step() {
  if (broken_) return false;
  if (!batch_.is_null()) return batch_step();
  std::string_view line;
  if (!next_line(line)) return false;
  if (line.size() > kRpcMostLineBytes) {
    refuse_long_line();
    return true;
  }
  const std::size_t end = start_ + line.size();
  if (!blank(line)) handle(line);
  consume(std::min(end + 1, in_.size()));
  return true;
}

}  // namespace dataplane
