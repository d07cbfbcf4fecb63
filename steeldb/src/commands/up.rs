//! `steeldb up`: from nothing, or from what is there, to a connection string.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Child;
use std::time::Duration;

use cluster::Cluster;

use crate::commands::Shape;
use crate::commands::import::told;
use crate::commands::{Where, init};
use crate::failure::Failure;
use crate::import::state::{Stage, State};
use crate::import::{self, state};
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::operator::Operator;
use crate::progress::Progress;
use crate::proxy_file::ProxyFile;
use crate::ready::Wait;
use crate::{directory, logging, members, ports, servers, signals, spawn, stop, supervisor};

/// Start the cluster, making it first where there is none
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// The port for applications [default: as before, else 5433]
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    import: import::Options,
    /// Return when the cluster is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// How long the replicas may take to be ready, and then the proxy, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    check_import(&layout, &args.import)?;
    let progress = Progress::start();
    let cluster = open(&layout, args, &progress)?;
    let stop_wish = signals::stop_wish()?;
    let mut stop_wish = std::pin::pin!(stop_wish);
    let operator = Operator::connect(&layout, &cluster).await?;
    let wait = Wait::new(
        &layout,
        &cluster,
        operator,
        Duration::from_secs(args.timeout),
    );

    let supervised = members::process(&layout, Member::Supervisor).is_some();
    let listen = prepare(&layout, &cluster, args, supervised)?;
    let Some(listen) = listen else {
        if args.import.from.is_some() {
            return Err(Failure::usage("--from imports before the proxy is started")
                .cause("the cluster is running already")
                .next(format!(
                    "steeldb import --data {} --from DSN",
                    layout.root().display()
                )));
        }
        progress.note(&format!("{} is running already", layout.root().display()));
        drop(progress);
        return connection_string(&layout);
    };
    if supervised {
        bring_up(&layout, &cluster, &wait, args, listen, &progress).await?;
    } else if args.detach {
        let child = spawn::start(&layout, Member::Supervisor)?;
        let ready = tokio::select! {
            ready = bring_up(&layout, &cluster, &wait, args, listen, &progress) => ready,
            failure = end_of_supervisor(&layout, child) => Err(failure),
            () = &mut stop_wish => Err(Failure::new("interrupted")),
        };
        if ready.is_err() {
            progress.note("what was started is stopped again");
            stop::stop_supervisor(&layout, &members::all(&cluster), &progress)?;
        }
        ready?;
    } else {
        return foreground(&layout, wait, &cluster, args, listen, progress, stop_wish).await;
    }
    drop(progress);
    connection_string(&layout)
}

