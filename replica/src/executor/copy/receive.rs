//! The way of one that copies, from asking to the floor under its own record.

use super::super::jobs::Bench;
use super::install::Install;
use super::truth::{Claims, Truth};
use super::{WINDOW, hash_of, send};
use consensus::{Height, ReplicaId, View};
use net::Endpoint;
use order::OrderHandle;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use txn::Ordered;
use txn::copy::{CopyMessage, Part};

/// How long members may take to keep a state after they were asked, and how often they are asked.
const KEEP: Duration = Duration::from_secs(20);
const ASKED: u32 = 6;
/// How long they may take to read everything.
const READ: Duration = Duration::from_secs(3_600);
/// How long the others may take that keep it too, once enough say what they hold.
const STRAGGLERS: Duration = Duration::from_secs(3);
/// How long a source may be silent.
const SILENCE: Duration = Duration::from_secs(8);
/// A source begins with what takes it long: pg_dump, or the first rows of a table that somebody has locked.
const FIRST: Duration = Duration::from_secs(130);

/// How a copy ended.
#[derive(Debug)]
pub enum Copied {
    /// This server holds the state of that height.
    Done { height: Height, bytes: u64 },
    /// Not this time: it must begin again, with a fresh server. Without these, which are to blame for it.
    Again {
        suspects: BTreeSet<ReplicaId>,
        why: String,
    },
}

/// Why a part did not come from a source.
enum Failure {
    /// The state is not kept there any more, or the source is silent: another one is asked.
    Lost(String),
    /// What came is not what the truth says.
    Wrong(String),
}

/// One that copies.
pub struct Copier {
    pub me: ReplicaId,
    pub view: View,
    pub endpoint: Endpoint,
    pub order: OrderHandle,
    pub bench: Bench,
    pub inbox: mpsc::Receiver<(ReplicaId, CopyMessage, net::Share)>,
    /// Who is not asked for anything.
    pub suspects: BTreeSet<ReplicaId>,
    /// Bytes received.
    pub bytes: u64,
}

impl Copier {
    /// Copies. Its own server is fresh.
    pub async fn run(mut self) -> Copied {
        let truth = match self.truth().await {
            Ok(truth) => truth,
            Err(why) => return self.again(why),
        };
        let (height, tables) = (truth.height, truth.holding.tables.len());
        tracing::info!(height, tables, sources = ?truth.sources, "the state to be copied is agreed on");
        let copied = self.copy(&truth).await;
        for source in &truth.sources {
            send(&self.endpoint, *source, CopyMessage::Release { height });
        }
        match copied {
            Ok(()) => Copied::Done {
                height,
                bytes: self.bytes,
            },
            Err(why) => self.again(why),
        }
    }

    fn again(self, why: String) -> Copied {
        tracing::warn!(why, suspects = ?self.suspects, "the copy does not come about");
        Copied::Again {
            suspects: self.suspects,
            why,
        }
    }

    /// Has all keep their state at one height, and finds out what is true there.
    async fn truth(&mut self) -> Result<Truth, String> {
        let enough = self.view.one_correct();
        let mut claims = Claims::default();
        for _ in 0..ASKED {
            self.order.submit(Ordered::Copy.encode());
            let mut until = Instant::now() + KEEP;
            let mut reading = false;
            loop {
                let next = tokio::time::timeout_at(until, self.inbox.recv()).await;
                match next {
                    Ok(Some((from, message, _share))) if self.view.replicas.contains_key(&from) => {
                        match message {
                            CopyMessage::Keeping { height } => claims.keeps(from, height),
                            CopyMessage::Held { height, holding } => {
                                claims.holds(from, height, holding)
                            }
                            CopyMessage::Gone { height, .. } => claims.gone(from, height),
                            _ => {}
                        }
                    }
                    Ok(Some(_)) => continue,
                    Ok(None) => return Err("the replica stops".into()),
                    // Time is up: for the stragglers, or for all.
                    Err(_) => match self.sources(&claims, enough) {
                        Some(truth) => return Ok(truth),
                        None => break,
                    },
                }
                let kept = claims.kept(enough);
                if kept.is_some() && !reading {
                    (reading, until) = (true, Instant::now() + READ);
                }
                if reading && kept.is_none() {
                    // It was given up: asked again for a newer one.
                    break;
                }
                if let Some(truth) = self.sources(&claims, enough) {
                    if claims.complete(truth.height) && truth.sources.len() + 1 == self.view.n() {
                        return Ok(truth);
                    }
                    until = until.min(Instant::now() + STRAGGLERS);
                }
            }
        }
        Err(format!("no {enough} replicas say that they hold the same"))
    }

    /// The truth, with those of its sources that are not suspected, the next one of this replica first.
    fn sources(&self, claims: &Claims, enough: usize) -> Option<Truth> {
        let mut truth = claims.truth(enough)?;
        truth
            .sources
            .retain(|source| !self.suspects.contains(source));
        truth
            .sources
            .sort_by_key(|source| (*source < self.me, *source));
        Some(truth)
    }

