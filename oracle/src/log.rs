//! The decided log, as it lies in a replica's directory. The replica may be writing it.

use crate::{Difference, Error};
use consensus::{Decided, Digest, Height};
use order::log::{Record, Replay};
use order::record::DECIDED;
use replica::executor::record::VERDICTS;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use txn::engine::Placed;
use txn::tally::Verdict;
use txn::{Ordered, TxId};

/// A decided batch.
#[derive(Clone, Debug)]
pub struct Block {
    pub height: Height,
    /// Consensus time, milliseconds.
    pub time_ms: u64,
    pub requests: Vec<Placed>,
}

/// What a first reading of a log leaves: about 100 bytes a height and 50 a transaction; bodies are read again one by one.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// The verdicts of each height that was final when the log was read.
    pub verdicts: BTreeMap<Height, Vec<(u32, Verdict)>>,
    /// Transactions of several statements that were committed: only their snapshots are of interest.
    pub committed: BTreeSet<TxId>,
    /// Digest of what was decided at each height: time and requests.
    decided: BTreeMap<Height, Digest>,
}

impl Outline {
    /// Reads a log through.
    ///
    /// # Errors
    /// When it is damaged, or holds what this program does not know.
    pub fn read(dir: &Path) -> Result<Outline, Error> {
        let mut outline = Outline::default();
        // Commits whose height has no verdicts yet.
        let mut waiting: BTreeMap<Height, Vec<(u32, TxId)>> = BTreeMap::new();
        for record in Replay::beside(dir)? {
            let record = record?;
            match record.kind {
                DECIDED => {
                    let decided = decode(&record)?;
                    outline.decided.insert(record.key, digest(&decided));
                    let commits = commits(&block(decided));
                    if !commits.is_empty() {
                        waiting.insert(record.key, commits);
                    }
                }
                VERDICTS => {
                    let verdicts: Vec<(u32, Verdict)> = decode(&record)?;
                    let committed = |index| verdicts.contains(&(index, Verdict::Commit));
                    let commits = waiting.remove(&record.key).unwrap_or_default();
                    let commits = commits.into_iter().filter(|(index, _)| committed(*index));
                    outline.committed.extend(commits.map(|(_, tx)| tx));
                    outline.verdicts.insert(record.key, verdicts);
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    /// The last height up to which everything is decided and final in this log.
    pub fn last_final(&self) -> Height {
        let whole = |height: &Height| {
            self.verdicts.contains_key(height) && self.decided.contains_key(height)
        };
        (1..).take_while(whole).last().unwrap_or(0)
    }

    /// Where another replica's log says something else: of the heights that both hold, up to `last`.
    pub fn contradictions(&self, other: &Outline, who: &str, last: Height) -> Vec<Difference> {
        let differs = |height: Height, what: &str| Difference::Logs {
            height,
            what: format!("{what} in the log of {who}"),
        };
        let mut found = Vec::new();
        for (height, decided) in self.decided.range(..=last) {
            if other.decided.get(height).is_some_and(|d| d != decided) {
                found.push(differs(*height, "another decision"));
            }
        }
        for (height, verdicts) in self.verdicts.range(..=last) {
            if other.verdicts.get(height).is_some_and(|v| v != verdicts) {
                found.push(differs(*height, "other verdicts"));
            }
        }
        found
    }
}

/// The decided batches of a log, from the first on.
///
/// # Errors
/// When the log cannot be read; a damaged record is the last item.
pub fn blocks(dir: &Path) -> Result<impl Iterator<Item = Result<Block, Error>>, Error> {
    let decided = |record: Result<Record, _>| match record {
        Ok(record) if record.kind == DECIDED => Some(decode(&record).map(block)),
        Ok(_) => None,
        Err(error) => Some(Err(Error::Log(error))),
    };
    Ok(Replay::beside(dir)?.filter_map(decided))
}

fn decode<T: serde::de::DeserializeOwned>(record: &Record) -> Result<T, Error> {
    postcard::from_bytes(&record.payload).map_err(|error| Error::Record {
        key: record.key,
        cause: error.to_string(),
    })
}

fn block(decided: Decided) -> Block {
    let placed = |request: consensus::Request| Placed {
        client: request.client,
        incarnation: request.incarnation,
        seq: request.seq,
        // What is no message about transactions (a change of the membership) concerns no table.
        ordered: Arc::new(
            Ordered::decode(&request.op).unwrap_or_else(|_| Ordered::Nothing(Vec::new())),
        ),
    };
    Block {
        height: decided.height,
        time_ms: decided.batch.time_ms,
        requests: decided.requests.into_iter().map(placed).collect(),
    }
}

fn commits(block: &Block) -> Vec<(u32, TxId)> {
    let commit = |(index, placed): (u32, &Placed)| match &*placed.ordered {
        Ordered::Commit(commit) => Some((index, commit.tx)),
        _ => None,
    };
    (0..).zip(&block.requests).filter_map(commit).collect()
}

fn digest(decided: &Decided) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&decided.batch.time_ms.to_be_bytes());
    for request in &decided.requests {
        hasher.update(&request.client.0.to_be_bytes());
        hasher.update(&request.incarnation.to_be_bytes());
        hasher.update(&request.seq.to_be_bytes());
        hasher.update(blake3::hash(&request.op).as_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}
