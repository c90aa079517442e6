#include "session/wire.h"

#include <algorithm>

namespace session {

void encode_header(const Header& header, std::span<std::uint8_t, kHeaderBytes> out) {
  out[kOffVersion] = header.version;
  std::copy(header.session_id.begin(), header.session_id.end(), out.begin() + kOffSessionId);
  store_be16(&out[kOffStream], header.stream_id);
  store_be32(&out[kOffSequence], header.sequence);
  store_be16(&out[kOffFlags], header.flags);
  store_be16(&out[kOffAckDelay], header.ack_delay_us);
  out[kOffEpoch] = header.epoch;
  out[kOffPath] = header.path_id;
}

Header decode_header(std::span<const std::uint8_t, kHeaderBytes> in) {
  Header header;
  header.version = in[kOffVersion];
  std::copy_n(in.begin() + kOffSessionId, kSessionIdBytes, header.session_id.begin());
  header.stream_id = load_be16(&in[kOffStream]);
  header.sequence = load_be32(&in[kOffSequence]);
  header.flags = load_be16(&in[kOffFlags]);
  header.ack_delay_us = load_be16(&in[kOffAckDelay]);
  header.epoch = in[kOffEpoch];
  header.path_id = in[kOffPath];
  return header;
}

}  // namespace session
