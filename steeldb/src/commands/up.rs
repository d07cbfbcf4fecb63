//! `steeldb up`: from nothing, or from what is there, to a connection string.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Child;
use std::time::Duration;

use cluster::Cluster;

use crate::commands::{Where, init};
use crate::failure::Failure;
use crate::initialise::MAX_F;
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::operator::Operator;
use crate::process::Process;
use crate::progress::Progress;
use crate::proxy_file::ProxyFile;
use crate::ready::Wait;
use crate::{directory, logging, members, ports, signals, spawn, stop, supervisor};

/// Start the cluster, making it first where there is none
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// The port for applications [default: as before, else 5433]
    #[arg(long)]
    port: Option<u16>,
    /// Replicas that may be faulty at once, when the cluster is made; 3f+1 replicas are started [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_F)))]
    f: Option<u16>,
    /// Return when the cluster is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// How long the replicas may take to be ready, and then the proxy, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
}

/// What this `up` has started itself.
#[derive(Default)]
struct Mine {
    members: Vec<Member>,
    children: Vec<Child>,
    log_begins: BTreeMap<Member, u64>,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let mut progress = Progress::start();
    let (cluster, listen) = open(&layout, args, &mut progress)?;
    let lock = Lock::take(&layout)?;
    let stop_wish = signals::stop_wish()?;
    let mut stop_wish = std::pin::pin!(stop_wish);

    let supervised = members::process(&layout, Member::Supervisor).is_some();
    let missing: Vec<Member> = members::all(&cluster)
        .into_iter()
        .filter(|member| members::process(&layout, *member).is_none())
        .collect();
    if missing.is_empty() && supervised {
        progress.note(&format!("{} is running already", layout.root().display()));
        drop(progress);
        return connection_string(&layout);
    }
    let listen = take_port(&layout, args, listen, &missing)?;
    let mut mine = Mine::default();
    let ready = async {
        start_members(&layout, &cluster, &missing, listen, &mut mine)?;
        let operator = Operator::connect(&layout, &cluster).await?;
        wait_until_ready(
            &layout,
            &cluster,
            &operator,
            &mine,
            args,
            listen,
            &mut progress,
        )
        .await
    };
    let ready = tokio::select! {
        ready = ready => ready,
        () = &mut stop_wish => Err(Failure::new("interrupted")),
    };
    if let Err(failure) = ready {
        progress.note("what was started is stopped again");
        stop::stop_members(&layout, &mine.members, &mut progress)?;
        return Err(failure);
    }
    if supervised {
        drop(progress);
        return connection_string(&layout);
    }
    if args.detach {
        spawn::start(&layout, Member::Supervisor)?;
        drop(progress);
        return connection_string(&layout);
    }
    let me = Process::living(std::process::id() as i32)
        .ok_or_else(|| Failure::new("this process is not in /proc"))?;
    me.write_to(&layout.pid_file(Member::Supervisor))
        .map_err(|error| Failure::new("cannot write the supervisor's pid file").cause(error))?;
    drop(lock);
    progress.note("ready; Ctrl-C stops the cluster");
    drop(progress);
    connection_string(&layout)?;
    foreground(&layout, &cluster, mine.children, stop_wish).await
}

/// The cluster of the directory, made if there is none, and where its proxy listens.
fn open(
    layout: &Layout,
    args: &Args,
    progress: &mut Progress,
) -> Result<(Cluster, SocketAddr), Failure> {
    if !layout.cluster_file().exists() {
        progress.step(format!("making a cluster in {}", layout.root().display()));
        let port = args.port.unwrap_or(init::DEFAULT_PORT);
        let front = init::front(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        // Before anything is written.
        ports::check_free(Member::Proxy, front.listen)?;
        let plan = init::on_this_machine(args.f.unwrap_or(1), front)?;
        return Ok((init::create(layout, &plan)?, plan.front.listen));
    }
    let cluster = members::load(layout)?;
    if let Some(f) = args.f.filter(|f| *f != cluster.f) {
        return Err(Failure::usage(format!(
            "--f {f} does not fit the cluster in {}",
            layout.root().display()
        ))
        .cause(format!("it was made with f = {}", cluster.f))
        .next("leave --f out, or make another cluster in another directory"));
    }
    directory::open_temporary_way(layout.root());
    let front = ProxyFile::load(&layout.config(Member::Proxy))?;
    Ok((cluster, front.front.listen))
}

/// Lets the proxy listen at the port that was asked for, unless it runs already.
fn take_port(
    layout: &Layout,
    args: &Args,
    listen: SocketAddr,
    missing: &[Member],
) -> Result<SocketAddr, Failure> {
    let wanted = SocketAddr::new(listen.ip(), args.port.unwrap_or(listen.port()));
    if !missing.contains(&Member::Proxy) {
        if wanted != listen {
            eprintln!(
                "the proxy keeps its port {}; `steeldb down` first to change it",
                listen.port()
            );
        }
        return Ok(listen);
    }
    ports::check_free(Member::Proxy, wanted)?;
    if wanted != listen {
        let path = layout.config(Member::Proxy);
        let mut file = ProxyFile::load(&path)?;
        file.front.listen = wanted;
        directory::write(&path, &file.to_text())?;
    }
    Ok(wanted)
}

fn start_members(
    layout: &Layout,
    cluster: &Cluster,
    missing: &[Member],
    listen: SocketAddr,
    mine: &mut Mine,
) -> Result<(), Failure> {
    for member in missing {
        match member {
            Member::Replica(id) => {
                let address = cluster.address(*id).unwrap_or(listen);
                ports::check_free(*member, address)?;
            }
            Member::Proxy | Member::Supervisor => {}
        }
    }
    for member in missing {
        members::mark_stopped(layout, *member, false)?;
        let started = spawn::start(layout, *member)?;
        mine.members.push(*member);
        mine.children.push(started.child);
        mine.log_begins.insert(*member, started.log_begin);
    }
    Ok(())
}

async fn wait_until_ready(
    layout: &Layout,
    cluster: &Cluster,
    operator: &Operator,
    mine: &Mine,
    args: &Args,
    listen: SocketAddr,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let wait = Wait {
        layout,
        cluster,
        shim: &operator.shim,
        log_begins: &mine.log_begins,
        limit: Duration::from_secs(args.timeout),
    };
    for trouble in wait.replicas(progress).await? {
        progress.note(&format!("the cluster serves, but {trouble}"));
    }
    wait.proxy(listen, progress).await
}

/// Prints the line to paste, as the last one.
fn connection_string(layout: &Layout) -> Result<(), Failure> {
    let front = ProxyFile::load(&layout.config(Member::Proxy))?.front;
    let address = ports::reachable(front.listen);
    println!("psql \"postgresql://postgres@{address}/postgres\"");
    let _ = std::io::stdout().flush();
    Ok(())
}

/// Cares for the cluster until Ctrl-C or SIGTERM, then stops it.
async fn foreground(
    layout: &Layout,
    cluster: &Cluster,
    children: Vec<Child>,
    stop_wish: impl Future<Output = ()>,
) -> Result<(), Failure> {
    logging::start()?;
    supervisor::supervise(layout, cluster, children, stop_wish).await?;
    let _lock = Lock::take(layout)?;
    let mut progress = Progress::start();
    stop::stop_members(layout, &members::all(cluster), &mut progress)?;
    progress.note("stopped");
    let _ = std::fs::remove_file(layout.pid_file(Member::Supervisor));
    Ok(())
}
