//! Network namespaces for hosts: each has its own interfaces and a private address on one bridge.
//!
//! Needs root and iproute2. The bridge's own address belongs to this process, so that relays and clients here reach the
//! hosts. Nothing is routed further.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::names::{self, entries};
use crate::{Error, process};

/// Interfaces are called by this, the process and a letter with a number: the kernel takes 15 characters at most.
const SHORT: &str = "stb";

/// Where iproute2 keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// A bridge with a private subnet, removed when the last of its hosts is gone.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    subnet: [u8; 3],
    hosts: AtomicU8,
}

/// One host's namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub name: String,
    pub address: Ipv4Addr,
    /// Its interface's end on the bridge.
    outside: String,
    _network: Arc<Network>,
}

impl Network {
    /// Makes the bridge; fails for who is not root and without iproute2.
    pub fn new() -> Result<Arc<Network>, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::new("cannot make network namespaces")
                .cause("they need root")
                .next(
                    "run as root, or do without: hosts then have loopback addresses of their own",
                ));
        }
        let pid = std::process::id();
        let network = Network {
            bridge: format!("{SHORT}{pid}b{}", names::number()),
            subnet: free_subnet(pid)?,
            hosts: AtomicU8::new(2),
        };
        let bridge = network.bridge.as_str();
        let address = format!("{}/24", network.gateway());
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &address, "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        Ok(Arc::new(network))
    }

    /// The address of this process on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    pub(crate) fn bridge(&self) -> &str {
        &self.bridge
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, host)
    }

    /// A namespace of this name, joined to the bridge.
    pub(crate) fn join(network: &Arc<Network>, name: &str) -> Result<Namespace, Error> {
        let host = network.hosts.fetch_add(1, Relaxed);
        let namespace = Namespace {
            name: name.to_owned(),
            address: network.address(host),
            outside: format!("{SHORT}{}v{}", std::process::id(), names::number()),
            _network: Arc::clone(network),
        };
        let outside = namespace.outside.as_str();
        let address = format!("{}/24", namespace.address);
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        ip(&["link", "set", outside, "master", &network.bridge, "up"])?;
        ip(&["-n", name, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The kernel keeps the namespace while a connection of it waits for its other end.
        let _ = ip(&["link", "del", &self.outside]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// A free port of an address of this machine, or of a host, whose ports nobody else uses.
pub fn free_port(address: Ipv4Addr) -> Result<SocketAddr, Error> {
    if address.is_loopback()
        && let Some(port) = net::free_ports(1, 0).first()
    {
        return Ok((address, *port).into());
    }
    match std::net::TcpListener::bind((address, 0)) {
        Ok(listener) => listener
            .local_addr()
            .map_err(Error::io("find a port of", address)),
        // The address lies in another namespace.
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            Ok((address, 5000 + (names::number() % 20_000) as u16).into())
        }
        Err(error) => Err(Error::io("find a port of", address)(error)),
    }
}

/// A subnet of 10.0.0.0/8 that no route of this machine knows.
fn free_subnet(pid: u32) -> Result<[u8; 3], Error> {
    for attempt in 0..50 {
        let at = pid + attempt * 257 + names::number();
        let subnet = [10, 100 + (at / 250 % 150) as u8, (at % 250) as u8];
        let address = Ipv4Addr::new(10, subnet[1], subnet[2], 1).to_string();
        let routes = ip(&["-4", "route", "show", "to", "match", &address])?;
        if routes.lines().all(|route| route.starts_with("default")) {
            return Ok(subnet);
        }
    }
    Err(Error::new("no private subnet is free").next("do without network namespaces"))
}

/// Runs iproute2.
pub(crate) fn ip(arguments: &[&str]) -> Result<String, Error> {
    let what = || format!("ip {}", arguments.join(" "));
    let done = Command::new("ip").args(arguments).output();
    let done =
        done.map_err(|error| Error::io("run", what())(error).next("apt-get install iproute2"))?;
    if !done.status.success() {
        return Err(Error::io("do", what())(String::from_utf8_lossy(
            &done.stderr,
        )));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Removes the namespaces and interfaces of runs that were killed.
pub(crate) fn sweep() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let named = |path: std::path::PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    for name in entries(NAMESPACES.as_ref())
        .filter_map(named)
        .filter(|name| names::is_left(name))
    {
        process::kill_all(&mut || process::of_mark(&name));
        let _ = ip(&["netns", "del", &name]);
    }
    for name in entries("/sys/class/net".as_ref()).filter_map(named) {
        let digits: Option<String> = name
            .strip_prefix(SHORT)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
        if digits.is_some_and(|pid| names::owner_ended(&pid)) {
            let _ = ip(&["link", "del", &name]);
        }
    }
}
