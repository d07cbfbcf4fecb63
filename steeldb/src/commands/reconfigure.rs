//! `steeldb reconfigure`: changes the membership of a running cluster, by signed requests in the total order.

mod advise;
mod master;
mod settled;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cluster::Cluster;
use consensus::{Change, PublicKey, ReplicaId, Step};
use net::Identity;
use replica::Postgres;

use settled::{Ordered, settled};

use crate::commands::{Where, start};
use crate::failure::Failure;
use crate::initialise;
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::operator;
use crate::progress::Progress;
use crate::{directory, members, ports, postgres, servers, stop};

/// How long the cluster may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a joining replica may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(600);
/// How long a replica may take to be back.
const RESTART: Duration = Duration::from_secs(180);

/// Change the membership of a running cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Add a replica on this machine; it executes the whole history, then counts like the others
    Add,
    /// Remove a replica and stop it; its directory stays
    Remove {
        /// The replica's number
        #[arg(long, value_name = "I")]
        replica: u16,
    },
    /// Give a replica's place to a new one with a new key and an empty directory
    Replace {
        /// The replica's number
        #[arg(long, value_name = "I")]
        replica: u16,
    },
    /// Give a replica a new key; the old one counts for nothing afterwards
    RotateKey {
        /// The replica's number
        #[arg(long, value_name = "I")]
        replica: u16,
    },
    /// Change how many replicas may be faulty, which of them weigh more (WHEAT), and who leads
    Set {
        /// Replicas that may be faulty at once
        #[arg(long)]
        f: Option<u16>,
        /// Replicas whose votes weigh more: 2f of them; `none`: all weigh the same
        #[arg(long, value_name = "REPLICAS", value_delimiter = ',')]
        fast: Vec<String>,
        /// The replica that leads first
        #[arg(long, value_name = "I")]
        leader: Option<u16>,
    },
    /// Move the master: open transactions end first, then the named replica runs the new ones
    Master {
        /// The replica's number
        #[arg(long, value_name = "I")]
        replica: u16,
        /// How long open transactions may take to end (at most 30 s); then they get 40001
        #[arg(long, value_name = "SECONDS", default_value_t = 5)]
        drain: u64,
    },
    /// Say which leader and which heavier replicas would be fastest, from the round trips that all replicas measure
    Advise {
        /// Order the change, if it pays
        #[arg(long)]
        apply: bool,
    },
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let progress = Progress::start();
    let done = match &args.what {
        What::Add => add(&layout, &cluster, &progress).await,
        What::Remove { replica } => remove(&layout, &cluster, *replica, &progress).await,
        What::Replace { replica } => replace(&layout, &cluster, *replica, &progress).await,
        What::RotateKey { replica } => rotate(&layout, &cluster, *replica, &progress).await,
        What::Master { replica, drain } => {
            master::run(&layout, &cluster, *replica, *drain, &progress).await
        }
        What::Advise { apply } => {
            let advised = advise::advise(&layout, &cluster, &progress).await?;
            match advised.steps.clone().filter(|_| *apply) {
                None => Ok(advised.text(&layout, *apply)),
                Some(steps) => {
                    let after = change(&layout, &cluster, steps, &progress).await?;
                    let (text, view) = (advised.text(&layout, true), after.view);
                    Ok(format!(
                        "{text}\nordered; view {view}: {}",
                        describe(&after)
                    ))
                }
            }
        }
        What::Set { f, fast, leader } => {
            let steps = settings(*f, fast, *leader)?;
            let cluster = change(&layout, &cluster, steps, &progress).await?;
            Ok(format!("view {}: {}", cluster.view, describe(&cluster)))
        }
    };
    drop(progress);
    println!("{}", done?);
    Ok(())
}

fn describe(cluster: &Cluster) -> String {
    let fast: Vec<String> = cluster.fast.iter().map(u16::to_string).collect();
    let weights = match fast.is_empty() {
        true => "all weigh the same".to_owned(),
        false => format!("replicas {} weigh more", fast.join(", ")),
    };
    format!(
        "{} replicas, f = {}, {weights}",
        cluster.replicas.len(),
        cluster.f
    )
}

/// Has the change ordered, and waits until nobody depends on the members before it.
async fn change(
    layout: &Layout,
    cluster: &Cluster,
    steps: Vec<Step>,
    progress: &Progress,
) -> Result<Cluster, Failure> {
    let (file, ordered) = order(layout, cluster, steps, progress).await?;
    settled(&ordered, progress).await?;
    Ok(file)
}

