//! TPC-C against one database: a server's, or a running cluster's.

use std::time::Duration;

use tokio::sync::Notify;
use tpcc::report::run::Run;
use tpcc::{Config, Events, Progress as Stand};

use super::Args;
use crate::bench::output;
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::progress::Progress;
use crate::proxy_file::ProxyFile;
use crate::{ports, table};

/// Seconds of warm-up and of the measured interval where nothing is said.
const TIMES: (u64, u64) = (10, 60);

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.data.as_deref().map(Layout::new).transpose()?;
    let mut config = args.config(dsn(args, layout.as_ref())?, TIMES);
    if layout.is_some() {
        config.system.get_or_insert("steeldb".into());
    }
    let fault = args.faults.plan(config.warmup + config.duration)?;
    let progress = Progress::start();
    load(&config, &progress).await?;
    let events = Events::default();
    let over = Notify::new();
    let faults = async {
        let (Some(layout), Some(fault)) = (&layout, fault) else {
            return Ok(());
        };
        tokio::select! {
            happened = fault.happen(layout, events.clone()) => happened,
            // Nobody is to be killed for a run that did not take place.
            () = over.notified() => Ok(()),
        }
    };
    let measured = async {
        let run = measure(&config, events.clone(), &progress).await;
        if run.is_err() {
            over.notify_one();
        }
        run
    };
    let (run, faults) = tokio::join!(measured, faults);
    drop(progress);
    let run = run?;
    // A fault that did not happen as asked makes it another measurement: said, but after the figures.
    report(args, &run)?;
    faults?;
    match run.consistency.as_str() {
        "ok" => Ok(()),
        broken => Err(Failure::new("the consistency conditions do not hold").cause(broken)),
    }
}

fn dsn(args: &Args, layout: Option<&Layout>) -> Result<String, Failure> {
    if let Some(dsn) = &args.dsn {
        return Ok(dsn.clone());
    }
    let Some(layout) = layout else {
        return Err(Failure::usage("neither --dsn nor --data is given"));
    };
    let front = ProxyFile::load(&layout.config(Member::Proxy))?.front;
    let address = ports::reachable(front.listen);
    Ok(format!("postgresql://postgres@{address}/postgres"))
}

/// Loads what is missing.
pub(super) async fn load(config: &Config, progress: &Progress) -> Result<(), Failure> {
    let show = |done: u64, of: u64| progress.share("loading", done, of);
    let loaded = tpcc::load(config, show)
        .await
        .map_err(|error| Failure::new("TPC-C was not loaded").cause(error))?;
    if loaded.rows > 0 {
        let seconds = loaded.took.as_secs_f64();
        let line = format!("loaded {} rows in {seconds:.1} s", loaded.rows);
        progress.note(&line);
    }
    Ok(())
}

/// Runs it, and shows every second where it stands.
pub(super) async fn measure(
    config: &Config,
    events: Events,
    progress: &Progress,
) -> Result<Run, Failure> {
    tpcc::run(config, events, stand(config, progress))
        .await
        .map_err(|error| Failure::new("TPC-C did not run").cause(error))
}

/// Shows where a run stands.
pub(super) fn stand<'a>(config: &Config, progress: &'a Progress) -> impl Fn(Stand) + use<'a> {
    let (warmup, length) = (config.warmup, config.warmup + config.duration);
    move |stand: Stand| {
        let at = Duration::from_secs_f64(stand.seconds);
        let phase = match at {
            at if at < warmup => "warming up",
            at if at < length => "measuring",
            _ => "the last transactions end, then the conditions are checked",
        };
        progress.step(format!(
            "{phase}: {:.0} of {:.0} s, {:.0} tpmC, {} retries",
            stand.seconds.min(length.as_secs_f64()),
            length.as_secs_f64(),
            stand.tpm_c,
            stand.retries
        ));
    }
}

fn report(args: &Args, run: &Run) -> Result<(), Failure> {
    match args.output.json {
        true => output::print_json(run)?,
        false => println!("{}", text(run)),
    }
    let title = format!("TPC-C on {}", run.system);
    args.output
        .write_page("tpcc", &title, std::slice::from_ref(run), None)
}

/// The run for a terminal.
fn text(run: &Run) -> String {
    let rows: Vec<Vec<String>> = run
        .kinds
        .iter()
        .map(|kind| {
            let ms = |value: f64| format!("{value:.1}");
            let times = kind.response_ms;
            vec![
                kind.name.clone(),
                kind.committed.to_string(),
                format!("{:.1} %", 100.0 * kind.share),
                kind.retries.values().sum::<u64>().to_string(),
                (kind.failed + kind.unknown).to_string(),
                ms(times.mean),
                ms(times.p50),
                ms(times.p90),
                ms(times.p99),
                ms(times.max),
            ]
        })
        .collect();
    let head = [
        "TRANSACTION",
        "DONE",
        "SHARE",
        "RETRIES",
        "FAILED",
        "MEAN ms",
        "P50",
        "P90",
        "P99",
        "MAX",
    ];
    let mut lines = vec![table::table(&head, &rows), String::new()];
    for seen in &run.errors {
        lines.push(format!(
            "{} times {}: {}",
            seen.count, seen.sqlstate, seen.message
        ));
    }
    lines.push(format!(
        "tpmC {:.0}, all transactions {:.0} a minute; consistency: {}",
        run.tpm_c, run.tpm_total, run.consistency
    ));
    lines.join("\n")
}
