//! `steeldb bench consensus`: the total order under closed-loop clients, over loopback.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::consensus::ClientAuthentication;
use hdrhistogram::Histogram;

use super::children::{Order, Replicas};
use super::client::{Gauge, Host};
use super::layout::Layout;
use super::report::{Latency, Report, per, us_per_op};
use super::{client, cpu, matrix};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// Measure the total order: signed requests, replicas as processes, TLS over loopback, a service that only answers
///
/// Each client has its own key and number and sends its next request when a quorum of replies matches. Clients share
/// connections: one to each replica for every four cores carries all of their signed requests. The replicas' logs
/// lie in a directory of their own below TMPDIR, which is removed at the end.
///
/// With --rate the clients are an open loop: requests come at that rate whatever happened to those before, wait if all
/// clients are busy, and their latency counts from when they came.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    shape: Shape,
    /// First measure how much it carries with this many clients, then measure an open loop at this share of it
    #[arg(long, conflicts_with_all = ["rate", "matrix"], value_parser = clap::value_parser!(u8).range(1..=100), value_name = "PERCENT")]
    rate_of_peak: Option<u8>,
    /// Measure 0/0, 100/100 and 1024/1024 bytes with 1, 50, 200 and 1000 clients, MACs and signatures, with and without
    /// pipelining, 2 s each
    #[arg(long, conflicts_with_all = ["rate", "clients", "request", "reply", "auth", "pipeline"])]
    matrix: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// One measurement.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// Replica processes; they bear f = (N-1)/3 liars
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=31), value_name = "N")]
    pub replicas: u16,
    /// Clients, closed loops without --rate
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    pub clients: u16,
    /// Size of a request's operation
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 20), value_name = "BYTES")]
    pub request: u32,
    /// Size of a reply
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 20), value_name = "BYTES")]
    pub reply: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub duration: u64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=600), value_name = "SECONDS")]
    pub warmup: u64,
    /// How clients authenticate their requests
    #[arg(long, value_enum, default_value_t = Auth::Signatures)]
    pub auth: Auth,
    /// Do not make the logs durable, to see what the disk costs
    #[arg(long)]
    pub no_fsync: bool,
    /// Instances in flight at most; 1: one after another
    #[arg(long, default_value_t = PIPELINE, value_parser = clap::value_parser!(u16).range(1..=16), value_name = "N")]
    pub pipeline: u16,
    /// Requests a second, whether the ones before are answered or not
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "OPS")]
    pub rate: Option<u32>,
}

/// What a replica does unless told otherwise.
pub const PIPELINE: u16 = super::service::PIPELINE;

/// How clients authenticate their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Each request is signed
    Signatures,
    /// Each request has a MAC for every replica
    Macs,
}

impl Auth {
    /// In a table or a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Macs => "MACs",
        }
    }
}

impl From<Auth> for ClientAuthentication {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Signatures => Self::Signatures,
            Auth::Macs => Self::Macs,
        }
    }
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start()?;
    let stop_wish = signals::stop_wish()?;
    let measured = async {
        match (args.matrix, args.rate_of_peak) {
            (true, _) => matrix::measure_all(&args.shape).await,
            (false, Some(percent)) => of_peak(&args.shape, percent).await,
            (false, None) => Ok(vec![measure(&args.shape).await?]),
        }
    };
    let reports = tokio::select! {
        reports = measured => reports?,
        () = stop_wish => return Err(Failure::new("interrupted: nothing was measured")),
    };
    let text = match (args.json, reports.as_slice()) {
        (true, [report]) => json(report)?,
        (true, reports) => json(reports)?,
        (false, reports) if args.matrix => matrix::text(reports),
        (false, reports) => {
            let texts: Vec<String> = reports.iter().map(Report::text).collect();
            texts.join("\n\n")
        }
    };
    println!("{text}");
    Ok(())
}

fn json<T: serde::Serialize + ?Sized>(reports: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(reports)
        .map_err(|error| Failure::new("cannot write the report").cause(error))
}

/// Starts replicas, measures, ends them.
pub async fn measure(shape: &Shape) -> Result<Report, Failure> {
    Measurement::start(shape)?.run().await
}

/// What closed loops reach, then an open loop at a share of it.
async fn of_peak(shape: &Shape, percent: u8) -> Result<Vec<Report>, Failure> {
    let peak = measure(shape).await?;
    let rate = peak.ops_per_second * f64::from(percent) / 100.0;
    let paced = Shape {
        rate: Some((rate as u32).max(1)),
        ..shape.clone()
    };
    Ok(vec![peak, measure(&paced).await?])
}