/// Orders the change and writes the membership that it makes. It is over when it is [`settled`].
async fn order(
    layout: &Layout,
    cluster: &Cluster,
    steps: Vec<Step>,
    progress: &Progress,
) -> Result<(Cluster, Ordered), Failure> {
    let before = cluster.membership();
    let change = Change {
        base: before.id,
        steps,
    };
    let refused = |cause: String| Failure::new("the membership is as it was").cause(cause);
    // Looked at here first: what cannot be is not asked for.
    let next = before
        .changed(&change)
        .map_err(|e| refused(e.to_string()))?;
    let file = cluster.of_view(&next).map_err(refused)?;
    let admin = operator::administrator_shim(layout, cluster).await?;
    progress.step("connecting to the replicas");
    let status = || format!("steeldb status --data {}", layout.root().display());
    admin
        .shim
        .ready(CONNECT)
        .await
        .map_err(|e| refused(e.to_string()).next(status()))?;
    progress.step(format!("ordering the change to view {}", next.id));
    let height = admin.shim.reconfigure(&change).await.map_err(|error| {
        let failure = match error.sqlstate.as_str() {
            "08007" => Failure::new("it is not known whether the membership has changed"),
            _ => Failure::new("the membership is as it was"),
        };
        failure.cause(error).next(status())
    })?;
    write(layout, cluster, &file)?;
    let ordered = Ordered {
        administrator: admin,
        before,
        after: next,
        height,
    };
    Ok((file, ordered))
}

/// The new cluster file, wherever one lies. The first one is kept: logs begin in it.
fn write(layout: &Layout, before: &Cluster, after: &Cluster) -> Result<(), Failure> {
    let homes = before.replicas.iter().map(|r| Member::Replica(r.id));
    let copies = homes
        .chain([Member::Proxy])
        .map(|member| layout.home(member).join("cluster.toml"))
        .filter(|copy| copy.exists());
    for file in copies.chain([layout.cluster_file()]) {
        let genesis = file.with_file_name("genesis.toml");
        if !genesis.exists() {
            directory::write(&genesis, &before.to_text())?;
        }
        directory::write(&file, &after.to_text())?;
    }
    Ok(())
}

async fn add(layout: &Layout, cluster: &Cluster, progress: &Progress) -> Result<String, Failure> {
    running(layout)?;
    let id = cluster.replicas.iter().map(|r| r.id + 1).max().unwrap_or(0);
    let member = Member::Replica(id);
    // It stands what the others stand.
    let first = cluster
        .replicas
        .iter()
        .map(|r| Member::Replica(r.id))
        .next();
    let server = first.map_or(Ok(Postgres::default()), |first| {
        servers::like(layout, first)
    })?;
    let shared = initialise::Shared::of(layout, cluster);
    let key = initialise::replica_home(layout, member, "../cluster.toml", &server, shared)?;
    let local = cluster.replicas.iter().map(|r| Member::Replica(r.id));
    initialise::repair_as_others(layout, member, local)?;
    let step = Step::AddReplica {
        id: ReplicaId(id),
        key: public(&key)?,
        contact: free_address()?.to_string(),
    };
    // A directory left by one that was removed would be of another life.
    if layout
        .home(member)
        .join("data/log")
        .read_dir()
        .is_ok_and(|mut dir| dir.next().is_some())
    {
        return Err(Failure::new(format!("{member} cannot be added"))
            .cause(format!(
                "{} holds the log of a removed replica",
                layout.home(member).display()
            ))
            .next("move it away"));
    }
    let (after, ordered) = order(layout, cluster, vec![step], progress).await?;
    let height = start::bring_back(layout, id, CATCH_UP, progress).await?;
    settled(&ordered, progress).await?;
    Ok(format!(
        "{member} has joined and caught up to height {height}; view {}: {}",
        after.view,
        describe(&after)
    ))
}

async fn remove(
    layout: &Layout,
    cluster: &Cluster,
    id: u16,
    progress: &Progress,
) -> Result<String, Failure> {
    let member = members::replica(cluster, id)?;
    let step = Step::RemoveReplica { id: ReplicaId(id) };
    let after = change(layout, cluster, vec![step], progress).await?;
    let _lock = Lock::take(layout)?;
    stop::stop_members(layout, &[member], progress)?;
    Ok(format!(
        "{member} is removed and stopped; view {}: {}. Its directory {} can be deleted",
        after.view,
        describe(&after),
        layout.home(member).display()
    ))
}

