//! A replica of a measurement: real links, real order, real log, and a service that does nothing but answer.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ::consensus::{ClientId, ReplicaId, Request};
use bytes::Bytes;
use cluster::{Cluster, FIRST_CLIENT, channel};
use net::{Endpoint, EndpointConfig, Event, Events, Identity, PeerId};
use order::log::{Log, LogOptions};
use order::{Delivered, Inbound, OrderEvents, OrderHandle, OrderParts, Repeat, ToService};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use txn::client::{Answer, ClientMessage, ReplicaMessage, Reply};

use crate::failure::Failure;
use crate::logging;

/// Bytes of requests or replies that share a message.
pub const FRAME: usize = 64 << 10;

/// Instances in flight unless told otherwise.
pub const PIPELINE: u16 = ::consensus::DEFAULT_PIPELINE as u16;

/// One replica of `bench consensus`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    id: u16,
    #[arg(long)]
    replicas: usize,
    #[arg(long)]
    cluster: PathBuf,
    #[arg(long)]
    identity: PathBuf,
    #[arg(long)]
    log: PathBuf,
    /// Connections that carry the clients' requests
    #[arg(long)]
    hosts: u32,
    /// Bytes of a reply
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    reply: u32,
    #[arg(long)]
    no_fsync: bool,
    /// Instances in flight
    #[arg(long)]
    pipeline: u16,
}

/// What a replica tells of itself, in one line of JSON for each line that it reads.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Replicas connected.
    pub links: usize,
    pub heights: u64,
    pub requests: u64,
    pub fsyncs: u64,
}

/// Until standard input ends.
pub async fn run(args: &Args) -> Result<(), Failure> {
    logging::start()?;
    let failed =
        |cause: String| Failure::new(format!("replica {} has stopped", args.id)).cause(cause);
    let serving = serve_on_own_runtime(args).map_err(|error| failed(error.to_string()))?;
    match serving.await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed("its thread failed".to_owned())),
    }
}

/// The replicas share the machine's cores, so each takes its share of threads. On one thread no message wakes another.
fn serve_on_own_runtime(
    args: &Args,
) -> std::io::Result<tokio::sync::oneshot::Receiver<Result<(), String>>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = match cores / args.replicas.max(1) {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        share => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(share);
            builder
        }
    };
    let runtime = builder.enable_all().build()?;
    let start = Start::of(args);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("replica".to_owned())
        .spawn(move || {
            // Nobody waits for the answer once the process ends.
            let _ = sender.send(runtime.block_on(serve(start)));
        })?;
    Ok(receiver)
}

struct Start {
    id: u16,
    cluster: PathBuf,
    identity: PathBuf,
    log: PathBuf,
    hosts: u32,
    reply: usize,
    fsync: bool,
    pipeline: u16,
}

impl Start {
    fn of(args: &Args) -> Start {
        Start {
            id: args.id,
            cluster: args.cluster.clone(),
            identity: args.identity.clone(),
            log: args.log.clone(),
            hosts: args.hosts.max(1),
            reply: args.reply as usize,
            fsync: !args.no_fsync,
            pipeline: args.pipeline,
        }
    }
}

async fn serve(start: Start) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let cluster = Cluster::load(&start.cluster).map_err(|e| text(&e))?;
    let identity = Identity::load(&start.identity).map_err(|e| text(&e))?;
    let key = identity.signing_key().clone();
    let options = LogOptions {
        fsync: start.fsync,
        ..LogOptions::default()
    };
    let (log, replay) = Log::open(&start.log, options).map_err(|e| text(&e))?;
    let recovered = order::recover(replay, cluster.membership())?;
    let (endpoint, events) = Endpoint::start(EndpointConfig {
        me: PeerId::Replica(start.id),
        identity,
        directory: cluster.directory().map_err(|e| text(&e))?,
        listen: cluster.address(start.id),
        dial: cluster
            .replicas
            .iter()
            .filter(|r| r.id < start.id)
            .map(|r| (PeerId::Replica(r.id), r.address))
            .collect(),
        limits: net::Limits::default(),
    })
    .await
    .map_err(|e| text(&e))?;
    let (handle, from_order) = order::start(OrderParts {
        me: ReplicaId(start.id),
        key,
        spare_keys: Vec::new(),
        links_since: 0,
        view: cluster.membership(),
        settings: settings(start.pipeline),
        log: log.clone(),
        endpoint: endpoint.clone(),
        wire: Arc::new(replica::TransactionWire),
        recovered,
        finished: None,
        state: None,
        own_record: false,
    });
    let ordered = Arc::new(Ordered::default());
    let (answer, frames) = Service::answer(start.reply);
    let service = Service {
        endpoint: endpoint.clone(),
        hosts: start.hosts,
        answer,
        frames,
        last: BTreeMap::new(),
        ordered: ordered.clone(),
    };
    tokio::select! {
        () = dispatch(events, handle) => Err("its links ended".to_owned()),
        () = service.run(from_order) => Err("the order ended".to_owned()),
        error = log.failed() => Err(error.to_string()),
        () = tell(&endpoint, &log, &ordered) => Ok(()),
    }
}

/// The order's settings, with so many instances in flight.
fn settings(pipeline: u16) -> ::consensus::Settings {
    ::consensus::Settings {
        pipeline: usize::from(pipeline),
        ..::consensus::Settings::default()
    }
}

/// Batches and requests answered so far.
#[derive(Default)]
struct Ordered {
    heights: AtomicU64,
    requests: AtomicU64,
}

