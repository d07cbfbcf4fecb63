//! Closed-loop clients: each has a key, a number and one request at a time, and sends the next one when Q replies match.
//!
//! A host is one connection to each replica that carries the requests of many clients, so that 200 clients do not cost 800
//! TLS connections. Client `i` of the file belongs to host `i mod hosts`, and host `h` has the identity of client `h`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ::consensus::{Author, ClientId, ReplicaId, Request, View};
use bytes::Bytes;
use client_shim::count::ReplyCounter;
use cluster::{Cluster, FIRST_CLIENT, channel};
use hdrhistogram::Histogram;
use net::{Endpoint, EndpointConfig, Event, Events, Identity, PeerId};
use txn::Ordered;
use txn::client::{ClientMessage, ReplicaMessage, Reply};

use super::service::FRAME;
use crate::failure::Failure;

/// A request without an answer is sent again after this time.
const REPEAT: Duration = Duration::from_secs(1);
/// How often an open loop looks what has come.
const ARRIVALS: Duration = Duration::from_millis(1);
/// The longest latency told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Between a host's thread and the measurement.
#[derive(Default)]
pub struct Gauge {
    /// Whether answers enter the histogram.
    pub measuring: AtomicBool,
    pub stop: AtomicBool,
    /// Answered since the start.
    pub answered: AtomicU64,
    /// Sent again for want of an answer.
    pub repeated: AtomicU64,
    /// Refused by a replica.
    pub refused: AtomicU64,
}

/// The clients of one connection.
pub struct Host {
    me: u32,
    cluster: Cluster,
    identity: Identity,
    clients: Vec<Client>,
    /// Client `i` here has this incarnation plus `i`: a reply names its client by it.
    first_incarnation: u64,
    view: Arc<View>,
    op: Bytes,
    pace: Option<Pace>,
    /// To be sent with the next [`flush`](Host::flush).
    ready: Vec<Request>,
    gauge: Arc<Gauge>,
    latencies: Histogram<u64>,
}

struct Client {
    author: Author,
    seq: u64,
    began: Instant,
    sent: Instant,
    counter: ReplyCounter,
}

/// Requests that come at a steady rate.
struct Pace {
    between: Duration,
    next: Instant,
    idle: VecDeque<usize>,
}

impl Pace {
    fn of(rate: f64) -> Pace {
        Pace {
            between: Duration::from_secs_f64(1.0 / rate),
            next: Instant::now(),
            idle: VecDeque::new(),
        }
    }

    /// A request that has come, and who makes it. What finds nobody idle waits, and keeps the time when it came.
    fn next(&mut self) -> Option<(usize, Instant)> {
        let came = self.next;
        if came > Instant::now() {
            return None;
        }
        let index = self.idle.pop_front()?;
        self.next += self.between;
        Some((index, came))
    }
}

/// Latencies in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants and valid")
}

impl Host {
    /// Host number `host` of `hosts`.
    pub fn new(
        cluster: &Cluster,
        clients: &[Identity],
        (host, hosts): (usize, usize),
        request: usize,
        rate: Option<f64>,
        first_incarnation: u64,
        gauge: Arc<Gauge>,
    ) -> Host {
        let view = Arc::new(cluster.membership());
        let now = Instant::now();
        let own = (FIRST_CLIENT..).zip(clients).skip(host).step_by(hosts);
        let clients_here = own.map(|(id, identity)| Client {
            author: Author::new(ClientId(id), identity.signing_key().clone()),
            seq: 0,
            began: now,
            sent: now,
            counter: ReplyCounter::new(view.clone()),
        });
        Host {
            me: FIRST_CLIENT + host as u32,
            cluster: cluster.clone(),
            identity: clients[host].clone(),
            clients: clients_here.collect(),
            first_incarnation,
            view,
            op: Ordered::Nothing(vec![0; request]).encode().into(),
            pace: rate.map(Pace::of),
            ready: Vec::new(),
            gauge,
            latencies: histogram(),
        }
    }

    /// On a thread of its own until told to stop; hands back the latencies measured.
    pub fn start(
        self,
    ) -> Result<std::thread::JoinHandle<Result<Histogram<u64>, Failure>>, Failure> {
        let failed = |error: std::io::Error| Failure::new("cannot start the clients").cause(error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        std::thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || runtime.block_on(self.run()))
            .map_err(failed)
    }

