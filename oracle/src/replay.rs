//! The replay: heights one after another, transactions one after another.

use crate::order::{Order, Step};
use crate::transaction;
use crate::{Block, Database, Difference, Error, Outline};
use consensus::{ClientId, Digest, Height};
use pgsession::{Session, Statement};
use replica::executor::again::{Opening, Pool, act_as, clean, quiet, refused_request, statement};
use std::collections::BTreeMap;
use txn::ordered::role;
use txn::{Ordered, TxId};

/// Differences after which the rest is not told.
const MOST: usize = 100;

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the end of this height.
    End(Height),
    /// To the last place in this height at which the replicas compared their tables.
    Audit(Height),
}

impl Until {
    /// The height.
    pub fn height(self) -> Height {
        let (Until::End(height) | Until::Audit(height)) = self;
        height
    }
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    pub heights: Height,
    /// Committed transactions, and their operations.
    pub transactions: u64,
    pub operations: u64,
    /// Of them those that read the snapshot of an earlier height.
    pub at_snapshots: u64,
    pub differences: Vec<Difference>,
    /// Tables at the end: name, rows, digest.
    pub contents: Vec<(String, u64, Digest)>,
}

impl Replayed {
    /// Compares the tables with those that a replica reported at the place where the replay ended.
    pub fn compare(&mut self, who: &str, tables: &[(String, u64, Digest)]) {
        let by_name = |tables: &[(String, u64, Digest)]| -> BTreeMap<String, (u64, Digest)> {
            let named = tables
                .iter()
                .map(|(name, rows, d)| (name.clone(), (*rows, *d)));
            named.collect()
        };
        let (here, there) = (by_name(&self.contents), by_name(tables));
        let mut differs = |name: &String, what: String| {
            self.differences.push(Difference::Table {
                name: name.clone(),
                what,
            });
        };
        for (name, (rows, digest)) in &here {
            match there.get(name) {
                None => differs(name, format!("{who} does not have it")),
                Some((others, other)) if other != digest => differs(
                    name,
                    format!("{rows} rows after the replay, {others} other ones at {who}"),
                ),
                Some(_) => {}
            }
        }
        for name in there.keys().filter(|name| !here.contains_key(*name)) {
            differs(name, format!("only {who} has it"));
        }
    }
}

/// Replays what a log holds, on a database that holds nothing yet. `told` hears of each height.
///
/// # Errors
/// When the log is too short, or the server or the disk fails. What is otherwise than agreed is no error.
pub async fn replay(
    database: &Database,
    blocks: impl Iterator<Item = Result<Block, Error>>,
    outline: &Outline,
    until: Until,
    mut told: impl FnMut(Height),
) -> Result<Replayed, Error> {
    let mut run = Run {
        database,
        sessions: BTreeMap::new(),
        pool: Pool::new(database.clients.clone()),
        replayed: Replayed::default(),
    };
    let mut order = Order::default();
    for block in blocks {
        let block = block?;
        let last = block.height == until.height();
        let mut steps = order.next(&block, outline, &mut run.replayed.differences);
        if last && matches!(until, Until::Audit(_)) {
            let audit = steps.iter().rposition(|step| matches!(step, Step::Audit));
            let audit = audit.ok_or(Error::NoAudit {
                height: block.height,
            })?;
            steps.truncate(audit);
        }
        for step in steps {
            run.step(step).await?;
        }
        run.replayed.heights = block.height;
        told(block.height);
        if last {
            break;
        }
    }
    let mut replayed = run.replayed;
    if replayed.heights < until.height() {
        return Err(Error::Short {
            have: replayed.heights,
            want: until.height(),
        });
    }
    replayed.differences.truncate(MOST);
    replayed.contents = database.contents().await?;
    Ok(replayed)
}

struct Run<'a> {
    database: &'a Database,
    /// Snapshots that are open.
    sessions: BTreeMap<TxId, Session>,
    pool: Pool,
    replayed: Replayed,
}

