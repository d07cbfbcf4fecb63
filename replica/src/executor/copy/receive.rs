//! The way of one that copies, from asking to the floor under its own record.

use super::super::jobs::Bench;
use super::inbox::Inbox;
use super::install::Install;
use super::intake::{Chunk, Failure, Intake};
use super::send;
use super::truth::{Claims, Truth};
use crate::rebuild::Rebuilds;
use consensus::{Height, ReplicaId, View};
use net::Endpoint;
use order::OrderHandle;
use std::collections::BTreeSet;
use std::time::Duration;
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

/// How a copy ended.
#[derive(Debug)]
pub enum Copied {
    /// This server holds the state of that height.
    Done { height: Height, bytes: u64 },
    /// Not this time: it must begin again. Without these, which are to blame for it; with a fresh server, unless what this one holds
    /// is of use.
    Again {
        suspects: BTreeSet<ReplicaId>,
        why: String,
        keep: bool,
    },
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What is true is asked for: nothing is changed here.
    Asking,
    /// The definitions are put here.
    Laying,
    /// The definitions are the agreed ones; tables are put here, each in a transaction that ends only when its rows are agreed ones.
    Loading,
    /// Everything is compared once more.
    Ending,
}

impl Stage {
    /// What is here then is sound as far as it goes.
    fn keeps(self) -> bool {
        matches!(self, Stage::Asking | Stage::Loading)
    }
}

/// One that copies.
pub struct Copier {
    pub me: ReplicaId,
    pub view: View,
    pub endpoint: Endpoint,
    pub order: OrderHandle,
    pub bench: Bench,
    pub inbox: Inbox,
    /// What the members say that they keep for this one.
    pub claims: Claims,
    /// Who is not asked for anything.
    pub suspects: BTreeSet<ReplicaId>,
    /// Its server holds what an earlier copy has left.
    pub laid: Option<Vec<String>>,
    pub rebuilds: Rebuilds,
    pub stage: Stage,
    /// Bytes received.
    pub bytes: u64,
}

impl Copier {
    /// Copies. Its own server is fresh, or holds an unfinished copy.
    pub async fn run(mut self) -> Copied {
        let copied = self.copied().await;
        // Sources or not, and whatever came of it: none keeps its state for longer.
        for (member, height) in self.claims.keepers() {
            send(&self.endpoint, member, CopyMessage::Release { height });
        }
        match copied {
            Ok(height) => Copied::Done {
                height,
                bytes: self.bytes,
            },
            Err(why) => self.again(why),
        }
    }

    async fn copied(&mut self) -> Result<Height, String> {
        let truth = self.truth().await?;
        let (height, tables) = (truth.height, truth.holding.tables.len());
        tracing::info!(height, tables, sources = ?truth.sources, "the state to be copied is agreed on");
        self.copy(&truth).await.map(|()| height)
    }

    fn again(self, why: String) -> Copied {
        tracing::warn!(why, suspects = ?self.suspects, "the copy does not come about");
        Copied::Again {
            suspects: self.suspects,
            why,
            keep: self.stage.keeps(),
        }
    }

    /// Has all keep their state at one height, and finds out what is true there.
    async fn truth(&mut self) -> Result<Truth, String> {
        let enough = self.view.one_correct();
        for _ in 0..ASKED {
            self.order.submit(Ordered::Copy.encode());
            let mut until = Instant::now() + KEEP;
            let mut reading = false;
            loop {
                let next = tokio::time::timeout_at(until, self.inbox.next()).await;
                match next {
                    Ok(Some((from, message, _place))) if self.view.replicas.contains_key(&from) => {
                        match message {
                            CopyMessage::Keeping { height } => self.claims.keeps(from, height),
                            CopyMessage::Held { height, holding } => {
                                self.claims.holds(from, height, holding)
                            }
                            CopyMessage::Gone { height, .. } => self.claims.gone(from, height),
                            _ => {}
                        }
                    }
                    Ok(Some(_)) => continue,
                    Ok(None) => return Err("the replica stops".into()),
                    // Time is up: for the stragglers, or for all.
                    Err(_) => match self.sources(enough) {
                        Some(truth) => return Ok(truth),
                        None => break,
                    },
                }
                let kept = self.claims.kept(enough);
                if kept.is_some() && !reading {
                    (reading, until) = (true, Instant::now() + READ);
                }
                if reading && kept.is_none() {
                    // It was given up: asked again for a newer one.
                    break;
                }
                if let Some(truth) = self.sources(enough) {
                    if self.claims.complete(truth.height)
                        && truth.sources.len() + 1 == self.view.n()
                    {
                        return Ok(truth);
                    }
                    until = until.min(Instant::now() + STRAGGLERS);
                }
            }
        }
        Err(format!("no {enough} replicas say that they hold the same"))
    }