struct Measurement<'a> {
    args: &'a Shape,
    progress: Progress,
    gauge: Arc<Gauge>,
    hosts: Vec<std::thread::JoinHandle<Result<Histogram<u64>, Failure>>>,
    // Ended before their directory is removed.
    replicas: Replicas,
    layout: Layout,
}

impl Measurement<'_> {
    fn start(args: &Shape) -> Result<Measurement<'_>, Failure> {
        let progress = Progress::start();
        progress.step(format!("starting {} replicas", args.replicas));
        let clients = usize::from(args.clients);
        let hosts = cores().div_ceil(4).min(clients);
        let layout = Layout::create(args.replicas, clients, args.auth.into())?;
        let replicas = Replicas::start(&Order {
            dir: layout.dir(),
            replicas: args.replicas,
            hosts,
            reply: args.reply as usize,
            fsync: !args.no_fsync,
            pipeline: args.pipeline,
        })?;
        progress.step(format!("connecting {clients} clients"));
        let gauge = Arc::new(Gauge::default());
        let incarnation = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_nanos() as u64);
        let mut measurement = Measurement {
            args,
            progress,
            gauge,
            hosts: Vec::new(),
            replicas,
            layout,
        };
        for host in 0..hosts {
            let host = Host::new(
                &measurement.layout.cluster,
                &measurement.layout.clients,
                (host, hosts),
                args.request as usize,
                args.rate.map(|rate| f64::from(rate) / hosts as f64),
                incarnation,
                measurement.gauge.clone(),
            );
            measurement.hosts.push(host.start()?);
        }
        Ok(measurement)
    }

    async fn run(&mut self) -> Result<Report, Failure> {
        self.watch("warming up", self.args.warmup).await?;
        let before = self.replicas.work()?;
        let (client_before, began) = (cpu::of_this_process()?, Instant::now());
        self.gauge.measuring.store(true, Relaxed);
        self.watch("measuring", self.args.duration).await?;
        self.gauge.measuring.store(false, Relaxed);
        let (elapsed, client_cpu) = (began.elapsed(), cpu::of_this_process()? - client_before);
        let after = self.replicas.work()?;
        let latencies = self.latencies()?;
        let operations = latencies.len();
        if operations == 0 {
            return Err(Failure::new("no request was answered")
                .cause(format!(
                    "{} were sent again, {} refused",
                    self.gauge.repeated.load(Relaxed),
                    self.gauge.refused.load(Relaxed)
                ))
                .next("run it with STEELDB_LOG=info to see what the replicas say"));
        }
        Ok(Report {
            replicas: self.args.replicas,
            f: self.layout.cluster.f,
            clients: usize::from(self.args.clients),
            request_bytes: self.args.request as usize,
            reply_bytes: self.args.reply as usize,
            auth: self.args.auth,
            pipeline: self.args.pipeline,
            rate: self.args.rate,
            fsync: !self.args.no_fsync,
            cores: cores(),
            seconds: elapsed.as_secs_f64(),
            operations,
            ops_per_second: operations as f64 / elapsed.as_secs_f64(),
            latency_ms: Latency::of(&latencies),
            replica_cpu_us_per_op: us_per_op(after.cpu - before.cpu, operations),
            client_cpu_us_per_op: us_per_op(client_cpu, operations),
            batch: per(
                (after.requests - before.requests) as f64,
                after.heights - before.heights,
            ),
            fsyncs_per_op: per((after.fsyncs - before.fsyncs) as f64, operations),
            repeated: self.gauge.repeated.load(Relaxed),
            refused: self.gauge.refused.load(Relaxed),
        })
    }

    /// Lets the clients work, and shows every second how far they are.
    async fn watch(&mut self, what: &str, seconds: u64) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let mut answered = self.gauge.answered.load(Relaxed);
        for second in 1..=seconds {
            let next = until - Duration::from_secs(seconds - second);
            tokio::time::sleep_until(next).await;
            let now = self.gauge.answered.load(Relaxed);
            self.progress.step(format!(
                "{what}: {second} of {seconds} s, {} operations/s",
                now - answered
            ));
            answered = now;
            if self.hosts.iter().any(std::thread::JoinHandle::is_finished) {
                return Err(Failure::new("the clients ended before their time"));
            }
        }
        Ok(())
    }

    /// Ends the clients and gathers what they measured.
    fn latencies(&mut self) -> Result<Histogram<u64>, Failure> {
        self.gauge.stop.store(true, Relaxed);
        let mut all = client::histogram();
        for host in self.hosts.drain(..) {
            let one = host
                .join()
                .map_err(|_| Failure::new("the clients' thread failed"))??;
            all.add(&one)
                .map_err(|error| Failure::new("cannot add up latencies").cause(error))?;
        }
        Ok(all)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
