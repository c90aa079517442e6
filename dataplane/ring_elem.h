// Two functions of DPDK's ring library under names of ours, for DPDK 24.11's rte_ring_elem.h declares them
// without C linkage: a C++ program that calls them by that header does not link. Works with every release.
#pragma once

#include <sys/types.h>

struct rte_ring;

namespace dataplane {

// rte_ring_create_elem: nothing when there is no memory or the name is taken.
extern "C" rte_ring* phantom_ring_create_elem(const char* name, unsigned element_bytes, unsigned count,
                                              int socket, unsigned flags) __asm__("rte_ring_create_elem");
// rte_ring_get_memsize_elem: bytes, or a negative error.
extern "C" ssize_t phantom_ring_memsize_elem(unsigned element_bytes,
                                             unsigned count) __asm__("rte_ring_get_memsize_elem");

}  // namespace dataplane
