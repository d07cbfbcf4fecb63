//! Far more clients than the replicas can serve, and processors that others use: nobody is faulty, so no leader may be given up.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use super::report::ms;
use crate::bench::group::answers::Answers;
use crate::bench::group::load::Shape;
use crate::bench::group::scene::Scene;
use crate::failure::Failure;
use crate::progress::Progress;

/// Clients' identities; each carries many lanes.
pub const CLIENTS: usize = 16;
/// Lanes of each client at first; doubled until that brings no more.
const FIRST_LANES: u16 = 1;
/// Most lanes of a client: five times as many fit into its window.
const MOST_LANES: u16 = 48;
/// How long each number of lanes is tried, after a warm-up.
const TRY: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);
/// Throughput that does not grow by this is saturated.
const GROWTH: f64 = 1.10;
/// How many times what saturates.
const TIMES: u16 = 5;

#[derive(Debug, Serialize)]
pub struct Report {
    /// Closed-loop clients and operations a second, until they grew no more.
    pub tried: Vec<(u32, f64)>,
    pub saturated_clients: u32,
    pub clients: u32,
    /// Busy loops beside the replicas.
    pub busy_loops: usize,
    pub cores: usize,
    pub seconds: f64,
    pub ops_per_second: f64,
    pub latency_ms: [f64; 3],
    pub longest_silence_ms: f64,
    /// Regencies that were installed: none may be.
    pub regency_changes: u64,
    pub acknowledged: u64,
    pub broken: Vec<String>,
}

/// What was seen while it ran.
pub struct Seen {
    tried: Vec<(u32, f64)>,
    clients: u32,
    busy_loops: usize,
    from: Duration,
    to: Duration,
    regency_changes: u64,
}

/// Finds the load that saturates, then puts five times as much on it with `busy` loops a core beside, for `duration`.
pub async fn run(
    scene: &mut Scene,
    bytes: usize,
    busy: usize,
    duration: Duration,
    progress: &Progress,
) -> Result<Seen, Failure> {
    let mut tried: Vec<(u32, f64)> = Vec::new();
    let mut lanes = FIRST_LANES;
    loop {
        scene.renew_load(shape(lanes, bytes)).await?;
        scene.pass(WARM_UP).await?;
        let (before, from) = (scene.load.answered(), scene.load.now());
        scene.pass(TRY).await?;
        let passed = (scene.load.now() - from).as_secs_f64();
        let rate = (scene.load.answered() - before) as f64 / passed;
        let clients = u32::from(lanes) * CLIENTS as u32;
        progress.note(&format!("{clients} clients: {rate:.0} entries/s"));
        let grew = tried.last().is_none_or(|(_, last)| rate > last * GROWTH);
        tried.push((clients, rate));
        if !grew || lanes * 2 > MOST_LANES {
            break;
        }
        lanes *= 2;
    }
    scene.renew_load(shape(lanes * TIMES, bytes)).await?;
    let clients = u32::from(lanes * TIMES) * CLIENTS as u32;
    let busy_loops = busy * cores();
    progress.step(format!(
        "{clients} clients and {busy_loops} busy loops for {} s",
        duration.as_secs()
    ));
    let spinning = Spinning::start(busy_loops)?;
    scene.regencies.clear();
    let from = scene.load.now();
    scene.pass(duration).await?;
    let to = scene.load.now();
    drop(spinning);
    Ok(Seen {
        tried,
        clients,
        busy_loops,
        from,
        to,
        regency_changes: scene.regency_changes(),
    })
}

/// So many lanes of each client, without pause.
pub fn shape(lanes: u16, bytes: usize) -> Shape {
    Shape {
        lanes,
        rate: None,
        bytes,
    }
}

impl Report {
    /// `answers` are those of the last load.
    pub fn new(
        seen: Seen,
        answers: &Answers,
        acknowledged: u64,
        mut broken: Vec<String>,
    ) -> Report {
        let Seen { from, to, .. } = seen;
        if seen.regency_changes > 0 {
            broken.push(format!(
                "{} regencies were installed though nobody was faulty",
                seen.regency_changes
            ));
        }
        let seconds = (to - from).as_secs_f64();
        Report {
            saturated_clients: seen.tried.last().map_or(0, |tried| tried.0),
            tried: seen.tried,
            clients: seen.clients,
            busy_loops: seen.busy_loops,
            cores: cores(),
            seconds,
            ops_per_second: answers.between(from, to) as f64 / seconds,
            latency_ms: answers.quantiles(from, to, [0.5, 0.99, 1.0]).map(ms),
            longest_silence_ms: ms(answers.longest_silence(from, to)),
            regency_changes: seen.regency_changes,
            acknowledged,
            broken,
        }
    }

    pub fn text(&self) -> String {
        let [p50, p99, max] = self.latency_ms;
        format!(
            "saturated with {} clients (tried {:?})\n\
             {} clients and {} busy loops on {} cores for {:.0} s: {:.0} entries/s, p50 {p50:.0} ms, p99 {p99:.0}, max {max:.0}, \
             longest silence {:.0} ms\n\
             regencies installed: {}\n\
             {} entries acknowledged{}",
            self.saturated_clients,
            self.tried,
            self.clients,
            self.busy_loops,
            self.cores,
            self.seconds,
            self.ops_per_second,
            self.longest_silence_ms,
            self.regency_changes,
            self.acknowledged,
            match self.broken.is_empty() {
                true => ", each applied exactly once at every replica".to_owned(),
                false => format!("\nBROKEN: {}", self.broken.join("; ")),
            }
        )
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processes that use the processors; killed when this is dropped, and ended by themselves if this process dies first.
struct Spinning(Vec<Child>);

impl Spinning {
    fn start(count: usize) -> Result<Spinning, Failure> {
        let failed = |error| Failure::new("cannot start a busy loop").cause(error);
        let program = crate::spawn::program().map_err(failed)?;
        let mut spinning = Spinning(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(&program);
            command.args(["bench", "spin"]).stdin(Stdio::piped());
            spinning.0.push(command.spawn().map_err(failed)?);
        }
        Ok(spinning)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that ended by itself is no trouble.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Uses a processor until standard input ends.
pub fn spin() {
    std::thread::spawn(|| {
        loop {
            std::hint::black_box(0);
        }
    });
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}