    /// The truth, with those of its sources that are not suspected, the next one of this replica first.
    fn sources(&self, enough: usize) -> Option<Truth> {
        let mut truth = self.claims.truth(enough)?;
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
        let laid = self.laid.take();
        let goes_on = laid.is_some();
        self.stage = Stage::Laying;
        match laid {
            Some(unforced) => install.go_on(unforced).await?,
            None => self.lay(&mut install, truth, &mut sources).await?,
        }
        self.stage = Stage::Loading;
        let mut kept = 0;
        for (table, count, _) in &holding.tables {
            if goes_on && install.has(table).await? {
                kept += 1;
                continue;
            }
            loop {
                let source = *sources.first().ok_or("no source is left")?;
                let rows = Intake::table(*count);
                match self
                    .table(&install, source, truth.height, table, rows)
                    .await
                {
                    Ok(()) => break,
                    Err(failure) => self.leave(source, &mut sources, table, failure),
                }
            }
        }
        if goes_on {
            let tables = holding.tables.len();
            tracing::warn!(kept, tables, "an unfinished copy was gone on with");
        }
        self.stage = Stage::Ending;
        install.finish(truth.height).await
    }

    /// Puts the agreed definitions into a fresh server, and notes that they are there.
    async fn lay(
        &mut self,
        install: &mut Install<'_>,
        truth: &Truth,
        sources: &mut Vec<ReplicaId>,
    ) -> Result<(), String> {
        install.roles().await?;
        let (source, schema) = loop {
            let source = *sources.first().ok_or("no source is left")?;
            match self.fetch_all(source, truth.height, Part::Schema).await {
                Ok(pieces) => break (source, pieces.concat()),
                Err(failure) => self.leave(source, sources, "schema", failure),
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
        let unforced = install.reach_disk().await?;
        self.rebuilds.lay(unforced).map_err(|e| e.to_string())
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
        mut intake: Intake,
    ) -> Result<(), Failure> {
        let own = |why: String| Failure::Lost(format!("this server: {why}"));
        let mut session = install.begin_table(table).await.map_err(own)?;
        let part = Part::Table(table.to_owned());
        loop {
            let (rows, last) = self.fetch(source, height, &part, &mut intake).await?;
            let put = install.rows(&mut session, table, &rows).await;
            // The session is closed then: PostgreSQL rolls back.
            put.map_err(Failure::Wrong)?;
            if last {
                break;
            }
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
        let (mut all, mut intake) = (Vec::new(), Intake::held());
        loop {
            let (mut texts, last) = self.fetch(source, height, &part, &mut intake).await?;
            all.append(&mut texts);
            if last {
                return Ok(all);
            }
        }
    }

    /// The next chunk of a part; those after it may be under way.
    async fn fetch(
        &mut self,
        source: ReplicaId,
        height: Height,
        part: &Part,
        intake: &mut Intake,
    ) -> Result<(Vec<String>, bool), Failure> {
        let fetch = CopyMessage::Fetch {
            height,
            part: part.clone(),
            until: intake.until(),
        };
        self.inbox.take_from(source);
        send(&self.endpoint, source, fetch);
        let asked = Instant::now();
        let until = asked + intake.patience();
        loop {
            let next = tokio::time::timeout_at(until, self.inbox.next()).await;
            let Ok(Some((from, message, _place))) = next else {
                return Err(Failure::Lost("it is silent, or too slow".into()));
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
                    let chunk = Chunk {
                        number,
                        last,
                        payload,
                        hash,
                    };
                    let texts = intake.take(&chunk, asked.elapsed())?;
                    return Ok((texts, last));
                }
                // Too late to be a source; it is released with the others.
                CopyMessage::Keeping { height } => self.claims.keeps(from, height),
                _ => {}
            }
        }
    }
}
