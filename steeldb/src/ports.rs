//! Loopback ports: free ones for a new cluster, and whether those of an old one are free.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::layout::Member;

/// So many free loopback ports, chosen at random, none of them `not`.
pub fn free(count: usize, not: u16) -> Result<Vec<u16>, Failure> {
    let ports = net::free_ports(count, not);
    if ports.len() < count {
        return Err(Failure::new(format!(
            "no {count} free ports between {} and {} on 127.0.0.1",
            net::PORTS.start,
            net::PORTS.end
        ))
        .next("end what holds them, or give the replicas' addresses with `steeldb init --hosts`"));
    }
    Ok(ports)
}

/// How long a port may still be taken: a process that was killed is gone from sight before its sockets are closed.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Says what stands in the way when a member cannot listen at its address.
pub fn check_free(member: Member, address: SocketAddr) -> Result<(), Failure> {
    let until = Instant::now() + LAST_BREATH;
    let error = loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => break error,
            Err(error) if Instant::now() >= until => break error,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let what = Failure::new(format!("{member} cannot listen on {address}"));
    Err(match (error.kind(), member) {
        (io::ErrorKind::AddrInUse, Member::Proxy) => what
            .cause(format!("another process listens on port {}", address.port()))
            .next("choose another port with --port, or end that process"),
        (io::ErrorKind::AddrInUse, _) => what
            .cause(format!("another process listens on port {}", address.port()))
            .next("end that process, or change this replica's address in cluster.toml"),
        (io::ErrorKind::AddrNotAvailable, _) => what
            .cause("the address is not one of this machine")
            .next("run `steeldb replica --config …` and `steeldb proxy --config …` on the machines themselves"),
        (io::ErrorKind::PermissionDenied, _) => what
            .cause("ports below 1024 belong to root")
            .next("choose a port from 1024"),
        _ => what.cause(error),
    })
}

/// The address under which this machine itself reaches a listener.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, listen.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = holder.local_addr().unwrap();
        let error = check_free(Member::Proxy, address).unwrap_err().to_string();
        assert!(
            error.contains(&address.port().to_string()) && error.contains("--port"),
            "{error}"
        );
        drop(holder);
        check_free(Member::Proxy, address).unwrap();
    }

    /// What `kill -9` of everything and `up` right after it met: the dead had not closed their sockets yet.
    #[test]
    fn a_port_that_its_dying_holder_gives_back_is_free() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = holder.local_addr().unwrap();
        let dying = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(holder);
        });
        check_free(Member::Replica(0), address).unwrap();
        dying.join().unwrap();
    }

    #[test]
    fn another_machines_address_is_told_from_a_taken_port() {
        let error = check_free(Member::Replica(1), "192.0.2.1:7400".parse().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("not one of this machine"),
            "{error}"
        );
    }
}