impl Run<'_> {
    async fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Audit => {}
            Step::Snapshot { tx, opening } => {
                let mut session = self.session(opening.role()).await?;
                // Settings that PostgreSQL refuses leave it failed, as at the replicas.
                opening.open(&mut session).await?;
                self.sessions.insert(tx, session);
            }
            Step::Maintain { client, ordered } => {
                if refused_request(client, &ordered).is_none() {
                    self.maintain(client, &ordered).await?;
                }
            }
            Step::Run {
                height,
                index,
                tx,
                ordered,
                opening,
            } => {
                let found = self.run(tx, &ordered, opening).await?;
                let differs = found
                    .into_iter()
                    .map(|(statement, what)| Difference::Transaction {
                        height,
                        index,
                        tx,
                        statement,
                        what,
                    });
                self.replayed.differences.extend(differs);
            }
        }
        Ok(())
    }

    async fn run(
        &mut self,
        tx: TxId,
        ordered: &Ordered,
        opening: Option<Opening>,
    ) -> Result<Vec<transaction::Found>, Error> {
        let steps = match ordered {
            Ordered::Commit(commit) => &commit.steps[..],
            Ordered::Auto(auto) => std::slice::from_ref(&auto.step),
            _ => &[],
        };
        self.replayed.transactions += 1;
        self.replayed.operations += steps.len() as u64;
        let snapshot = self.sessions.remove(&tx);
        let (mut session, prefix) = match (snapshot, opening) {
            (Some(session), None) => {
                self.replayed.at_snapshots += 1;
                (session, Vec::new())
            }
            (Some(session), Some(opening)) => {
                let mut prefix = vec![quiet("ROLLBACK")];
                prefix.extend(opening.statements());
                (session, prefix)
            }
            (None, Some(opening)) => (self.session(opening.role()).await?, opening.statements()),
            (None, None) => {
                let what = "its snapshot was never taken: the order does not hold its Begin";
                return Ok(vec![(None, what.to_owned())]);
            }
        };
        let found = transaction::run(&mut session, prefix, steps, &self.database.token).await?;
        self.give_back(session).await?;
        Ok(found)
    }

    /// What concerns no user's data is done all the same: plans may depend on it.
    async fn maintain(&mut self, client: ClientId, ordered: &Ordered) -> Result<(), Error> {
        let Ordered::Exec(exec) = ordered else {
            return Ok(());
        };
        let maintains = |text| {
            sql::statement(text).is_ok_and(|s| matches!(s.kind, sql::Kind::Maintenance { .. }))
        };
        if !maintains(&exec.operation.sql) {
            return Ok(());
        }
        let role = role(&exec.settings);
        let mut session = self.session(role).await?;
        let act = session.run(vec![act_as(client, role)]).await?;
        if act.iter().any(|outcome| outcome.error.is_some()) {
            return self.give_back(session).await;
        }
        let set = |(name, value): &(String, String)| Statement {
            sql: "SELECT pg_catalog.set_config($1, $2, false)".into(),
            parameter_types: vec![25, 25],
            parameters: vec![Some(name.clone().into()), Some(value.clone().into())],
            ..Statement::default()
        };
        let settings = exec.settings.iter();
        let mut statements: Vec<Statement> = settings
            .filter(|(name, _)| !name.starts_with("steel."))
            .map(set)
            .collect();
        statements.push(statement(&exec.operation));
        session.run(statements).await?;
        self.give_back(session).await
    }

    /// A session of this role, or of the owner where it cannot log in: it is refused then, as at the replicas.
    async fn session(&self, role: &str) -> Result<Session, Error> {
        Ok(self.pool.get_as(role).await?)
    }

    /// A session without what the last transaction left in it.
    async fn give_back(&mut self, mut session: Session) -> Result<(), Error> {
        if session.transaction() != b'I' {
            session.run(vec![quiet("ROLLBACK")]).await?;
        }
        let cleaned = session.run(clean().into()).await?;
        self.pool.put_clean(session, &cleaned);
        Ok(())
    }
}
