//! A session: runs what its generator says, through one proxy or another, and writes down what it saw.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use isolation::{Bank, Form, Generator, Outcome, Plan, Record};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::{Client, Error, NoTls};

use super::sql::Sql;

/// A transaction that takes longer is given up with its connection: longer than a proxy's own patience.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
/// After a connection could not be opened.
const PAUSE: Duration = Duration::from_millis(100);
/// A session goes on at another proxy after one in so many transactions.
const MOVES: u32 = 40;

/// What all sessions share.
pub struct Shared {
    pub fronts: Vec<SocketAddr>,
    /// `READ COMMITTED`, …
    pub level: &'static str,
    pub seed: u64,
    pub clock: Instant,
    ids: AtomicU64,
    over: AtomicBool,
    records: Mutex<Vec<Record>>,
}

impl Shared {
    pub fn new(fronts: Vec<SocketAddr>, level: &'static str, seed: u64) -> Shared {
        Shared {
            fronts,
            level,
            seed,
            clock: Instant::now(),
            ids: AtomicU64::new(1),
            over: AtomicBool::new(false),
            records: Mutex::default(),
        }
    }

    /// Sessions end with the transactions that they are in.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// How many transactions were written down.
    pub fn so_far(&self) -> usize {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// All of them, in the order in which they began.
    pub fn records(&self) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = records.clone();
        records.sort_by_key(|record| record.begun);
        records
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn keep(&self, record: Record) {
        let records = self.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

pub fn dsn(front: SocketAddr) -> String {
    format!(
        "host={} port={} user=postgres dbname=postgres",
        front.ip(),
        front.port()
    )
}

/// One session with its connection, if it has one.
pub struct Session<'a> {
    shared: &'a Shared,
    number: u32,
    proxy: usize,
    connection: Option<Client>,
    draws: StdRng,
}

/// How far a transaction has come.
struct Trace {
    record: Record,
    /// Whether it may have an effect, though the answer is still out.
    may_commit: bool,
}

impl<'a> Session<'a> {
    pub fn new(shared: &'a Shared, number: u32) -> Session<'a> {
        let own = shared.seed.wrapping_add(u64::from(number) << 32);
        Session {
            shared,
            number,
            proxy: number as usize % shared.fronts.len(),
            connection: None,
            draws: StdRng::seed_from_u64(own),
        }
    }

    /// Until the run is over.
    pub async fn work(mut self, bank: Bank) {
        let wishes = Generator::new(self.shared.seed, self.number, bank);
        for plan in wishes {
            if self.draws.random_ratio(1, MOVES) {
                self.moves();
            }
            while self.connection.is_none() && !self.shared.is_over() {
                self.connect().await;
            }
            if self.shared.is_over() {
                return;
            }
            self.run(plan).await;
        }
    }

    /// Tries until it commits or the time is over.
    pub async fn insist(mut self, plan: Plan, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        let mut last = "no proxy could be reached".to_owned();
        while Instant::now() < until {
            self.connect().await;
            if self.connection.is_none() {
                continue;
            }
            match self.run(plan.clone()).await {
                (Outcome::Committed, _) => return Ok(()),
                (_, error) => last = error.unwrap_or(last),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last)
    }

    fn moves(&mut self) {
        self.connection = None;
        let step = self.draws.random_range(0..self.shared.fronts.len());
        self.proxy = (self.proxy + step) % self.shared.fronts.len();
    }

    async fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        let dsn = dsn(self.shared.fronts[self.proxy]);
        let connect = async {
            let (client, connection) = tokio_postgres::connect(&dsn, NoTls).await?;
            // Ends when the client is dropped; how it ends shows in the client's calls.
            tokio::spawn(async move { drop(connection.await) });
            let set = format!(
                "SET default_transaction_isolation = '{}'",
                self.shared.level
            );
            client.batch_execute(&set).await?;
            Ok::<Client, Error>(client)
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(Ok(client)) => self.connection = Some(client),
            Ok(Err(_)) | Err(_) => {
                self.moves();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Runs one transaction and writes it down.
    async fn run(&mut self, plan: Plan) -> (Outcome, Option<String>) {
        let Some(client) = self.connection.take() else {
            return (Outcome::Aborted, None);
        };
        let begun = self.shared.now();
        let mut trace = Trace {
            record: Record {
                id: self.shared.ids.fetch_add(1, Relaxed),
                session: u64::from(self.number),
                proxy: self.proxy as u16,
                form: plan.form,
                begun,
                ended: begun,
                outcome: Outcome::Aborted,
                error: None,
                ops: Vec::new(),
            },
            may_commit: false,
        };
        let done = attempt(&client, &plan, &mut trace, self.shared.level);
        let done = tokio::time::timeout(PATIENCE, done).await;
        let (outcome, error, usable) = match done {
            Ok(Ok(outcome)) => (outcome, None, true),
            Ok(Err(error)) => failed(&error, trace.may_commit),
            Err(_) if trace.may_commit => (Outcome::Unknown, Some("gave up".into()), false),
            Err(_) => (Outcome::Aborted, Some("gave up".into()), false),
        };
        let mut record = trace.record;
        record.ended = self.shared.now();
        (record.outcome, record.error) = (outcome, error.clone());
        self.shared.keep(record);
        // An autocommit statement that failed has left nothing open.
        let open = usable && error.is_some() && plan.form != Form::Autocommit;
        let rolled_back = match open {
            true => tokio::time::timeout(CONNECT, client.simple_query("ROLLBACK")).await,
            false => Ok(Ok(Vec::new())),
        };
        if usable && matches!(rolled_back, Ok(Ok(_))) {
            self.connection = Some(client);
        }
        (outcome, error)
    }
}

async fn attempt(
    client: &Client,
    plan: &Plan,
    trace: &mut Trace,
    level: &str,
) -> Result<Outcome, Error> {
    let transaction = plan.form != Form::Autocommit;
    let sql = Sql {
        client,
        transaction,
    };
    match plan.form {
        Form::Autocommit => trace.may_commit = true,
        Form::Transaction => {
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            client.simple_query(&begin).await?;
        }
        Form::ReadOnly => {
            let begin = format!("BEGIN ISOLATION LEVEL {level} READ ONLY");
            client.simple_query(&begin).await?;
        }
    }
    for op in &plan.ops {
        // Before it is sent: a write whose answer is lost may have been done.
        trace.record.ops.push(op.clone());
        if let Some(sent) = trace.record.ops.last_mut() {
            sql.run(sent, trace.record.session).await?;
        }
    }
    match (transaction, plan.rollback) {
        (false, _) => Ok(Outcome::Committed),
        (true, true) => client
            .simple_query("ROLLBACK")
            .await
            .map(|_| Outcome::Aborted),
        (true, false) => {
            trace.may_commit = true;
            client
                .simple_query("COMMIT")
                .await
                .map(|_| Outcome::Committed)
        }
    }
}

/// What an error says of the outcome, why, and whether the connection can be used on.
fn failed(error: &Error, may_commit: bool) -> (Outcome, Option<String>, bool) {
    let Some(database) = error.as_db_error() else {
        let outcome = match may_commit {
            true => Outcome::Unknown,
            false => Outcome::Aborted,
        };
        return (outcome, Some("connection lost".into()), false);
    };
    let state = database.code().code();
    let outcome = match may_commit && says_nothing(state) {
        true => Outcome::Unknown,
        false => Outcome::Aborted,
    };
    let text = format!("{state} {}", database.message());
    (outcome, Some(text), !error.is_closed())
}

/// Whether an answer with this SQLSTATE to a COMMIT leaves its outcome open: trouble of the connection, of the server, of
/// the operator. Everything else says that there is no effect.
fn says_nothing(state: &str) -> bool {
    ["08", "57P", "58", "XX"]
        .iter()
        .any(|class| state.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::says_nothing;

    #[test]
    fn an_answer_that_leaves_the_outcome_open_is_told_from_an_abort() {
        assert!(
            ["08007", "08006", "57P01", "XX000"]
                .iter()
                .all(|state| says_nothing(state))
        );
        assert!(
            !["40001", "23505", "57014", "53300"]
                .iter()
                .any(|state| says_nothing(state))
        );
    }
}
