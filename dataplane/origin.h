// Where a Phantom packet came from: noted when it is parsed, read back when control should hear of it.
//
// The outer header stays in the buffer in front of the data pointer, whoever the packet is handed to, so only
// its place is kept. Pure functions on one packet; the core that holds it.
#pragma once

#include <cstring>

#include "dataplane/ip.h"
#include "dataplane/message.h"
#include "dataplane/pkt_meta.h"
#include "session/source_tag.h"

namespace dataplane {

// `ip`: outer IP header at the data pointer, `header` its length; UDP behind it.
inline void note_origin(rte_mbuf* m, PktMeta& md, const std::uint8_t* ip, unsigned header,
                        std::uint16_t local_index) {
  md.source = session::source_tag(md.family, source_of(ip, md.family), session::load_be16(ip + header),
                                  destination_of(ip, md.family), session::load_be16(ip + header + 2));
  md.outer_offset = m->data_off;
  md.local_index = local_index;
}

// Remote address, port and origin word into `message`; meta.source is not 0.
inline void put_origin(const rte_mbuf* m, const PktMeta& md, Message& message) {
  const std::uint8_t* ip = static_cast<const std::uint8_t*>(m->buf_addr) + md.outer_offset;
  const std::uint8_t family = (ip[0] >> 4) == 4 ? 4 : 6;
  const unsigned header = family == 4 ? header_bytes4(ip) : kIp6Bytes;
  message.origin.address = {};
  std::memcpy(message.origin.address.data(), source_of(ip, family), family == 4 ? 4 : 16);
  message.b = session::load_be16(ip + header);
  message.c = origin_word(family, md.local_index);
}

}  // namespace dataplane
