//! Clients at work who know what they must be told: a bank whose money stays, counters that go up by one, tickets with
//! numbers of a sequence and times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Error};

use crate::support::Cluster;

const ACCOUNTS: i32 = 8;
const EACH: i64 = 1_000;
const SETUP: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE counter (client int PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE ticket (id serial PRIMARY KEY, client int NOT NULL, n bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE loot (a int);";
/// What a lying master makes of a statement; see `replica/src/executor/lies.rs`. Most are told the truth.
const LIES: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "lie:row",
    "lie:count",
    "lie:time",
    "lie:smuggle",
    "lie:error",
    "lie:write",
    "lie:hide",
    "lie:old",
    "lie:swap",
    "lie:ahead",
    "lie:again",
    "lie:names",
    "lie:types",
];
/// How long no client at all may be served.
const STANDSTILL: Duration = Duration::from_secs(60);
/// How far the replicas' time may lie from this machine's, seconds.
const TIME_S: f64 = 120.0;

/// Clients at work; each has one connection for its whole life.
pub struct Bank {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tellers: JoinSet<Seen>,
}

/// What one client knows.
struct Teller {
    me: i32,
    connection: Client,
    draws: StdRng,
    done: Arc<AtomicUsize>,
    seen: Seen,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    client: i32,
    /// Its counter lies between these: they differ while the outcome of an increment is not known.
    counter: (i64, i64),
    /// Its tickets that were acknowledged: number to (id, time).
    tickets: BTreeMap<i64, (i32, String)>,
    /// Numbers of tickets that are not there, since they were told to be aborted.
    aborted: BTreeSet<i64>,
    /// Numbers of tickets so far.
    asked: i64,
    told: Told,
}

/// What clients were told, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub acknowledged: usize,
    /// 40001 and its like: nothing of it is there.
    pub aborted: usize,
    /// 08007.
    pub unknown: usize,
}

/// How a statement or a transaction failed.
#[derive(Debug, PartialEq)]
enum Failed {
    Aborted,
    Unknown,
}

impl Bank {
    /// Makes the tables and lets so many clients work.
    pub async fn open(cluster: &Cluster, clients: i32, seed: u64) -> Bank {
        let setup = cluster.connect().await;
        let rows = format!(
            "{SETUP} INSERT INTO account SELECT g, {EACH} FROM generate_series(1, {ACCOUNTS}) g;
             INSERT INTO counter SELECT g, 0 FROM generate_series(0, {}) g",
            clients - 1
        );
        setup.batch_execute(&rows).await.unwrap();
        let mut bank = Bank {
            stop: Arc::default(),
            done: Arc::default(),
            tellers: JoinSet::new(),
        };
        for me in 0..clients {
            let teller = Teller {
                me,
                connection: cluster.connect().await,
                draws: StdRng::seed_from_u64(seed ^ (me as u64) << 32),
                done: bank.done.clone(),
                seen: Seen {
                    client: me,
                    ..Seen::default()
                },
            };
            bank.tellers.spawn(teller.work(bank.stop.clone()));
        }
        bank
    }

