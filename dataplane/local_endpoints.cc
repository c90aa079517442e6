#include "dataplane/local_endpoints.h"

#include <cstring>

namespace dataplane {
namespace {

std::size_t address_bytes(std::uint8_t family) {
  return family == 4 ? 4 : 16;
}

// Addresses of one gateway differ in their last bytes and many sessions share a port, so both go in.
std::size_t bucket_of(std::uint8_t family, const std::uint8_t* address, std::uint16_t port) {
  const std::uint8_t* tail = address + address_bytes(family) - 4;
  const std::uint64_t key = (std::uint64_t{tail[0]} << 40) | (std::uint64_t{tail[1]} << 32) |
                            (std::uint64_t{tail[2]} << 24) | (std::uint64_t{tail[3]} << 16) | port;
  return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15ULL) >> 32);
}

bool same(const session::Endpoint& e, std::uint8_t family, const std::uint8_t* address, std::uint16_t port) {
  return e.family == family && e.port == port &&
         std::memcmp(e.address.data(), address, address_bytes(family)) == 0;
}

}  // namespace

void LocalEndpoints::add(const session::Endpoint& endpoint) {
  if (endpoint.family == 0) return;
  if (has(endpoint.family, endpoint.address.data(), endpoint.port)) return;
  endpoints_.push_back(endpoint);
  if (endpoints_.size() * 2 <= buckets_.size()) {
    insert(endpoint);
    return;
  }
  buckets_.assign(buckets_.empty() ? 16 : buckets_.size() * 2, session::Endpoint{});
  for (const session::Endpoint& known : endpoints_) insert(known);
}

void LocalEndpoints::insert(const session::Endpoint& endpoint) {
  const std::size_t mask = buckets_.size() - 1;
  std::size_t at = bucket_of(endpoint.family, endpoint.address.data(), endpoint.port) & mask;
  while (buckets_[at].family != 0) at = (at + 1) & mask;
  buckets_[at] = endpoint;
}

bool LocalEndpoints::has(std::uint8_t family, const std::uint8_t* address, std::uint16_t port) const {
  if (buckets_.empty()) return false;
  const std::size_t mask = buckets_.size() - 1;
  std::size_t at = bucket_of(family, address, port) & mask;
  while (buckets_[at].family != 0) {
    if (same(buckets_[at], family, address, port)) return true;
    at = (at + 1) & mask;
  }
  return false;
}

bool LocalEndpoints::has_address(std::uint8_t family, const std::uint8_t* address) const {
  for (const session::Endpoint& e : endpoints_) {
    if (same(e, family, address, e.port)) return true;
  }
  return false;
}

}  // namespace dataplane