    async fn copy(&mut self, truth: &Truth) -> Result<(), String> {
        let bench = self.bench.clone();
        let holding = &truth.holding;
        let mut sources = truth.sources.clone();
        let statements = loop {
            let source = *sources.first().ok_or("no source is left")?;
            let failure = match self.fetch_all(source, truth.height, Part::Statements).await {
                Ok(lines) if Install::agreed(&lines, &holding.statements) => break lines,
                Ok(_) => Failure::Wrong("its statements are others".into()),
                Err(failure) => failure,
            };
            self.leave(source, &mut sources, "statements", failure);
        };
        let mut install = Install::new(&bench, holding, statements);
        install.roles().await?;
        let (source, schema) = loop {
            let source = *sources.first().ok_or("no source is left")?;
            match self.fetch_all(source, truth.height, Part::Schema).await {
                Ok(pieces) => break (source, pieces.concat()),
                Err(failure) => self.leave(source, &mut sources, "schema", failure),
            }
        };
        let installed = match install.schema(&schema).await {
            Ok(()) => install.check().await,
            Err(why) => Err(why),
        };
        if let Err(why) = installed {
            // What it has done here nobody knows: the server is thrown away.
            self.suspects.insert(source);
            return Err(format!("the schema of replica {}: {why}", source.0));
        }
        for (table, ..) in &holding.tables {
            loop {
                let source = *sources.first().ok_or("no source is left")?;
                match self.table(&install, source, truth.height, table).await {
                    Ok(()) => break,
                    Err(failure) => self.leave(source, &mut sources, table, failure),
                }
            }
        }
        install.finish(truth.height).await
    }

    /// A source is not asked for anything more.
    fn leave(&mut self, source: ReplicaId, sources: &mut Vec<ReplicaId>, part: &str, why: Failure) {
        sources.retain(|other| *other != source);
        let why = match why {
            Failure::Lost(why) => why,
            Failure::Wrong(why) => {
                self.suspects.insert(source);
                why
            }
        };
        tracing::warn!(%source, part, why, "a source of the copy is left");
    }

    async fn table(
        &mut self,
        install: &Install<'_>,
        source: ReplicaId,
        height: Height,
        table: &str,
    ) -> Result<(), Failure> {
        let own = |why: String| Failure::Lost(format!("this server: {why}"));
        let mut session = install.begin_table().await.map_err(own)?;
        let part = Part::Table(table.to_owned());
        let mut number = 0;
        loop {
            let (rows, last) = self.fetch(source, height, &part, number).await?;
            let put = install.rows(&mut session, table, &rows).await;
            // The session is closed then: PostgreSQL rolls back.
            put.map_err(Failure::Wrong)?;
            if last {
                break;
            }
            number += 1;
        }
        let ended = install.end_table(&mut session, table).await;
        ended.map_err(Failure::Wrong)?;
        tracing::debug!(table, %source, "a table is copied");
        self.bench.pool.put(session);
        Ok(())
    }

    async fn fetch_all(
        &mut self,
        source: ReplicaId,
        height: Height,
        part: Part,
    ) -> Result<Vec<String>, Failure> {
        let (mut all, mut number) = (Vec::new(), 0);
        loop {
            let (mut texts, last) = self.fetch(source, height, &part, number).await?;
            all.append(&mut texts);
            if last {
                return Ok(all);
            }
            number += 1;
        }
    }

    /// The next chunk of a part; those after it may be under way.
    async fn fetch(
        &mut self,
        source: ReplicaId,
        height: Height,
        part: &Part,
        wanted: u32,
    ) -> Result<(Vec<String>, bool), Failure> {
        let fetch = CopyMessage::Fetch {
            height,
            part: part.clone(),
            until: wanted + WINDOW,
        };
        send(&self.endpoint, source, fetch);
        let patience = if wanted == 0 { FIRST } else { SILENCE };
        let until = Instant::now() + patience;
        loop {
            let next = tokio::time::timeout_at(until, self.inbox.recv()).await;
            let Ok(Some((from, message, _share))) = next else {
                return Err(Failure::Lost("it is silent".into()));
            };
            match message {
                CopyMessage::Gone { height: gone, why } if (from, gone) == (source, height) => {
                    return Err(Failure::Lost(why));
                }
                CopyMessage::Chunk {
                    height: at,
                    part: of,
                    number,
                    last,
                    payload,
                    hash,
                } if (from, at, &of) == (source, height, part) => {
                    self.bytes += payload.len() as u64;
                    if number != wanted || hash_of(&payload) != hash {
                        return Err(Failure::Wrong(format!(
                            "chunk {number} came for {wanted}, or broken"
                        )));
                    }
                    return match consensus::decode(&payload) {
                        Ok(texts) => Ok((texts, last)),
                        Err(error) => Err(Failure::Wrong(error.to_string())),
                    };
                }
                _ => {}
            }
        }
    }
}