    async fn run(mut self) -> Result<Histogram<u64>, Failure> {
        let failed = |cause: String| Failure::new("the clients' links do not start").cause(cause);
        let (endpoint, mut events) = Endpoint::start(EndpointConfig {
            me: PeerId::Client(self.me),
            identity: self.identity.clone(),
            directory: self
                .cluster
                .directory()
                .map_err(|error| failed(error.to_string()))?,
            listen: None,
            dial: self
                .cluster
                .replicas
                .iter()
                .map(|r| (PeerId::Replica(r.id), r.address))
                .collect(),
            limits: net::Limits::default(),
        })
        .await
        .map_err(|error| failed(error.to_string()))?;
        while endpoint.connected().len() < self.cluster.replicas.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for index in 0..self.clients.len() {
            self.go_on(index, Instant::now());
        }
        self.flush(&endpoint);
        self.listen(&mut events, &endpoint).await;
        endpoint.shutdown().await;
        Ok(self.latencies)
    }

    async fn listen(&mut self, events: &mut Events, endpoint: &Endpoint) {
        let mut tick = tokio::time::interval(REPEAT / 10);
        let mut arrivals = tokio::time::interval(ARRIVALS);
        arrivals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !self.gauge.stop.load(Relaxed) {
            tokio::select! {
                event = events.recv() => {
                    // What came together is answered together.
                    let mut event = event;
                    if event.is_none() {
                        return;
                    }
                    while let Some(one) = event {
                        if let Event::Frame { from: PeerId::Replica(from), payload, .. } = one {
                            self.heard(ReplicaId(from), &payload);
                        }
                        event = events.try_recv();
                    }
                }
                _ = tick.tick() => self.repeat(),
                _ = arrivals.tick(), if self.pace.is_some() => {}
            }
            self.arrive();
            self.flush(endpoint);
        }
    }

    /// Idle clients take what has come by now.
    fn arrive(&mut self) {
        while let Some((index, came)) = self.pace.as_mut().and_then(Pace::next) {
            self.next(index, came);
        }
    }

    /// A client is free: it asks at once, or when its next request comes.
    fn go_on(&mut self, index: usize, now: Instant) {
        match &mut self.pace {
            Some(pace) => pace.idle.push_back(index),
            None => self.next(index, now),
        }
    }

    fn heard(&mut self, from: ReplicaId, payload: &Bytes) {
        match postcard::from_bytes(payload) {
            Ok(ReplicaMessage::Replies(replies)) => {
                for reply in replies {
                    self.count(from, reply);
                }
            }
            Ok(ReplicaMessage::Rejected { reason, .. }) => {
                tracing::warn!(%from, reason, "a request was refused");
                self.gauge.refused.fetch_add(1, Relaxed);
            }
            _ => tracing::warn!(%from, "unexpected message dropped"),
        }
    }

    fn count(&mut self, from: ReplicaId, reply: Reply) {
        let index = reply.incarnation.wrapping_sub(self.first_incarnation) as usize;
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        // The last of the replicas answers when the client has gone on already.
        if reply.seq != client.seq || client.counter.add(from, reply).is_none() {
            return;
        }
        if self.gauge.measuring.load(Relaxed) {
            let latency = client.began.elapsed().as_nanos() as u64;
            self.latencies.saturating_record(latency);
        }
        self.gauge.answered.fetch_add(1, Relaxed);
        self.go_on(index, Instant::now());
    }

    /// Makes the client's next request; its latency counts from `began`.
    fn next(&mut self, index: usize, began: Instant) {
        let client = &mut self.clients[index];
        client.seq += 1;
        client.began = began;
        client.counter = ReplyCounter::new(self.view.clone());
        self.prepare(index);
    }

    fn prepare(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.sent = Instant::now();
        let incarnation = self.first_incarnation + index as u64;
        let request = client
            .author
            .request(&self.view, incarnation, client.seq, self.op.clone());
        self.ready.push(request);
    }

    /// Sends what is ready to all replicas, as much in a message as makes about [`FRAME`] bytes.
    fn flush(&mut self, endpoint: &Endpoint) {
        let most = FRAME / (self.op.len() + 128) + 1;
        while !self.ready.is_empty() {
            let rest = self.ready.split_off(self.ready.len().min(most));
            let requests = std::mem::replace(&mut self.ready, rest);
            let room = Vec::with_capacity(requests.len() * (self.op.len() + 128));
            let bytes = postcard::to_extend(&ClientMessage::Requests(requests), room)
                .expect("these types have no unserialisable parts");
            let bytes = Bytes::from(bytes);
            for replica in &self.cluster.replicas {
                let to = PeerId::Replica(replica.id);
                if let Err(error) = endpoint.send(to, channel::CLIENT, bytes.clone()) {
                    tracing::debug!(%to, %error, "requests were not sent");
                }
            }
        }
    }

    fn repeat(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].sent.elapsed() >= REPEAT {
                self.gauge.repeated.fetch_add(1, Relaxed);
                self.prepare(index);
            }
        }
    }
}
