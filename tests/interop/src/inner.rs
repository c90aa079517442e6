//! IP packets inside the tunnel: counted UDP in the format of tests/support/flow.py, and answers to pings.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const UDP_HEADER: usize = 8;
const FLOW_HEADER: usize = 24; // magic, run u32, number u64, when it was sent u64
const MAGIC: &[u8; 4] = b"flow";
const TTL: u8 = 64;

/// Where things are in a packet without options or extension headers.
struct Layout {
    addresses: usize,
    address_bytes: usize,
    payload: usize,
    protocol: u8,
}

fn layout(packet: &[u8]) -> Option<Layout> {
    match (packet.first()? >> 4, packet.len()) {
        (4, 20..) if packet[0] == 0x45 && length_at(packet, 2) == packet.len() => {
            Some(Layout { addresses: 12, address_bytes: 4, payload: 20, protocol: packet[9] })
        }
        (6, 40..) if length_at(packet, 4) + 40 == packet.len() => {
            Some(Layout { addresses: 8, address_bytes: 16, payload: 40, protocol: packet[6] })
        }
        _ => None,
    }
}

fn length_at(packet: &[u8], offset: usize) -> usize {
    usize::from(u16::from_be_bytes([packet[offset], packet[offset + 1]]))
}

/// Ones' complement sum, folded, of any number of pieces of even length (the last one may be odd).
fn ones_sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sum over the pseudo header and everything behind the IP header: 0xffff when the checksum inside is right.
fn transport_sum(packet: &[u8], at: &Layout) -> u16 {
    let addresses = &packet[at.addresses..at.addresses + 2 * at.address_bytes];
    let payload = &packet[at.payload..];
    ones_sum(&[addresses, &[0, at.protocol], &(payload.len() as u16).to_be_bytes(), payload])
}

/// The answer to a ping, or nothing.
pub fn ping_answer(packet: &[u8]) -> Option<Vec<u8>> {
    let at = layout(packet)?;
    let kinds = match at.protocol {
        ICMP => [8, 0],
        ICMP6 => [128, 129],
        _ => return None,
    };
    if packet.len() < at.payload + 8 || packet[at.payload] != kinds[0] {
        return None;
    }
    let mut answer = packet.to_vec();
    let (source, destination) =
        answer[at.addresses..at.addresses + 2 * at.address_bytes].split_at_mut(at.address_bytes);
    source.swap_with_slice(destination);
    answer[at.payload] = kinds[1];
    let checksum = at.payload + 2;
    answer[checksum..checksum + 2].fill(0);
    let sum = match at.protocol {
        ICMP => ones_sum(&[&answer[at.payload..]]),
        _ => transport_sum(&answer, &at),
    };
    answer[checksum..checksum + 2].copy_from_slice(&(!sum).to_be_bytes());
    Some(answer)
}

fn ip_header(source: IpAddr, destination: IpAddr, payload: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, TTL, UDP, 0, 0];
            header[2..4].copy_from_slice(&((payload + 20) as u16).to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = ones_sum(&[&header]);
            header[10..12].copy_from_slice(&(!sum).to_be_bytes());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, UDP, TTL];
            header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => unreachable!("a flow has one family"),
    }
}

/// One packet of a counted flow: `number` of `run`, with a payload of `size` bytes. It carries no time.
pub fn flow_packet(from: SocketAddr, to: SocketAddr, run: u32, number: u64, size: usize) -> Vec<u8> {
    let size = size.max(FLOW_HEADER);
    let mut packet = ip_header(from.ip(), to.ip(), UDP_HEADER + size);
    let udp = packet.len();
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(((UDP_HEADER + size) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(MAGIC);
    packet.extend(run.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.resize(udp + UDP_HEADER + size, 0x5a);
    let at = layout(&packet).expect("a packet of our own");
    let sum = !transport_sum(&packet, &at);
    packet[udp + 6..udp + 8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    packet
}

/// Which numbers of which run came out of the tunnel.
#[derive(Default)]
pub struct Tally {
    seen: HashMap<u32, HashSet<u64>>,
    pub counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn add(&mut self, packet: &[u8]) {
        let name = self.classify(packet);
        *self.counts.entry(name).or_insert(0) += 1;
    }

    fn classify(&mut self, packet: &[u8]) -> &'static str {
        let Some(at) = layout(packet) else { return "not_ip" };
        if at.protocol != UDP || packet.len() < at.payload + UDP_HEADER + FLOW_HEADER {
            return "other";
        }
        if transport_sum(packet, &at) != 0xffff {
            return "bad_checksum";
        }
        let data = &packet[at.payload + UDP_HEADER..];
        if &data[..4] != MAGIC {
            return "other";
        }
        let run = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
        let number = u64::from_be_bytes(data[8..16].try_into().expect("eight bytes"));
        match self.seen.entry(run).or_default().insert(number) {
            true => "flow",
            false => "flow_duplicates",
        }
    }
}