/// Answers questions until standard input ends.
async fn tell(endpoint: &Endpoint, log: &Log, ordered: &Ordered) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        let connected = endpoint.connected();
        let counters = Counters {
            links: connected
                .iter()
                .filter(|peer| matches!(peer, PeerId::Replica(_)))
                .count(),
            heights: ordered.heights.load(Relaxed),
            requests: ordered.requests.load(Relaxed),
            fsyncs: log.stats().fsyncs,
        };
        match serde_json::to_string(&counters) {
            Ok(line) => println!("{line}"),
            Err(_) => return,
        }
    }
}

/// Sorts what comes over the links, as a replica with PostgreSQL does.
async fn dispatch(mut events: Events, order: OrderHandle) {
    while let Some(event) = events.recv().await {
        match order::inbound(event) {
            Ok(inbound) => order.inbound(inbound).await,
            Err(Event::Frame { from, payload, .. }) => match postcard::from_bytes(&payload) {
                Ok(ClientMessage::Requests(requests)) => {
                    order.inbound(Inbound::Requests(requests)).await;
                }
                _ => tracing::warn!(%from, "not a request: dropped"),
            },
            Err(_) => {}
        }
    }
}

/// Answers what is ordered and durable.
struct Service {
    endpoint: Endpoint,
    hosts: u32,
    answer: Answer,
    frames: Vec<Bytes>,
    /// The last answer to each client, for a request that comes again: a client has one at a time.
    last: BTreeMap<ClientId, Reply>,
    ordered: Arc<Ordered>,
}

impl Service {
    /// The reply's content as one CopyData message, whose digest enters the match as that of an `Exec` does.
    fn answer(reply: usize) -> (Answer, Vec<Bytes>) {
        if reply == 0 {
            return (Answer::Done, Vec::new());
        }
        let length = u32::try_from(reply + 4).expect("a reply's size is at most a MiB");
        let mut message = vec![b'd'];
        message.extend(length.to_be_bytes());
        message.resize(message.len() + reply, 0);
        let frames = vec![Bytes::from(message)];
        let result = txn::result::digest(&frames, None);
        (Answer::Executed { result }, frames)
    }

    async fn run(mut self, from_order: OrderEvents) {
        let OrderEvents {
            mut decided,
            mut durable,
            mut repeats,
            view: _,
            status: _status,
        } = from_order;
        let mut waiting: VecDeque<Delivered> = VecDeque::new();
        loop {
            tokio::select! {
                delivered = decided.recv() => match delivered {
                    Some(ToService::Execute(delivered)) => waiting.push_back(delivered),
                    // There are no checkpoints here.
                    _ => return,
                },
                changed = durable.changed() => if changed.is_err() {
                    return;
                },
                Some(Repeat { client, incarnation, seq, .. }) = repeats.recv() => self.repeat(client, incarnation, seq),
            }
            let durable = *durable.borrow_and_update();
            while let Some(delivered) =
                waiting.pop_front_if(|delivered| delivered.decided.height <= durable)
            {
                self.answer_all(&delivered);
            }
        }
    }

    fn answer_all(&mut self, delivered: &Delivered) {
        let decided = &delivered.decided;
        let mut replies: BTreeMap<PeerId, Vec<Reply>> = BTreeMap::new();
        for (index, request) in (0..).zip(&decided.requests) {
            let reply = self.reply(decided.height, index, decided.batch.time_ms, request);
            if let Some(host) = self.host(request.client) {
                replies.entry(host).or_default().push(reply.clone());
            }
            self.last.insert(request.client, reply);
        }
        for (host, replies) in replies {
            self.send(host, replies);
        }
        self.ordered.heights.fetch_add(1, Relaxed);
        let requests = decided.requests.len() as u64;
        self.ordered.requests.fetch_add(requests, Relaxed);
    }

    fn reply(&self, height: u64, index: u32, time_ms: u64, request: &Request) -> Reply {
        Reply {
            incarnation: request.incarnation,
            seq: request.seq,
            height,
            index,
            time_ms,
            epoch: 0,
            answer: self.answer.clone(),
            reason: None,
            frames: self.frames.clone(),
        }
    }

    fn repeat(&self, client: ClientId, incarnation: u64, seq: u64) {
        let known = self
            .last
            .get(&client)
            .filter(|reply| (reply.incarnation, reply.seq) == (incarnation, seq));
        if let (Some(reply), Some(host)) = (known, self.host(client)) {
            self.send(host, vec![reply.clone()]);
        }
    }

    /// The client's host is known by the client's number; see `client.rs`.
    fn host(&self, client: ClientId) -> Option<PeerId> {
        let place = client.0.checked_sub(FIRST_CLIENT)?;
        Some(PeerId::Client(FIRST_CLIENT + place % self.hosts))
    }

    /// As many in a message as make about [`FRAME`] bytes.
    fn send(&self, host: PeerId, mut replies: Vec<Reply>) {
        let each = self.frames.iter().map(Bytes::len).sum::<usize>() + 64;
        while !replies.is_empty() {
            let rest = replies.split_off(replies.len().min(FRAME / each + 1));
            let room = Vec::with_capacity(replies.len() * each + 16);
            let bytes = postcard::to_extend(&ReplicaMessage::Replies(replies), room)
                .expect("these types have no unserialisable parts");
            if let Err(error) = self.endpoint.send(host, channel::CLIENT, bytes.into()) {
                // The clients ask again.
                tracing::debug!(%host, %error, "replies were not sent");
            }
            replies = rest;
        }
    }
}
