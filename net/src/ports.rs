//! Free ports of this machine's loopback address.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Where ports are taken from: below what the kernel gives to outgoing connections and to whoever asks for any port, which could take one
/// before it is listened on, or while a cluster is down.
pub const PORTS: Range<u16> = 20_000..32_000;

/// So many free loopback ports of [`PORTS`], chosen at random, none of them `not`; fewer if there are no more.
pub fn free_ports(count: usize, not: u16) -> Vec<u16> {
    let length = PORTS.end - PORTS.start;
    let first = rand::random_range(0..length);
    let candidates = (0..length).map(|step| PORTS.start + (first + step) % length);
    let is_free =
        |port: &u16| *port != not && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    candidates.filter(is_free).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_can_be_listened_on_and_differ() {
        let ports = free_ports(7, 0);
        let listen = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap();
        let listeners: Vec<_> = ports.iter().map(listen).collect();
        assert_eq!(listeners.len(), 7);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
