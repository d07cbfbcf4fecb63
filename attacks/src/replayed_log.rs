//! The decided log, replayed serially: an honest one comes to what was agreed, and every lie that is planted in it is named.

use harness::Cluster;
use oracle::{Block, Database, Difference, Outline, Replayed, Server, Until, replay};
use pgsession::{Session, Statement};
use replica::postgres::PostgresConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use txn::tally::Verdict;
use txn::{Ordered, Step};

/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a replica's log holds.
#[derive(Clone)]
struct Log {
    outline: Outline,
    blocks: Vec<Block>,
}

impl Log {
    fn of(cluster: &Cluster, replica: u16) -> Log {
        let dir = cluster.log_of(replica);
        Log {
            outline: Outline::read(&dir).unwrap(),
            blocks: oracle::blocks(&dir).unwrap().map(Result::unwrap).collect(),
        }
    }

    /// Block and place of the committed transaction with this statement.
    fn find(&self, sql: &str) -> (usize, usize) {
        let has = |ordered: &Ordered| steps(ordered).iter().any(|s| s.operation.sql == sql);
        let found = self.blocks.iter().enumerate().find_map(|(block, b)| {
            let at = b.requests.iter().position(|p| has(&p.ordered))?;
            Some((block, at))
        });
        found.unwrap_or_else(|| panic!("{sql} is not in the log"))
    }

    /// Changes the step with this statement.
    fn alter(&mut self, sql: &str, change: impl Fn(&mut Step)) {
        let (block, at) = self.find(sql);
        let ordered = Arc::make_mut(&mut self.blocks[block].requests[at].ordered);
        let steps = match ordered {
            Ordered::Commit(commit) => &mut commit.steps[..],
            Ordered::Auto(auto) => std::slice::from_mut(&mut auto.step),
            _ => unreachable!(),
        };
        let step = steps.iter_mut().find(|s| s.operation.sql == sql);
        change(step.unwrap());
    }

    fn verdict(&mut self, sql: &str) -> &mut Verdict {
        let (block, at) = self.find(sql);
        let height = self.blocks[block].height;
        let verdicts = self.outline.verdicts.get_mut(&height).unwrap();
        let found = verdicts.iter_mut().find(|(index, _)| *index == at as u32);
        &mut found.unwrap().1
    }
}

fn steps(ordered: &Ordered) -> &[Step] {
    match ordered {
        Ordered::Commit(commit) => &commit.steps,
        Ordered::Auto(auto) => std::slice::from_ref(&auto.step),
        _ => &[],
    }
}

