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

void LocalEndpoints::add(std::uint16_t index, const session::Endpoint& endpoint) {
  if (index >= kMaxLocalEndpoints || endpoint.family == 0) return;
  const bool replaces = endpoints_[index].family != 0;
  endpoints_[index] = endpoint;
  replaces ? lay_out() : insert(index);
}

void LocalEndpoints::remove(std::uint16_t index) {
  if (index >= kMaxLocalEndpoints || endpoints_[index].family == 0) return;
  endpoints_[index] = session::Endpoint{};
  lay_out();
}

void LocalEndpoints::lay_out() {
  buckets_.fill(Bucket{});
  for (std::uint16_t i = 0; i < kMaxLocalEndpoints; ++i) {
    if (endpoints_[i].family != 0) insert(i);
  }
}

void LocalEndpoints::insert(std::uint16_t index) {
  const session::Endpoint& e = endpoints_[index];
  std::size_t at = bucket_of(e.family, e.address.data(), e.port) % kBuckets;
  while (buckets_[at].endpoint.family != 0) at = (at + 1) % kBuckets;
  buckets_[at] = Bucket{e, index};
}

std::uint16_t LocalEndpoints::find(std::uint8_t family, const std::uint8_t* address,
                                   std::uint16_t port) const {
  std::size_t at = bucket_of(family, address, port) % kBuckets;
  while (buckets_[at].endpoint.family != 0) {
    if (same(buckets_[at].endpoint, family, address, port)) return buckets_[at].index;
    at = (at + 1) % kBuckets;
  }
  return kNoEndpointIndex;
}

bool LocalEndpoints::has_address(std::uint8_t family, const std::uint8_t* address) const {
  for (const session::Endpoint& e : endpoints_) {
    if (same(e, family, address, e.port)) return true;
  }
  return false;
}

}  // namespace dataplane
