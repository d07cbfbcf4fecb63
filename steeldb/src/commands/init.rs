//! `steeldb init`: writes a new cluster's directory; nothing is left running.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use crate::commands::{Shape, Where, up};
use crate::failure::Failure;
use crate::import;
use crate::initialise::{self, MAX_F, Plan};
use crate::layout::Layout;
use crate::servers::{self, Servers};
use crate::{directory, ports};

/// Where the proxy listens when nothing is said.
pub const DEFAULT_PORT: u16 = 5433;

/// Where replicas listen on machines of their own.
const REPLICA_PORT: u16 = 7400;

/// Write a new cluster's keys and configuration; nothing is left running
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    shape: Shape,
    /// The proxy's port
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// The address on which the proxy listens; other than loopback, everybody who reaches it is let in
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Where the replicas run, in the order of their numbers: HOST or HOST:PORT, separated by commas [default: all on
    /// this machine, at free loopback ports]
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    #[command(flatten)]
    import: import::Options,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    if layout.cluster_file().exists() {
        return Err(Failure::new(format!(
            "{} holds a cluster already",
            layout.root().display()
        ))
        .next(format!(
            "start it with `steeldb up --data {}`, or choose another directory",
            layout.root().display()
        )));
    }
    let front = front(args.listen, args.port);
    let plan = if args.hosts.is_empty() {
        on_this_machine(&args.shape, front)?
    } else {
        on_hosts(&args.hosts, &args.shape, front)?
    };
    let cluster = create(&layout, &plan)?;
    println!(
        "{}: {} replicas (f = {}{}), proxy on {}",
        layout.root().display(),
        cluster.replicas.len(),
        cluster.f,
        if args.shape.crash_only {
            ", crash-only"
        } else {
            ""
        },
        plan.front.listen
    );
    if args.import.from.is_none() {
        return Ok(());
    }
    if plan.spread {
        // They run on other machines, and nobody started them yet.
        println!(
            "when the replicas run: steeldb import --data {} --from DSN, then start the proxy",
            layout.root().display()
        );
        return Ok(());
    }
    up::import_and_stop(&layout, &cluster, &args.import).await
}

/// Writes the cluster and opens the way for PostgreSQL where that is ours to do.
pub fn create(layout: &Layout, plan: &Plan) -> Result<cluster::Cluster, Failure> {
    let cluster = initialise::create(layout, plan)?;
    for opened in directory::open_temporary_way(layout.root()) {
        eprintln!(
            "{} was opened for passage (o+x): PostgreSQL runs with another account",
            opened.display()
        );
    }
    Ok(cluster)
}

/// The front's configuration for an address.
pub fn front(listen: IpAddr, port: u16) -> proxy::ProxyConfig {
    proxy::ProxyConfig {
        listen: SocketAddr::from((listen, port)),
        allow_remote: !listen.is_loopback(),
        ..proxy::ProxyConfig::default()
    }
}

/// Replicas at free loopback ports.
pub fn on_this_machine(shape: &Shape, front: proxy::ProxyConfig) -> Result<Plan, Failure> {
    let f = shape.f.unwrap_or(1);
    let n = shape.replicas(f);
    let fast = shape.fast(n, f)?;
    let ports = ports::free(n, front.listen.port())?;
    Ok(Plan {
        f,
        mode: shape.mode(),
        fast,
        replicas: ports
            .iter()
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
            .collect(),
        front,
        spread: false,
        servers: servers::planned(&shape.postgres, n)?,
        shared: Default::default(),
    })
}

fn on_hosts(hosts: &[String], shape: &Shape, front: proxy::ProxyConfig) -> Result<Plan, Failure> {
    if !shape.postgres.is_empty() {
        return Err(
            Failure::usage("--postgres names directories of this machine, and --hosts others")
                .next("write `bin_dir`, `tested_together` and `may_differ` into each replica.toml (docs/versions.md)"),
        );
    }
    // What is not spare.
    let needed = hosts.len().saturating_sub(usize::from(shape.spare));
    let largest = shape.mode().max_faulty(needed).min(usize::from(MAX_F)) as u16;
    let f = shape.f.unwrap_or(largest);
    if f == 0 || f > largest {
        return Err(
            Failure::usage(format!("--hosts names {} hosts", hosts.len()))
                .cause(format!(
                    "f = {} needs {} replicas",
                    f.max(1),
                    shape.replicas(f.max(1))
                ))
                .next("name more hosts"),
        );
    }
    let replicas = hosts
        .iter()
        .map(|host| address(host))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Plan {
        f,
        mode: shape.mode(),
        fast: shape.fast(replicas.len(), f)?,
        replicas,
        front,
        spread: true,
        servers: Servers::new(),
        shared: Default::default(),
    })
}

/// HOST or HOST:PORT; a name is looked up now, and the cluster file holds the address.
fn address(host: &str) -> Result<SocketAddr, Failure> {
    let unknown = || {
        Failure::usage(format!("--hosts: {host:?} is no address"))
            .next("write HOST or HOST:PORT, where HOST is an IP address or a name that this machine can look up")
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::from((ip, REPLICA_PORT)));
    }
    let full = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{REPLICA_PORT}")
    };
    let found = full
        .to_socket_addrs()
        .map_err(|error| unknown().cause(error))?;
    found.into_iter().next().ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &str, f: Option<u16>) -> Result<Plan, Failure> {
        let list: Vec<String> = list.split(',').map(str::to_owned).collect();
        let shape = Shape {
            f,
            ..Shape::default()
        };
        on_hosts(&list, &shape, proxy::ProxyConfig::default())
    }

    #[test]
    fn hosts_give_addresses_and_the_largest_f() {
        let plan = hosts("10.0.0.1,10.0.0.2:9000,::1,localhost", None).unwrap();
        assert_eq!(plan.f, 1);
        assert_eq!(plan.replicas[0], "10.0.0.1:7400".parse().unwrap());
        assert_eq!(plan.replicas[1], "10.0.0.2:9000".parse().unwrap());
        assert_eq!(plan.replicas[2], "[::1]:7400".parse().unwrap());
        assert_eq!(plan.replicas[3].port(), 7400);
    }

    #[test]
    fn too_few_hosts_are_refused_with_the_number_that_is_needed() {
        for (list, f) in [
            ("10.0.0.1,10.0.0.2,10.0.0.3", None),
            ("a", None),
            ("::1,::1,::1,::1", Some(2)),
        ] {
            let Err(error) = hosts(list, f) else {
                panic!("{list} was taken")
            };
            assert!(error.to_string().contains("needs"), "{error}");
        }
    }
}
