//! `steeldb status`: who runs, who leads, how far everybody is.

use std::collections::BTreeMap;
use std::time::Duration;

use client_shim::Shim;
use cluster::Cluster;
use consensus::ReplicaId;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::commands::Where;
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::operator::Operator;
use crate::proxy_file::ProxyFile;
use crate::report::{ProxyReport, Report, Seen, State};
use crate::{members, ports};

/// How long replicas may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long even those are waited for that do not seem to run: somebody else may have started them.
const GLANCE: Duration = Duration::from_millis(300);

/// Show replicas, leader, master, heights and what is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let operator = Operator::connect(&layout, &cluster).await?;
    let statuses = ask(&layout, &cluster, &operator.shim).await;
    let seen: Vec<Seen> = cluster
        .replicas
        .iter()
        .map(|entry| {
            seen(
                &layout,
                entry.id,
                entry.address,
                statuses.contains_key(&ReplicaId(entry.id)),
            )
        })
        .collect();
    let proxy = proxy(&layout, &cluster).await?;
    let report = Report::new(&cluster, &statuses, &seen, proxy);
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new("status").cause(error))?;
        println!("{text}");
    } else {
        println!("{}", report.text());
    }
    Ok(())
}

/// Asks until everybody who could answer has; not longer than the patience.
pub(super) async fn ask(
    layout: &Layout,
    cluster: &Cluster,
    shim: &Shim,
) -> BTreeMap<ReplicaId, client_shim::ReplicaStatus> {
    let start = Instant::now();
    let until = start + PATIENCE;
    loop {
        let statuses = shim
            .statuses(until.saturating_duration_since(Instant::now()))
            .await;
        let missing = cluster
            .replicas
            .iter()
            .filter(|r| !statuses.contains_key(&ReplicaId(r.id)))
            .any(|r| start.elapsed() < GLANCE || might_run(layout, r.id, r.address));
        if !missing || Instant::now() >= until {
            return statuses;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A replica on loopback runs when its process does; of another machine nothing is known.
pub(super) fn might_run(layout: &Layout, id: u16, address: std::net::SocketAddr) -> bool {
    !address.ip().is_loopback() || members::process(layout, Member::Replica(id)).is_some()
}

fn seen(layout: &Layout, id: u16, address: std::net::SocketAddr, answers: bool) -> Seen {
    let member = Member::Replica(id);
    let state = match (answers, members::is_stopped(layout, member)) {
        (true, _) => State::Up,
        (false, true) => State::Killed,
        (false, false) if might_run(layout, id, address) => State::Silent,
        (false, false) => State::Down,
    };
    Seen {
        state,
        pid: members::process(layout, member).map(|process| process.pid()),
    }
}

async fn proxy(layout: &Layout, cluster: &Cluster) -> Result<ProxyReport, Failure> {
    let listen = ProxyFile::load(&layout.config(Member::Proxy))?.front.listen;
    let process = members::process(layout, Member::Proxy);
    let connected = timeout(PATIENCE, TcpStream::connect(ports::reachable(listen))).await;
    let all_here = cluster
        .replicas
        .iter()
        .all(|r| r.address.ip().is_loopback());
    let state = match (&process, connected) {
        (None, _) if !all_here => State::Elsewhere,
        (Some(_), Ok(Ok(_))) => State::Up,
        (Some(_), _) => State::Silent,
        (None, _) => State::Down,
    };
    Ok(ProxyReport {
        listen,
        state,
        pid: process.map(|process| process.pid()),
    })
}