    /// Waits until the clients were told so many more outcomes.
    pub async fn more(&mut self, outcomes: usize) {
        let (mut last, mut since) = (self.done.load(Ordering::Relaxed), Instant::now());
        let goal = last + outcomes;
        while last < goal {
            if let Some(ended) = self.tellers.try_join_next() {
                // It works until it is stopped, so it has seen what must not be.
                ended.unwrap();
            }
            assert!(since.elapsed() < STANDSTILL, "nobody is served");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.done.load(Ordering::Relaxed);
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Ends the work, and compares what is there with what everybody was told.
    pub async fn close(mut self, cluster: &Cluster) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(seen) = self.tellers.join_next().await {
            all.push(seen.unwrap());
        }
        let session = cluster.connect().await;
        let total = session
            .query_one("SELECT sum(balance)::bigint FROM account", &[])
            .await
            .unwrap();
        assert_eq!(
            total.get::<_, i64>(0),
            EACH * i64::from(ACCOUNTS),
            "money is made or lost"
        );
        let mut ids = BTreeSet::new();
        let mut told = Told::default();
        for seen in &all {
            seen.check(&session).await;
            for (id, _) in seen.tickets.values() {
                assert!(ids.insert(*id), "the sequence gave {id} twice");
            }
            told.acknowledged += seen.told.acknowledged;
            told.aborted += seen.told.aborted;
            told.unknown += seen.told.unknown;
        }
        told
    }
}

impl Seen {
    /// Everything acknowledged is there as it was told, and nothing that was told to be aborted.
    async fn check(&self, session: &Client) {
        let n = session
            .query_one("SELECT n FROM counter WHERE client = $1", &[&self.client])
            .await
            .unwrap();
        let n: i64 = n.get(0);
        assert!(
            self.counter.0 <= n && n <= self.counter.1,
            "client {}: the counter is {n}, not {:?}",
            self.client,
            self.counter
        );
        let rows = session
            .query(
                "SELECT n, id, at::text FROM ticket WHERE client = $1",
                &[&self.client],
            )
            .await
            .unwrap();
        let mut there: BTreeMap<i64, (i32, String)> = BTreeMap::new();
        for row in &rows {
            let twice = there.insert(row.get(0), (row.get(1), row.get(2)));
            assert_eq!(
                twice, None,
                "client {}: a ticket is there twice",
                self.client
            );
        }
        for (n, ticket) in &self.tickets {
            assert_eq!(
                there.get(n),
                Some(ticket),
                "client {}, ticket {n}",
                self.client
            );
        }
        let raised: Vec<_> = self
            .aborted
            .iter()
            .filter(|n| there.contains_key(n))
            .collect();
        assert!(
            raised.is_empty(),
            "client {}: aborted and there: {raised:?}",
            self.client
        );
    }
}

impl Teller {
    async fn work(mut self, stop: Arc<AtomicBool>) -> Seen {
        while !stop.load(Ordering::Relaxed) {
            let done = match self.draws.random_range(0..6) {
                0 => self.count().await,
                1 => self.look().await,
                2 => self.sum().await,
                3 => self.ticket().await,
                _ => self.transfer().await,
            };
            match done {
                Ok(()) => self.seen.told.acknowledged += 1,
                Err(Failed::Aborted) => self.seen.told.aborted += 1,
                Err(Failed::Unknown) => self.seen.told.unknown += 1,
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.seen
    }

    /// A comment that asks the master for a lie, or none.
    fn lie(&mut self) -> String {
        let lie = LIES.choose(&mut self.draws).expect("there are some");
        format!("/*{lie}*/")
    }

    /// The counter reads so, after so many increments of known outcome since it was last seen.
    fn counted(&mut self, n: i64, more: i64) {
        let (low, high) = self.seen.counter;
        assert!(
            low + more <= n && n <= high + more,
            "client {} reads {n}, not {:?} and {more}",
            self.me,
            self.seen.counter
        );
        self.seen.counter = (n, n);
    }

    async fn count(&mut self) -> Result<(), Failed> {
        let sql = format!(
            "UPDATE {} counter SET n = n + 1 WHERE client = $1 RETURNING n",
            self.lie()
        );
        match self.connection.query_one(&sql, &[&self.me]).await {
            Ok(row) => {
                self.counted(row.get(0), 1);
                Ok(())
            }
            Err(error) => {
                let failed = failed(&sql, &error);
                self.seen.counter.1 += i64::from(failed == Failed::Unknown);
                Err(failed)
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failed> {
        let sql = format!("SELECT {} n FROM counter WHERE client = $1", self.lie());
        let row = self.connection.query_one(&sql, &[&self.me]).await;
        let row = row.map_err(|error| failed(&sql, &error))?;
        self.counted(row.get(0), 0);
        Ok(())
    }

    async fn sum(&mut self) -> Result<(), Failed> {
        let sql = format!("SELECT {} sum(balance)::bigint FROM account", self.lie());
        let row = self.connection.query_one(&sql, &[]).await;
        let row = row.map_err(|error| failed(&sql, &error))?;
        assert_eq!(row.get::<_, i64>(0), EACH * i64::from(ACCOUNTS), "{sql}");
        Ok(())
    }

    async fn ticket(&mut self) -> Result<(), Failed> {
        self.seen.asked += 1;
        let n = self.seen.asked;
        let sql = format!(
            "INSERT {} INTO ticket (client, n) VALUES ({}, {n}) RETURNING id, at::text, extract(epoch FROM at)::float8",
            self.lie(),
            self.me
        );
        match self.connection.query_one(&sql, &[]).await {
            Ok(row) => {
                let at: f64 = row.get(2);
                let now = std::time::SystemTime::now();
                let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
                assert!((at - now.as_secs_f64()).abs() < TIME_S, "{sql}: {at}");
                self.seen.tickets.insert(n, (row.get(0), row.get(1)));
                Ok(())
            }
            Err(error) => {
                let failed = failed(&sql, &error);
                if failed == Failed::Aborted {
                    self.seen.aborted.insert(n);
                }
                Err(failed)
            }
        }
    }

    /// What is read before the COMMIT is provisional; what was read is true once it is committed.
    async fn transfer(&mut self) -> Result<(), Failed> {
        let from = self.draws.random_range(1..ACCOUNTS);
        let to = self.draws.random_range(from + 1..=ACCOUNTS);
        let amount = self.draws.random_range(-20..=20i64);
        let read = format!(
            "SELECT {} balance FROM account WHERE id = {from}",
            self.lie()
        );
        let take = format!(
            "UPDATE {} account SET balance = balance - {amount} WHERE id = {from} RETURNING balance",
            self.lie()
        );
        let give = format!(
            "UPDATE {} account SET balance = balance + {amount} WHERE id = {to}",
            self.lie()
        );
        let count = format!(
            "UPDATE {} counter SET n = n + 1 WHERE client = {} RETURNING n",
            self.lie(),
            self.me
        );
        let me = &mut self.connection;
        let transaction = me
            .transaction()
            .await
            .map_err(|error| failed("BEGIN", &error))?;
        let ran = async {
            let before: i64 = transaction.query_one(&read, &[]).await?.get(0);
            let after: i64 = transaction.query_one(&take, &[]).await?.get(0);
            let given = transaction.execute(&give, &[]).await?;
            let n: i64 = transaction.query_one(&count, &[]).await?.get(0);
            Ok::<_, Error>((before, after, given, n))
        };
        let (before, after, given, n) = match ran.await {
            Ok(ran) => ran,
            Err(error) => {
                expect_inside(&error);
                // The block may have ended with the error.
                let _ = transaction.rollback().await;
                return Err(Failed::Aborted);
            }
        };
        if let Err(error) = transaction.commit().await {
            let failed = failed("COMMIT", &error);
            self.seen.counter.1 += i64::from(failed == Failed::Unknown);
            return Err(failed);
        }
        assert_eq!(after, before - amount, "{take}");
        assert_eq!(given, 1, "{give}");
        self.counted(n, 1);
        Ok(())
    }
}

/// What a client may be told outside of a transaction, or at its end.
fn failed(sql: &str, error: &Error) -> Failed {
    match error.code().map(|code| code.code()) {
        Some("40001" | "40P01") => Failed::Aborted,
        Some("08007") => Failed::Unknown,
        _ => panic!("{sql}: {error:?}"),
    }
}

/// Inside a transaction a lie may be the answer: an invented error, no row where there is one, or rows of another shape than
/// was described (0A000).
fn expect_inside(error: &Error) {
    let code = error.code().map(|code| code.code());
    let expected = matches!(code, Some("40001" | "40P01" | "22012" | "0A000"));
    let unseen = code.is_none() && !error.is_closed();
    assert!(expected || unseen, "{error:?}");
}
