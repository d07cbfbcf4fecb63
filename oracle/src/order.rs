//! What follows from the order alone: which transactions run, where, and from which snapshot (no I/O).

use crate::{Block, Difference, Outline};
use consensus::{ClientId, Height};
use replica::executor::again::Opening;
use std::collections::BTreeMap;
use std::sync::Arc;
use txn::engine::Placed;
use txn::limits::AUTO_WINDOW;
use txn::tally::Verdict;
use txn::{Isolation, Ordered, TxId};

/// The next thing to do.
pub enum Step {
    /// A committed transaction at its place. `opening`: it reads the state there; `None`: that of its snapshot.
    Run {
        height: Height,
        index: u32,
        tx: TxId,
        ordered: Arc<Ordered>,
        opening: Option<Opening>,
    },
    /// VACUUM and its like.
    Maintain {
        client: ClientId,
        ordered: Arc<Ordered>,
    },
    /// The replicas have compared their tables here.
    Audit,
    /// At the end of a height: the snapshot of a transaction that will commit.
    Snapshot { tx: TxId, opening: Opening },
}

struct Begun {
    epoch: u64,
    opening: Opening,
}

/// The order so far.
#[derive(Default)]
pub struct Order {
    begun: BTreeMap<TxId, Begun>,
    /// Times of the last heights, for autocommit writes.
    times: BTreeMap<Height, u64>,
}

impl Order {
    /// One more height.
    pub fn next(
        &mut self,
        block: &Block,
        outline: &Outline,
        differences: &mut Vec<Difference>,
    ) -> Vec<Step> {
        let (mut steps, mut snapshots) = (Vec::new(), Vec::new());
        self.times.insert(block.height, block.time_ms);
        while self.times.len() as u64 > AUTO_WINDOW + 1 {
            self.times.pop_first();
        }
        let verdicts = outline.verdicts.get(&block.height);
        for (index, placed) in (0..).zip(&block.requests) {
            let mut wrong = |what: String| {
                differences.push(Difference::Order {
                    height: block.height,
                    index,
                    what,
                });
            };
            let (tx, opening) = match &*placed.ordered {
                Ordered::Begin(begin) => {
                    let tx = TxId {
                        client: placed.client,
                        incarnation: placed.incarnation,
                        seq: placed.seq,
                    };
                    let opening = opening(
                        tx,
                        block.time_ms,
                        (begin.settings.clone(), begin.isolation, begin.read_only),
                    );
                    if outline.committed.contains(&tx) {
                        snapshots.push((tx, opening.clone()));
                    }
                    let epoch = begin.epoch;
                    self.begun.insert(tx, Begun { epoch, opening });
                    continue;
                }
                Ordered::Rollback { tx } if tx.client == placed.client => {
                    self.begun.remove(tx);
                    continue;
                }
                Ordered::Exec(_) => {
                    steps.push(Step::Maintain {
                        client: placed.client,
                        ordered: placed.ordered.clone(),
                    });
                    continue;
                }
                Ordered::Audit => {
                    steps.push(Step::Audit);
                    continue;
                }
                Ordered::Commit(_) | Ordered::Auto(_) => {
                    match verdict(verdicts, index) {
                        Some(Verdict::Commit) => {}
                        Some(Verdict::Abort) => {
                            self.ended(placed);
                            continue;
                        }
                        None => {
                            wrong("a transaction without a verdict".into());
                            continue;
                        }
                    }
                    match self.runs(block.height, placed) {
                        Ok(found) => found,
                        Err(why) => {
                            wrong(why);
                            continue;
                        }
                    }
                }
                _ => continue,
            };
            steps.push(Step::Run {
                height: block.height,
                index,
                tx,
                ordered: placed.ordered.clone(),
                opening,
            });
        }
        let snapshot = |(tx, opening)| Step::Snapshot { tx, opening };
        steps.extend(snapshots.into_iter().map(snapshot));
        steps
    }

    /// A COMMIT that was turned down ends its transaction if it could have ended it at all.
    fn ended(&mut self, placed: &Placed) {
        if let Ordered::Commit(commit) = &*placed.ordered
            && commit.tx.client == placed.client
        {
            self.begun.remove(&commit.tx);
        }
    }

    /// The name of a committed transaction, and how it is opened where it reads the state at its place; or why nobody may have
    /// committed it.
    fn runs(&mut self, height: Height, placed: &Placed) -> Result<(TxId, Option<Opening>), String> {
        match &*placed.ordered {
            Ordered::Commit(commit) => {
                let tx = commit.tx;
                if tx.client != placed.client {
                    return Err(format!("{} committed {tx}", placed.client));
                }
                let begun = self.begun.remove(&tx);
                let begun =
                    begun.ok_or(format!("{tx} was committed and had not begun, or was over"))?;
                if begun.epoch != commit.epoch {
                    return Err(format!(
                        "{tx} began in epoch {} and was committed in epoch {}",
                        begun.epoch, commit.epoch
                    ));
                }
                let wrote = commit.steps.iter().any(|s| s.evidence.leaves_something());
                let at_place = wrote && begun.opening.promised == Isolation::Serializable;
                Ok((tx, at_place.then_some(begun.opening)))
            }
            Ordered::Auto(auto) => {
                let tx = auto.tx;
                if tx.client != placed.client {
                    return Err(format!("{} committed {tx}", placed.client));
                }
                let time = self.times.get(&auto.ran_at).copied();
                if auto.ran_at >= height || auto.ran_at + AUTO_WINDOW < height {
                    return Err(format!("{tx} was run at height {}", auto.ran_at));
                }
                let settings = auto.settings.clone();
                let isolation = Isolation::of(&settings);
                // At height 0 nothing was decided, and it was no time.
                let opening = opening(tx, time.unwrap_or(0), (settings, isolation, false));
                Ok((tx, Some(opening)))
            }
            _ => Err("nothing of this kind is committed".into()),
        }
    }
}

fn verdict(verdicts: Option<&Vec<(u32, Verdict)>>, index: u32) -> Option<Verdict> {
    let found = verdicts?.iter().find(|(at, _)| *at == index);
    found.map(|(_, verdict)| *verdict)
}

fn opening(
    tx: TxId,
    time_ms: u64,
    (settings, promised, read_only): (txn::ordered::SessionSettings, Isolation, bool),
) -> Opening {
    Opening {
        client: tx.client,
        isolation: "REPEATABLE READ",
        promised,
        read_only,
        time_ms,
        nonce: tx.nonce(),
        mode: "replay",
        settings,
    }
}
