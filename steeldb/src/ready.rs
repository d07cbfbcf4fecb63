//! Waiting until members serve, and saying why one does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use client_shim::ReplicaStatus;
use cluster::Cluster;
use consensus::ReplicaId;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::operator::Operator;
use crate::progress::Progress;
use crate::{members, ports, spawn};

/// How long replicas may take to answer one inquiry.
const ASK: Duration = Duration::from_secs(1);

/// Between two inquiries.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the supervisor may try again to start a member that has ended.
const SECOND_TRY: Duration = Duration::from_secs(5);

/// How long the proxy may take for its first statement.
const FIRST_STATEMENT: Duration = Duration::from_secs(10);

/// What is waited for.
pub struct Wait<'a> {
    layout: &'a Layout,
    cluster: &'a Cluster,
    operator: Operator,
    /// Where the part of each log begins that a start now writes.
    log_begins: BTreeMap<Member, u64>,
    limit: Duration,
}

impl<'a> Wait<'a> {
    /// Taken before what is waited for is started.
    pub fn new(
        layout: &'a Layout,
        cluster: &'a Cluster,
        operator: Operator,
        limit: Duration,
    ) -> Wait<'a> {
        let log_begin = |member| (member, spawn::log_length(&layout.log_file(member)));
        Wait {
            layout,
            cluster,
            operator,
            log_begins: members::all(cluster).into_iter().map(log_begin).collect(),
            limit,
        }
    }

    /// Waits until all replicas answer. Those that ended or stay silent are returned with the reason; it is an error only
    /// when too few are left to serve.
    pub async fn replicas(&self, progress: &Progress) -> Result<Vec<String>, Failure> {
        let until = Instant::now() + self.limit;
        let total = self.cluster.replicas.len();
        let mut ends = Ends::default();
        loop {
            let answered: BTreeSet<u16> = self
                .operator
                .shim
                .statuses(ASK)
                .await
                .keys()
                .map(|id| id.0)
                .collect();
            let silent = self
                .cluster
                .replicas
                .iter()
                .filter(|r| !answered.contains(&r.id));
            let silent: Vec<Member> = silent.map(|r| Member::Replica(r.id)).collect();
            progress.step(format!(
                "starting the replicas: {} of {total} ready",
                answered.len()
            ));
            let hopeless = silent
                .iter()
                .filter(|member| ends.is_hopeless(self.layout, **member))
                .count();
            if hopeless == silent.len() || Instant::now() >= until {
                let troubles: Vec<String> =
                    silent.iter().map(|member| self.trouble(*member)).collect();
                let needed = self.cluster.membership().quorum();
                if answered.len() < needed {
                    return Err(Failure::new(format!(
                        "the cluster does not serve: {} of {total} replicas answer, {needed} are needed",
                        answered.len()
                    ))
                    .cause(troubles.join("\n")));
                }
                return Ok(troubles);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until one replica has applied what the others had when it answered first, and stays: f+1 others that it has a link to tell it
    /// what they are, and if it is not like them it stops.
    pub async fn caught_up(&self, replica: u16, progress: &Progress) -> Result<u64, Failure> {
        let until = Instant::now() + self.limit;
        let member = Member::Replica(replica);
        let mut ends = Ends::default();
        let mut goal = None;
        let mut stays = false;
        loop {
            let mut others = self.operator.shim.statuses(ASK).await;
            let mine = others.remove(&ReplicaId(replica));
            goal =
                goal.or_else(|| vouched_height(&others, self.cluster.membership().one_correct()));
            if let (Some(mine), Some(goal)) = (mine, goal) {
                let met = mine.connected.len() >= self.cluster.membership().one_correct();
                if mine.applied >= goal && met && stays {
                    return Ok(mine.applied);
                }
                stays = mine.applied >= goal && met;
                progress.step(format!(
                    "{member} catches up: height {} of {goal}",
                    mine.applied
                ));
            } else {
                stays = false;
                progress.step(format!("starting {member}"));
            }
            if ends.is_hopeless(self.layout, member) || Instant::now() >= until {
                return Err(
                    Failure::new(format!("{member} is not back")).cause(self.trouble(member))
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a statement through the proxy is answered.
    pub async fn proxy(&self, listen: SocketAddr, progress: &Progress) -> Result<(), Failure> {
        let until = Instant::now() + self.limit;
        progress.step("starting the proxy");
        let mut ends = Ends::default();
        loop {
            let Err(error) = first_statement(listen).await else {
                return Ok(());
            };
            if ends.is_hopeless(self.layout, Member::Proxy) || Instant::now() >= until {
                return Err(Failure::new("the proxy does not serve")
                    .cause(format!("{error}\n{}", self.trouble(Member::Proxy))));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Why a member does not serve, with the end of its log.
    fn trouble(&self, member: Member) -> String {
        let state = match members::process(self.layout, member) {
            None => "has ended".to_owned(),
            Some(process) => format!(
                "(process {}) does not answer within {} s",
                process.pid(),
                self.limit.as_secs()
            ),
        };
        let log = self.layout.log_file(member);
        let begin = self.log_begins.get(&member).copied().unwrap_or(0);
        let tail = spawn::log_tail(&log, begin);
        if tail.is_empty() {
            return format!("{member} {state}; its log {} says nothing", log.display());
        }
        let tail = tail.replace('\n', "\n    ");
        format!(
            "{member} {state}; its log {} ends with:\n    {tail}",
            log.display()
        )
    }
}

/// When members were first seen to have ended.
#[derive(Default)]
struct Ends(BTreeMap<Member, Instant>);

impl Ends {
    /// It has ended, and the supervisor's further tries did not help.
    fn is_hopeless(&mut self, layout: &Layout, member: Member) -> bool {
        let now = Instant::now();
        members::has_ended(layout, member)
            && now.duration_since(*self.0.entry(member).or_insert(now)) >= SECOND_TRY
    }
}

/// The greatest applied height that at least one correct replica has: so many name it or a greater one that one of them
/// is correct. `None` when fewer answer.
pub fn vouched_height(
    statuses: &BTreeMap<ReplicaId, ReplicaStatus>,
    one_correct: usize,
) -> Option<u64> {
    let mut heights: Vec<u64> = statuses.values().map(|status| status.applied).collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    heights.get(one_correct - 1).copied()
}

/// A connection and a statement, as an application does it.
async fn first_statement(listen: SocketAddr) -> Result<(), String> {
    let address = ports::reachable(listen);
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user("postgres")
        .dbname("postgres")
        .application_name("steeldb up")
        // Where passwords are wanted nobody is let in without; that it asks is answer enough.
        .password("")
        .connect_timeout(FIRST_STATEMENT);
    let explain = |error: tokio_postgres::Error| {
        error.as_db_error().map_or(error.to_string(), |db| {
            format!("{} ({})", db.message(), db.code().code())
        })
    };
    // It asks for a password, or its key is not bound to the owner's role: either is an answer.
    let asked = |error: &tokio_postgres::Error| {
        let refusals = [SqlState::INVALID_PASSWORD, SqlState::INSUFFICIENT_PRIVILEGE];
        error.code().is_some_and(|code| refusals.contains(code))
    };
    let ask = async {
        let (client, connection) = match config.connect(tokio_postgres::NoTls).await {
            Ok(connected) => connected,
            Err(error) if asked(&error) => return Ok(()),
            Err(error) => return Err(explain(error)),
        };
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            done = client.simple_query("SELECT 1") => match done {
                Err(error) if !asked(&error) => Err(explain(error)),
                _ => Ok(()),
            },
            ended = &mut connection => Err(ended.map_or_else(explain, |()| "the proxy closed the connection".into())),
        }
    };
    match timeout(FIRST_STATEMENT, ask).await {
        Ok(done) => done,
        Err(_) => Err(format!(
            "a first statement had no answer within {} s",
            FIRST_STATEMENT.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_liar_cannot_name_a_height_that_nobody_reaches() {
        let status = |replica: u16, applied: u64| ReplicaStatus {
            replica,
            regency: 0,
            leader: 0,
            epoch: 0,
            master: 0,
            decided: applied,
            applied,
            open_transactions: 0,
            connected: Vec::new(),
            round_trips: Vec::new(),
            verdicts: (0, 0, 0),
            server_version: String::new(),
            postgres_pid: 0,
            last_error: None,
            rebuilding: None,
            rebuilt: None,
            time_ms: 0,
            parameters: Vec::new(),
        };
        let heights = |list: &[u64]| {
            let named = list.iter().enumerate();
            named
                .map(|(id, h)| (ReplicaId(id as u16), status(id as u16, *h)))
                .collect()
        };
        assert_eq!(vouched_height(&heights(&[5, u64::MAX, 7, 6]), 2), Some(7));
        assert_eq!(
            vouched_height(&heights(&[9]), 2),
            None,
            "one alone vouches for nothing"
        );
    }
}