async fn replace(
    layout: &Layout,
    cluster: &Cluster,
    id: u16,
    progress: &Progress,
) -> Result<String, Failure> {
    running(layout)?;
    let member = members::replica(cluster, id)?;
    let home = layout.home(member);
    let server = servers::like(layout, member)?;
    let old = home.with_file_name(format!("replica-{id}.view-{}", cluster.view));
    {
        let _lock = Lock::take(layout)?;
        members::mark_stopped(layout, member, true)?;
        if let Some(process) = members::process(layout, member) {
            stop::kill(member, &process)?;
        }
        postgres::kill(layout, member)?;
        members::forget(layout, member);
        std::fs::rename(&home, &old).map_err(|error| {
            Failure::new(format!("cannot move {} away", home.display())).cause(error)
        })?;
    }
    let shared = initialise::Shared::of(layout, cluster);
    let key = initialise::replica_home(layout, member, "../cluster.toml", &server, shared)?;
    let others = cluster.replicas.iter().filter(|r| r.id != id);
    let others = others.map(|r| Member::Replica(r.id));
    initialise::repair_as_others(layout, member, others)?;
    let step = Step::RotateReplicaKey {
        id: ReplicaId(id),
        key: public(&key)?,
    };
    let (after, ordered) = match order(layout, cluster, vec![step], progress).await {
        Ok(done) => done,
        Err(failure) => {
            return Err(failure.next(format!(
                "the old directory is {}; move it back and `steeldb start` it, or try again",
                old.display()
            )));
        }
    };
    let height = start::bring_back(layout, id, CATCH_UP, progress).await?;
    settled(&ordered, progress).await?;
    Ok(format!(
        "{member} is a new one and caught up to height {height}; view {}. The old directory is {}",
        after.view,
        old.display()
    ))
}

async fn rotate(
    layout: &Layout,
    cluster: &Cluster,
    id: u16,
    progress: &Progress,
) -> Result<String, Failure> {
    running(layout)?;
    let member = members::replica(cluster, id)?;
    let (file, next) = (
        layout.identity(member),
        layout.home(member).join("identity.next"),
    );
    let key = initialise::key(&next)?;
    // It reads the new key as it starts, and signs with it from the height at which the view names it.
    restart(layout, cluster, id, progress).await?;
    let step = Step::RotateReplicaKey {
        id: ReplicaId(id),
        key: public(&key)?,
    };
    let after = change(layout, cluster, vec![step], progress).await?;
    // Loaded once more before the old one goes for good.
    Identity::load(&next).map_err(|error| Failure::new("cannot read the new key").cause(error))?;
    std::fs::rename(&next, &file).map_err(|error| {
        Failure::new(format!(
            "cannot put the new key in the place of {}",
            file.display()
        ))
        .cause(error)
        .next(format!("move {} there", next.display()))
    })?;
    Ok(format!("{member} has a new key; view {}", after.view))
}

async fn restart(
    layout: &Layout,
    cluster: &Cluster,
    id: u16,
    progress: &Progress,
) -> Result<(), Failure> {
    let member = members::replica(cluster, id)?;
    {
        let _lock = Lock::take(layout)?;
        members::mark_stopped(layout, member, true)?;
        stop::stop_members(layout, &[member], progress)?;
        members::forget(layout, member);
    }
    start::bring_back(layout, id, RESTART, progress)
        .await
        .map(drop)
}

fn settings(f: Option<u16>, fast: &[String], leader: Option<u16>) -> Result<Vec<Step>, Failure> {
    let mut steps: Vec<Step> = f.map(|f| Step::SetFaults { f }).into_iter().collect();
    if !fast.is_empty() {
        let none = fast == ["none"];
        let numbers = fast.iter().filter(|_| !none).map(|text| {
            text.parse().map(ReplicaId).map_err(|_| {
                Failure::usage(format!("--fast: {text:?} is no replica's number"))
                    .next("write numbers separated by commas, or `none`")
            })
        });
        let replicas = numbers.collect::<Result<BTreeSet<_>, _>>()?;
        steps.push(Step::SetFast { replicas });
    }
    steps.extend(leader.map(|id| Step::SetLeader {
        replica: ReplicaId(id),
    }));
    if steps.is_empty() {
        return Err(Failure::usage("nothing to set").next("give --f, --fast or --leader"));
    }
    Ok(steps)
}

fn running(layout: &Layout) -> Result<(), Failure> {
    match members::process(layout, Member::Supervisor) {
        Some(_) => Ok(()),
        None => Err(Failure::new("the cluster is not running").next(format!(
            "steeldb up --data {} --detach",
            layout.root().display()
        ))),
    }
}

fn free_address() -> Result<SocketAddr, Failure> {
    let ports = ports::free(1, 0)?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0])))
}

fn public(key: &str) -> Result<PublicKey, Failure> {
    let bytes = hex::decode(key)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(PublicKey)
        .ok_or_else(|| Failure::new("the new key cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_becomes_steps_and_nothing_is_a_usage_error() {
        let fast = ["1".to_owned(), "2".to_owned()];
        let steps = settings(Some(1), &fast, Some(2)).unwrap();
        assert_eq!(steps.len(), 3);
        let even = settings(None, &["none".to_owned()], None).unwrap();
        assert_eq!(
            even,
            [Step::SetFast {
                replicas: BTreeSet::new()
            }]
        );
        assert_eq!(
            settings(None, &[], None).unwrap_err().code(),
            crate::failure::USAGE
        );
        assert!(settings(None, &["x".to_owned()], None).is_err());
    }
}
