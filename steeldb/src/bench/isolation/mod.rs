//! `steeldb bench isolation`: concurrent transactions through several proxies under faults, and whether the isolation level
//! explains everything that they saw.

mod client;
mod cluster;
mod faults;
mod report;
mod sql;
mod wires;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::isolation::{Bank, Expect, Order, Record, check, final_reads, parse, to_lines};
use tokio::task::JoinSet;

use self::client::{Session, Shared};
use self::cluster::Running;
use self::faults::{Happened, Kind};
use self::report::Report;
use super::output::print_json;
use crate::commands::verify;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::proxy_file::Reads;
use crate::replay;
use crate::signals;

/// How long the reads at the end may take to be served.
const LAST: Duration = Duration::from_secs(120);
/// How long sessions may take to end.
const END: Duration = Duration::from_secs(60);
/// How long the replicas may take to read their tables.
const AUDIT: Duration = Duration::from_secs(300);
/// From one word on how far it is to the next.
const TELL: Duration = Duration::from_secs(10);

/// Run random transactions through several proxies under faults, and check that the isolation level explains what they saw
///
/// A cluster of its own in a temporary directory. Sessions append to lists, write registers, move money, leave their duty in
/// pairs and take values of sequences, and go on at another proxy now and then, while replicas and proxies are killed,
/// stopped and cut off by a schedule from the seed. At the end everything is read once more, the history is searched for
/// what the level forbids (cycles of dependencies, lost or dirty or stale reads, money that is missing, values given twice),
/// all replicas are compared, and the decided log is replayed serially on one PostgreSQL. Exit code 1 when anything is found.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the clients work
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400), value_name = "SECONDS")]
    duration: u64,
    /// Which transactions and faults come [default: drawn, and told]
    #[arg(long)]
    seed: Option<u64>,
    /// Which faults may come; `none`: none
    #[arg(long, value_delimiter = ',', default_value = "kills,pauses,master,proxies,partitions", value_parser = kind, value_name = "KINDS")]
    faults: Vec<Option<Kind>>,
    /// The isolation level of all transactions
    #[arg(long, value_enum, default_value = "repeatable-read")]
    level: Level,
    /// How the proxies confirm statements outside of transactions. `session`: a session that moves may read an older state
    #[arg(long, value_enum, default_value = "linearizable")]
    reads: Promise,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16), value_name = "N")]
    proxies: u16,
    /// Sessions, each with one transaction under way
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=200), value_name = "N")]
    clients: u16,
    /// Where history.jsonl, report.json and report.txt go
    #[arg(long, default_value = "steeldb-bench-isolation", value_name = "DIR")]
    report: PathBuf,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Run nothing: check a history that was written before, against --level and --reads
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "seed", "faults", "report", "json"])]
    check: Option<PathBuf>,
}

/// READ COMMITTED and REPEATABLE READ both run as snapshot isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Promise {
    Session,
    Linearizable,
}

fn kind(text: &str) -> Result<Option<Kind>, String> {
    match text {
        "none" => Ok(None),
        text => clap::ValueEnum::from_str(text, false).map(Some),
    }
}

impl Level {
    fn sql(self) -> &'static str {
        match self {
            Level::ReadCommitted => "READ COMMITTED",
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        }
    }

    fn promises(self) -> ::isolation::Level {
        match self {
            Level::ReadCommitted | Level::RepeatableRead => ::isolation::Level::Snapshot,
            Level::Serializable => ::isolation::Level::Serializable,
        }
    }
}

impl Args {
    fn kinds(&self) -> Vec<Kind> {
        self.faults.iter().flatten().copied().collect()
    }

    fn expect(&self) -> Expect {
        Expect {
            level: self.level.promises(),
            order: match self.reads {
                Promise::Session => Order::Session,
                Promise::Linearizable => Order::RealTime,
            },
            bank: Bank::default(),
        }
    }
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start_at_terminal()?;
    if let Some(file) = &args.check {
        return check_again(args, file);
    }
    let stop_wish = signals::stop_wish()?;
    let progress = Progress::start();
    let seed = args.seed.unwrap_or_else(rand::random);
    progress.note(&format!("seed {seed}"));
    let told = |failure: Failure| failure.next(format!("repeat it with --seed {seed}"));
    // Whichever way it ends, all that was made is dropped with it.
    tokio::select! {
        done = measure(args, seed, &progress) => done.map_err(told),
        () = stop_wish => Err(Failure::new("interrupted: nothing was checked")),
    }
}