async fn run(client: &Client, sql: &str) {
    let ran = client.batch_execute(sql).await;
    ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

const READ: &str = "SELECT id, balance FROM accounts ORDER BY id";
const LATE: &str = "INSERT INTO notes (what) SELECT 'sum ' || sum(balance) FROM accounts";
const DOUBLE: &str = "UPDATE accounts SET balance = balance * 2 WHERE id = 1 RETURNING balance";
const ADD: &str = "UPDATE accounts SET balance = balance + 7 WHERE id = 1 RETURNING balance";
const NOTE: &str = "INSERT INTO notes (what) VALUES ('lost?') RETURNING id";
const COUNT: &str = "SELECT count(*) FROM notes";

/// Transactions of every form, and those that meet.
async fn history(one: &Client, other: &Client) {
    run(
        one,
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
         CREATE TABLE notes (id serial PRIMARY KEY, what text, at timestamptz DEFAULT now(), luck float8 DEFAULT random());
         CREATE SEQUENCE by_ten INCREMENT 10 CACHE 5;
         INSERT INTO accounts SELECT g, 100 FROM generate_series(1, 4) g",
    )
    .await;
    // A snapshot that an autocommit write passes by.
    run(one, "BEGIN").await;
    run(one, READ).await;
    run(other, DOUBLE).await;
    run(one, LATE).await;
    run(one, "COMMIT").await;
    run(other, ADD).await;
    // A failed statement behind a savepoint, sequences by hand and by tens.
    run(one, "BEGIN; INSERT INTO notes (what) VALUES ('kept'); SAVEPOINT s; INSERT INTO notes (what) VALUES ('gone')").await;
    assert!(
        one.batch_execute("INSERT INTO accounts VALUES (1, 1)")
            .await
            .is_err()
    );
    run(one, "ROLLBACK TO s; SELECT setval('by_ten', 500); SELECT nextval('by_ten'), nextval('by_ten'); COMMIT").await;
    run(other, NOTE).await;
    // What cannot be committed, and what rolls back.
    run(one, "BEGIN").await;
    run(one, "UPDATE accounts SET balance = 0 WHERE id = 2").await;
    run(one, "ROLLBACK").await;
    for client in [one, other] {
        run(client, "BEGIN ISOLATION LEVEL SERIALIZABLE").await;
        run(client, COUNT).await;
    }
    for client in [one, other] {
        run(
            client,
            "INSERT INTO notes (what) SELECT count(*) FROM notes",
        )
        .await;
    }
    run(one, "COMMIT").await;
    assert!(other.batch_execute("COMMIT").await.is_err(), "write skew");
    run(other, "ALTER TABLE notes ADD COLUMN more uuid DEFAULT gen_random_uuid(); DELETE FROM accounts WHERE id = 4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_log_replays_serially_and_whatever_is_planted_in_it_is_named() {
    let cluster = Cluster::start().await;
    history(&cluster.client().await, &cluster.client().await).await;
    let reports = cluster.operator.audit(PATIENCE).await;
    let reports = reports.unwrap();
    cluster.settle().await;
    let height = reports.values().next().unwrap().height;
    // What is final is in the file when the log's own thread has written it.
    let until = Instant::now() + PATIENCE;
    let (log, other) = loop {
        let logs = (Log::of(&cluster, 1), Log::of(&cluster, 2));
        if logs.0.outline.last_final().min(logs.1.outline.last_final()) >= height {
            break logs;
        }
        assert!(Instant::now() < until, "height {height} is in no log");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        log.outline
            .contradictions(&other.outline, "replica 2", height)
            .is_empty()
    );
    let oracle = Oracle::start(height).await;

    let mut honest = oracle.replay(&log).await;
    assert!(honest.transactions >= 8 && honest.at_snapshots >= 2);
    for (replica, report) in &reports {
        honest.compare(&format!("replica {}", replica.0), &report.tables);
    }
    assert_eq!(honest.differences, []);

    let mut lie = log.clone();
    lie.alter(READ, |step| step.evidence.result.0[0] ^= 1);
    oracle.names(&lie, READ, "another result").await;

    let mut lie = log.clone();
    lie.alter(NOTE, |step| step.evidence.write.0[9] ^= 1);
    oracle.names(&lie, NOTE, "other writes").await;

    // A write that was acknowledged and is lost: what read it, and the tables, say so.
    let mut lie = log.clone();
    *lie.verdict(NOTE) = Verdict::Abort;
    let mut found = oracle.names(&lie, COUNT, "another result").await;
    found.differences.clear();
    found.compare("replica 1", &reports[&consensus::ReplicaId(1)].tables);
    let table = |difference: &Difference| matches!(difference, Difference::Table { name, .. } if name == "public.notes");
    assert!(found.differences.iter().any(table), "{found:?}");

    // Two writes of one row in the other order.
    let mut lie = log.clone();
    let (first, second) = (lie.find(DOUBLE), lie.find(ADD));
    let held = lie.blocks[first.0].requests[first.1].clone();
    let late = std::mem::replace(&mut lie.blocks[second.0].requests[second.1], held);
    lie.blocks[first.0].requests[first.1] = late;
    for block in [first.0, second.0] {
        // The heights at which they ran are not what is looked at here.
        let Block {
            height, requests, ..
        } = &mut lie.blocks[block];
        for placed in requests {
            if let Ordered::Auto(auto) = Arc::make_mut(&mut placed.ordered) {
                auto.ran_at = *height - 1;
            }
        }
    }
    oracle.names(&lie, ADD, "another result").await;

    // A snapshot that is younger than its Begin.
    let mut lie = log.clone();
    let (write, _) = lie.find(DOUBLE);
    let (commit, at) = lie.find(READ);
    let Ordered::Commit(read) = &*lie.blocks[commit].requests[at].ordered else {
        panic!("a transaction")
    };
    let tx = read.tx;
    let begins = |block: &Block| {
        block
            .requests
            .iter()
            .position(|p| (p.client, p.seq) == (tx.client, tx.seq))
    };
    let (begin, place) = lie
        .blocks
        .iter()
        .enumerate()
        .find_map(|(n, b)| Some((n, begins(b)?)))
        .unwrap();
    assert!(begin < write, "{begin} {write}");
    let placed = std::mem::replace(
        &mut lie.blocks[begin].requests[place].ordered,
        Arc::new(Ordered::Tick),
    );
    let mut moved = lie.blocks[begin].requests[place].clone();
    let mut late = lie.clone();
    moved.ordered = placed;
    late.blocks[write].requests.push(moved);
    oracle.names(&late, READ, "another result").await;
    // And one that was never taken.
    let never = oracle.replay(&lie).await;
    assert!(
        never.differences[0].to_string().contains("had not begun"),
        "{never:?}"
    );

    // What the group turned down is committed after all.
    let mut lie = log.clone();
    let (block, at) = refused(&lie);
    let height = lie.blocks[block].height;
    let commit = |outline: &mut Outline| {
        let verdicts = outline.verdicts.get_mut(&height).unwrap();
        let found = verdicts.iter_mut().find(|(index, _)| *index == at as u32);
        found.unwrap().1 = Verdict::Commit;
    };
    commit(&mut lie.outline);
    oracle
        .names_at(&lie, (block, at), COUNT, "another result")
        .await;

    let mut told = other.outline.clone();
    commit(&mut told);
    let found = log.outline.contradictions(&told, "replica 2", height);
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().contains("replica 2"));
    cluster.end().await;
}

/// Where the transaction stands that lost against another serializable one.
fn refused(log: &Log) -> (usize, usize) {
    let counts = |ordered: &Ordered| steps(ordered).iter().any(|s| s.operation.sql == COUNT);
    let of = |(number, block): (usize, &Block)| {
        let verdicts = log.outline.verdicts.get(&block.height)?;
        let refused = |at: usize| verdicts.contains(&(at as u32, Verdict::Abort));
        let mut placed = block.requests.iter().enumerate();
        let (at, _) = placed.find(|(at, p)| refused(*at) && counts(&p.ordered))?;
        Some((number, at))
    };
    log.blocks.iter().enumerate().find_map(of).unwrap()
}

/// One server; a database for each replay.
struct Oracle {
    server: Server,
    height: u64,
    made: std::sync::atomic::AtomicU32,
}

impl Oracle {
    async fn start(height: u64) -> Oracle {
        let server = Server::start(&PostgresConfig::new("/nowhere")).await;
        Oracle {
            server: server.unwrap(),
            height,
            made: Default::default(),
        }
    }

    async fn replay(&self, log: &Log) -> Replayed {
        let number = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("replay_{number}");
        let template = &self.server.database;
        let mut session = Session::connect(&pgsession::Target {
            database: "template1".into(),
            ..template.control.clone()
        })
        .await
        .unwrap();
        let made = session
            .run(vec![Statement::new(format!(
                "CREATE DATABASE {name} TEMPLATE postgres OWNER postgres"
            ))])
            .await
            .unwrap();
        assert!(made[0].error.is_none(), "{:?}", made[0].error);
        session.close().await;
        let database = |target: &pgsession::Target| pgsession::Target {
            database: name.clone(),
            ..target.clone()
        };
        let database = Database {
            clients: database(&template.clients),
            control: database(&template.control),
            token: template.token.clone(),
        };
        let blocks = log.blocks.iter().cloned().map(Ok);
        let until = Until::Audit(self.height);
        let replayed = replay(&database, blocks, &log.outline, until, |_| ()).await;
        replayed.unwrap()
    }

    /// The replay finds this of this statement, and of nothing that comes before it.
    async fn names(&self, log: &Log, sql: &str, what: &str) -> Replayed {
        self.names_at(log, log.find(sql), sql, what).await
    }

    async fn names_at(&self, log: &Log, place: (usize, usize), sql: &str, what: &str) -> Replayed {
        let found = self.replay(log).await;
        let first = found.differences.first();
        let first = first.unwrap_or_else(|| panic!("nothing is found of {sql}"));
        let (block, at) = place;
        let place = format!("height {}, item {at}, ", log.blocks[block].height);
        let text = first.to_string();
        assert!(text.starts_with(&place), "{text}: not {place}");
        assert!(text.contains(sql.get(..60).unwrap_or(sql)), "{text}");
        assert!(text.contains(what), "{text}");
        found
    }
}