/// The cluster of the directory, made if there is none.
fn open(layout: &Layout, args: &Args, progress: &Progress) -> Result<Cluster, Failure> {
    if !layout.cluster_file().exists() {
        progress.step(format!("making a cluster in {}", layout.root().display()));
        let port = args.port.unwrap_or(init::DEFAULT_PORT);
        let front = init::front(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        // Before anything is written.
        ports::check_free(Member::Proxy, front.listen)?;
        let plan = init::on_this_machine(&args.shape, front)?;
        return init::create(layout, &plan);
    }
    let cluster = members::load(layout)?;
    args.shape.check(&cluster)?;
    servers::check(layout, &cluster, &args.shape.postgres)?;
    directory::open_temporary_way(layout.root());
    Ok(cluster)
}

/// Checks that what does not run can be started, and forgets that it was stopped. Returns where the proxy listens, or
/// nothing when everything runs.
fn prepare(
    layout: &Layout,
    cluster: &Cluster,
    args: &Args,
    supervised: bool,
) -> Result<Option<SocketAddr>, Failure> {
    let _lock = Lock::take(layout)?;
    let missing: Vec<Member> = members::all(cluster)
        .into_iter()
        .filter(|member| members::process(layout, *member).is_none())
        .collect();
    let listen = proxy_address(layout, args, missing.contains(&Member::Proxy))?;
    if missing.is_empty() && supervised {
        return Ok(None);
    }
    for member in missing {
        let address = match member {
            Member::Replica(id) => cluster.address(id),
            Member::Proxy | Member::Supervisor => Some(listen),
        };
        if let Some(address) = address {
            ports::check_free(member, address)?;
        }
        members::forget(layout, member);
        // No client is served before everything is imported.
        let held = member == Member::Proxy && args.import.from.is_some();
        members::mark_stopped(layout, member, held)?;
    }
    Ok(Some(listen))
}

/// Where the proxy listens: at the port that was asked for, unless it runs already.
fn proxy_address(layout: &Layout, args: &Args, can_change: bool) -> Result<SocketAddr, Failure> {
    let path = layout.config(Member::Proxy);
    let mut file = ProxyFile::load(&path)?;
    let kept = file.front.listen;
    let wanted = SocketAddr::new(kept.ip(), args.port.unwrap_or(kept.port()));
    if wanted == kept {
        return Ok(kept);
    }
    if !can_change {
        eprintln!(
            "the proxy keeps its port {}; to change it, `steeldb down` first",
            kept.port()
        );
        return Ok(kept);
    }
    ports::check_free(Member::Proxy, wanted)?;
    file.front.listen = wanted;
    directory::write(&path, &file.to_text())?;
    Ok(wanted)
}

/// Waits for the replicas, imports what is to be imported, and waits for the proxy.
async fn bring_up(
    layout: &Layout,
    cluster: &Cluster,
    wait: &Wait<'_>,
    args: &Args,
    listen: SocketAddr,
    progress: &Progress,
) -> Result<(), Failure> {
    replicas(wait, progress).await?;
    if args.import.from.is_some() {
        let patience = Duration::from_secs(args.timeout);
        let done = import::run(layout, cluster, &args.import, patience, progress).await?;
        progress.note(&told(&done));
        members::mark_stopped(layout, Member::Proxy, false)?;
    }
    wait.proxy(listen, progress).await
}

async fn replicas(wait: &Wait<'_>, progress: &Progress) -> Result<(), Failure> {
    for trouble in wait.replicas(progress).await? {
        progress.note(&format!("the cluster serves, but {trouble}"));
    }
    Ok(())
}

/// An interrupted import is taken up again or nothing is served; what was imported is not imported again.
fn check_import(layout: &Layout, options: &import::Options) -> Result<(), Failure> {
    let Some(state) = State::read(layout)? else {
        return Ok(());
    };
    match (state.stage, &options.from) {
        (_, None) => state::refuse_interrupted(layout),
        (Stage::Begun, Some(_)) if !options.begin_anew => state::refuse_interrupted(layout),
        (Stage::Begun, Some(_)) => Ok(()),
        (Stage::Verified, Some(_)) => Err(Failure::new(format!(
            "{} holds an import already",
            layout.root().display()
        ))
        .cause(format!("of {}", state.source))
        .next("leave out --from to start it, or choose another directory")),
    }
}

/// Starts the replicas of a new cluster without its proxy, imports, and stops them again.
pub async fn import_and_stop(
    layout: &Layout,
    cluster: &Cluster,
    options: &import::Options,
) -> Result<(), Failure> {
    let progress = Progress::start();
    let operator = Operator::connect(layout, cluster).await?;
    let wait = Wait::new(layout, cluster, operator, IMPORT_START);
    members::mark_stopped(layout, Member::Proxy, true)?;
    let child = spawn::start(layout, Member::Supervisor)?;
    let stop_wish = signals::stop_wish()?;
    let work = async {
        replicas(&wait, &progress).await?;
        import::run(layout, cluster, options, IMPORT_AUDIT, &progress).await
    };
    let done = tokio::select! {
        done = work => done,
        failure = end_of_supervisor(layout, child) => Err(failure),
        () = stop_wish => Err(Failure::new("interrupted")),
    };
    stop::stop_supervisor(layout, &members::all(cluster), &progress)?;
    members::mark_stopped(layout, Member::Proxy, false)?;
    drop(progress);
    println!("{}", told(&done?));
    Ok(())
}

/// How long the replicas may take to be ready for an import, and then to digest what they hold.
const IMPORT_START: Duration = Duration::from_secs(180);
const IMPORT_AUDIT: Duration = Duration::from_secs(600);

/// Prints the line to paste, as the last one.
fn connection_string(layout: &Layout) -> Result<(), Failure> {
    let front = ProxyFile::load(&layout.config(Member::Proxy))?.front;
    let address = ports::reachable(front.listen);
    println!("psql \"postgresql://postgres@{address}/postgres\"");
    // Whoever reads it through a pipe starts now; a closed pipe is the reader's choice.
    let _ = std::io::stdout().flush();
    Ok(())
}

/// Resolves when the supervisor has ended, which it does not as long as all is well.
async fn end_of_supervisor(layout: &Layout, mut child: Child) -> Failure {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let log = layout.log_file(Member::Supervisor);
            return Failure::new(format!("the supervisor has ended ({status})")).cause(format!(
                "its log {} ends with:\n{}",
                log.display(),
                spawn::log_tail(&log, 0)
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Is the supervisor itself, until Ctrl-C or SIGTERM.
async fn foreground(
    layout: &Layout,
    wait: Wait<'_>,
    cluster: &Cluster,
    args: &Args,
    listen: SocketAddr,
    progress: Progress,
    stop_wish: impl Future<Output = ()>,
) -> Result<(), Failure> {
    logging::start_at_terminal()?;
    if !supervisor::enter(layout)? {
        return Err(Failure::new("another `steeldb up` was faster").next("wait for it to be ready"));
    }
    let (give_up, given_up) = tokio::sync::oneshot::channel::<()>();
    let stop = async {
        tokio::select! {
            () = stop_wish => {}
            // The sender is used once or lives until the end.
            _ = given_up => {}
        }
    };
    let mut care = std::pin::pin!(supervisor::supervise(layout, cluster, stop));
    let ready = tokio::select! {
        ready = bring_up(layout, cluster, &wait, args, listen, &progress) => ready,
        stopped = &mut care => return stopped.and(Err(Failure::new("interrupted"))),
    };
    // The operator's links are not needed any more.
    drop(wait);
    if let Err(failure) = ready {
        progress.note("what was started is stopped again");
        drop(progress);
        let _ = give_up.send(());
        care.await?;
        return Err(failure);
    }
    progress.note("ready; Ctrl-C stops the cluster");
    drop(progress);
    connection_string(layout)?;
    care.await?;
    eprintln!("{} is stopped", layout.root().display());
    Ok(())
}
