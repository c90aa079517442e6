#include "dataplane/local_endpoints.h"

#include <cstring>

namespace dataplane {
namespace {

std::size_t address_bytes(std::uint8_t family) {
  return family == 4 ? 4 : 16;
}

// Addresses of one gateway differ in their last bytes and many sessions share a port, so both go in.
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
  const std::uint64_t key = key_of(e.family, e.address.data(), e.port);
  std::size_t at = bucket_of(key);
  while (buckets_[at].family != 0) at = (at + 1) % kBuckets;
  buckets_[at] = Bucket{key, e.address, index, e.family};
}

bool LocalEndpoints::has_address(std::uint8_t family, const std::uint8_t* address) const {
  for (const session::Endpoint& e : endpoints_) {
    if (same(e, family, address, e.port)) return true;
  }
  return false;
}

}  // namespace dataplane
