//! Partitions: what one host sends to another is lost until it is mended.
//!
//! The sender's table of neighbours gets a hardware address for the receiver that nobody has. Its frames leave and arrive nowhere, so
//! that neither end hears of it: no reset, no "unreachable", as when a cable is cut far away. The other direction is left
//! alone, so a partition can have one direction only. It needs what the namespaces need, root and iproute2.

use std::net::Ipv4Addr;

use crate::network::{Network, ip};
use crate::{Error, Host};

/// A locally administered hardware address; the kernel's own begin otherwise with near certainty.
const NOBODY: &str = "02:00:00:00:00:01";

/// The interface of a namespace.
const INSIDE: &str = "eth0";

impl Host {
    /// From now on what this host sends to these addresses is lost.
    ///
    /// # Errors
    /// When the host has no network namespace, or the kernel refuses.
    pub fn lose(&self, to: &[Ipv4Addr]) -> Result<(), Error> {
        let namespace = self.own_namespace()?;
        each(to, |to| lose(&["-n", namespace], to, INSIDE))
    }

    /// What [`lose`](Host::lose) took from these addresses arrives again.
    ///
    /// # Errors
    /// As there.
    pub fn deliver(&self, to: &[Ipv4Addr]) -> Result<(), Error> {
        let namespace = self.own_namespace()?;
        each(to, |to| deliver(&["-n", namespace], to, INSIDE))
    }

    fn own_namespace(&self) -> Result<&str, Error> {
        self.namespace().ok_or_else(|| {
            Error::new(format!("{} cannot be cut off", self.name()))
                .cause("it has no network namespace")
        })
    }
}

impl Network {
    /// From now on what this process sends to these hosts is lost.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lose(&self, to: &[Ipv4Addr]) -> Result<(), Error> {
        each(to, |to| lose(&[], to, self.bridge()))
    }

    /// What [`lose`](Network::lose) took from these hosts arrives again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn deliver(&self, to: &[Ipv4Addr]) -> Result<(), Error> {
        each(to, |to| deliver(&[], to, self.bridge()))
    }
}

fn each(to: &[Ipv4Addr], one: impl Fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    to.iter().try_for_each(|to| one(&to.to_string()))
}

fn lose(namespace: &[&str], to: &str, device: &str) -> Result<(), Error> {
    let entry = [
        "neigh",
        "replace",
        to,
        "lladdr",
        NOBODY,
        "dev",
        device,
        "nud",
        "permanent",
    ];
    ip(&[namespace, &entry].concat()).map(drop)
}

/// The kernel asks for the address anew when it is used next.
fn deliver(namespace: &[&str], to: &str, device: &str) -> Result<(), Error> {
    ip(&[namespace, &["neigh", "del", to, "dev", device]].concat()).map(drop)
}