async fn measure(args: &Args, seed: u64, progress: &Progress) -> Result<(), Failure> {
    let kinds = args.kinds();
    let reads = match args.reads {
        Promise::Session => Reads::Session,
        Promise::Linearizable => Reads::Linearizable,
    };
    progress.step(format!("starting 4 replicas and {} proxies", args.proxies));
    let cuts = kinds.contains(&Kind::Partitions);
    let mut running = Running::start(args.proxies, reads, cuts).await?;
    let bank = Bank::default();
    let shared = Arc::new(Shared::new(running.fronts(), args.level.sql(), seed));
    prepare(&shared, &bank).await?;
    let before = faults::master(&running).await?.0;
    let happened = work(args, &mut running, &shared, &kinds, progress).await?;
    let seconds = shared.clock.elapsed().as_secs_f64();
    progress.step("reading everything once more");
    let last = Session::new(&shared, u32::from(args.clients));
    let reads = final_reads(&shared.records());
    last.insist(reads, LAST).await.map_err(|cause| {
        Failure::new("the cluster does not serve after the last fault").cause(cause)
    })?;
    progress.step("comparing the replicas");
    let (replicas_equal, verify) = running.verify().await?;
    let after = faults::master(&running).await?.0;
    let replayed = verify::replayed(&running.layout, AUDIT, progress).await?;
    drop(running);
    let records = shared.records();
    progress.step(format!("checking {} transactions", records.len()));
    let expect = args.expect();
    let mut report = Report {
        seed,
        level: args.level.sql(),
        order: expect.order,
        proxies: args.proxies,
        clients: args.clients,
        seconds,
        transactions: 0,
        operations: 0,
        committed: 0,
        unknown: 0,
        aborts: BTreeMap::new(),
        faults: happened,
        master_changes: after.saturating_sub(before),
        found: check(&records, &expect),
        replicas_equal,
        replay: replay::summary(&replayed),
        replayed: replayed.transactions,
        replay_differences: replay::differences(&replayed),
        verify: verify.trim_end().to_owned(),
    };
    report.count(&records);
    write(args, &report, &records)?;
    verdict(&report.broken())
}

/// The history of an earlier run.
fn check_again(args: &Args, file: &Path) -> Result<(), Failure> {
    let unusable = |cause: String| {
        Failure::usage(format!("{} cannot be checked", file.display()))
            .cause(cause)
            .next("give a history.jsonl of `steeldb bench isolation`")
    };
    let lines = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let records = parse(&lines).map_err(unusable)?;
    let found = check(&records, &args.expect());
    println!("{} transactions", records.len());
    print!("{}", report::anomalies(&found));
    verdict(&report::broken(&found))
}

fn verdict(broken: &[String]) -> Result<(), Failure> {
    match broken.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("a rule was broken").cause(broken.join("\n"))),
    }
}

/// The tables; and whether the level is offered.
async fn prepare(shared: &Shared, bank: &Bank) -> Result<(), Failure> {
    let failed = |error: tokio_postgres::Error| {
        let cause = error.as_db_error().map(ToString::to_string);
        Failure::new("cannot make the tables").cause(cause.unwrap_or_else(|| error.to_string()))
    };
    let dsn = client::dsn(shared.fronts[0]);
    let connected = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await;
    let (client, connection) = connected.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let begin = format!("BEGIN ISOLATION LEVEL {}", shared.level);
    let offered = client.simple_query(&begin).await.map_err(failed);
    offered.map_err(|failure| {
        Failure::new(format!("{} is not offered", shared.level))
            .cause(failure)
            .next("choose another --level")
    })?;
    client.simple_query("ROLLBACK").await.map_err(failed)?;
    client
        .batch_execute(&sql::schema(bank))
        .await
        .map_err(failed)?;
    drop(client);
    // However it ends, the tables are there.
    let _ = connection.await;
    Ok(())
}

/// Clients and faults side by side, until the time is over.
async fn work(
    args: &Args,
    running: &mut Running,
    shared: &Arc<Shared>,
    kinds: &[Kind],
    progress: &Progress,
) -> Result<Vec<Happened>, Failure> {
    let mut sessions = JoinSet::new();
    for number in 0..u32::from(args.clients) {
        let shared = Arc::clone(shared);
        sessions.spawn(async move {
            Session::new(&shared, number).work(Bank::default()).await;
        });
    }
    let duration = Duration::from_secs(args.duration);
    let faults = async {
        let happened = faults::run(
            running,
            shared.seed,
            kinds,
            shared.clock,
            duration,
            progress,
        );
        let happened = happened.await;
        shared.end();
        happened
    };
    let tell = async {
        loop {
            tokio::time::sleep(TELL).await;
            let seconds = shared.clock.elapsed().as_secs();
            progress.step(format!(
                "{} transactions in {seconds} of {} s",
                shared.so_far(),
                args.duration
            ));
        }
    };
    let happened = tokio::select! {
        happened = faults => happened?,
        () = tell => Vec::new(),
    };
    let all = async {
        while let Some(ended) = sessions.join_next().await {
            ended.map_err(|error| Failure::new("a session has panicked").cause(error))?;
        }
        Ok(happened)
    };
    tokio::time::timeout(END, all)
        .await
        .map_err(|_| Failure::new(format!("a session did not end within {END:?}")))?
}

fn write(args: &Args, report: &Report, records: &[Record]) -> Result<(), Failure> {
    let dir = &args.report;
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot write the report into {}", dir.display()))
            .cause(error)
            .next("give another place with --report DIR")
    };
    let json = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::new("cannot write the report").cause(error))?;
    std::fs::create_dir_all(dir).map_err(failed)?;
    std::fs::write(dir.join("history.jsonl"), to_lines(records)).map_err(failed)?;
    std::fs::write(dir.join("report.json"), json).map_err(failed)?;
    std::fs::write(dir.join("report.txt"), report.text()).map_err(failed)?;
    match args.json {
        true => print_json(report)?,
        false => println!("{}", report.text()),
    }
    eprintln!("the report is in {}", dir.display());
    Ok(())
}
