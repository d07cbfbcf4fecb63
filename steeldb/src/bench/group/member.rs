//! A replica of a fault measurement: `order::node` with a ledger, as a process of its own.
//!
//! It tells where it stands ten times a second without being asked, since one that is stopped cannot answer, and answers questions
//! in between: lines of JSON on standard output. It ends when its standard input does, so it never outlives who started it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use ::consensus::ReplicaId;
use cluster::Cluster;
use net::Identity;
use order::node::{Node, NodeConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::ledger::{Dump, Ledger, Shared};
use crate::failure::Failure;
use crate::logging;

/// From one word about itself to the next.
pub const TELL_EVERY: Duration = Duration::from_millis(100);

/// One replica of `bench faults`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    id: u16,
    #[arg(long)]
    cluster: PathBuf,
    /// The view in which the cluster began, when `cluster` is a later one
    #[arg(long)]
    genesis: Option<PathBuf>,
    #[arg(long)]
    identity: PathBuf,
    #[arg(long)]
    log: PathBuf,
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Stages of a leader's time-out
    #[arg(long, value_name = "MS")]
    request_timeout: Option<u64>,
    /// Length of a result, if more than the ledger has to say
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    reply: u32,
    /// Heights from checkpoint to checkpoint; 0: none
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<u32>,
    /// Answer after the WRITE quorum
    #[arg(long)]
    tentative: bool,
}

/// What a replica says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    Standing(Standing),
    Dump(Dump),
    /// The height, and the digest of the whole replicated state after it.
    State(u64, String),
}

/// Where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub executed: u64,
    pub decided: u64,
    pub regency: u64,
    pub leader: u16,
    pub view: u64,
    pub member: bool,
    pub synchronizing: bool,
    pub lagging: bool,
    /// The ledger's last mark.
    pub mark: Option<(u64, String)>,
    /// Rules broken.
    pub notes: usize,
}

/// Asks for a [`Told::Dump`].
pub const ASK_DUMP: &str = "dump";
/// Asks for a [`Told::State`].
pub const ASK_STATE: &str = "state";

/// Until standard input ends.
pub async fn run(args: &Args) -> Result<(), Failure> {
    logging::start()?;
    let failed =
        |cause: String| Failure::new(format!("replica {} has stopped", args.id)).cause(cause);
    let plan = plan(args).map_err(failed)?;
    let reply = args.reply as usize;
    // Replicas share the machine's cores: a thread each for links and order, besides the service's.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = match cores / 4 {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        share => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(share);
            builder
        }
    }
    .enable_all()
    .build()
    .map_err(|error| failed(error.to_string()))?;
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("replica".to_owned())
        .spawn(move || {
            // Nobody waits for the answer once the process ends.
            let _ = sender.send(runtime.block_on(serve(plan, reply)));
        })
        .map_err(|error| failed(error.to_string()))?;
    ended
        .await
        .unwrap_or_else(|_| Err("its thread failed".to_owned()))
        .map_err(failed)
}

fn plan(args: &Args) -> Result<NodeConfig, String> {
    let load = |file| Cluster::load(file).map_err(|error| error.to_string());
    let cluster = load(&args.cluster)?;
    let identity = Identity::load(&args.identity).map_err(|error| error.to_string())?;
    let mut config = NodeConfig::new(cluster, ReplicaId(args.id), identity, &args.log);
    config.genesis = args.genesis.as_deref().map(load).transpose()?;
    config.listen = args.listen;
    if let Some(ms) = args.request_timeout {
        config.settings.request_timeout_ms = ms;
    }
    config.settings.tentative = args.tentative;
    if let Some(heights) = args.checkpoint_every {
        config.settings.checkpoint_every = heights;
    }
    if let Some(bytes) = args.segment_bytes {
        config.log_options.segment_bytes = bytes;
    }
    Ok(config)
}

async fn serve(config: NodeConfig, reply: usize) -> Result<(), String> {
    let shared = Shared::default();
    let ledger = Ledger::new(shared.clone(), reply);
    let node = Node::start(config, ledger)
        .await
        .map_err(|error| error.to_string())?;
    tokio::select! {
        ended = node.ended() => ended.map_err(|error| error.to_string()),
        told = tell(&node, &shared) => told,
    }
}

/// Speaks until standard input ends.
async fn tell(node: &Node, shared: &Shared) -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let told = tokio::select! {
            _ = ticks.tick() => Told::Standing(standing(node, shared)),
            line = lines.next_line() => match line {
                Ok(Some(line)) if line == ASK_DUMP => Told::Dump(shared.dump()),
                Ok(Some(line)) if line == ASK_STATE => {
                    let (height, state) = node.snapshot().await.map_err(|error| error.to_string())?;
                    Told::State(height, hex::encode(order::node::digest(&state).0))
                }
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => return Ok(()),
            },
        };
        let line = serde_json::to_string(&told).map_err(|error| error.to_string())?;
        if writeln!(std::io::stdout().lock(), "{line}").is_err() {
            // Who started it is gone.
            return Ok(());
        }
    }
}

fn standing(node: &Node, shared: &Shared) -> Standing {
    let status = node.status();
    Standing {
        executed: *node.executed().borrow(),
        decided: status.height,
        regency: status.regency,
        leader: status.leader.0,
        view: status.view,
        member: status.member,
        synchronizing: status.synchronizing,
        lagging: status.lagging,
        mark: shared.mark(),
        notes: shared.notes(),
    }
}
