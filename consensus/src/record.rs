//! What a replica must remember across a restart so that it never contradicts itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::Batch;
use crate::crypto::Digest;
use crate::ids::{Height, Regency};
use crate::proof::Decided;
use crate::reconfigure::Views;
use crate::request::{Request, Verified};
use crate::stopdata::{LastDecided, OpenVotes, Written};
use crate::view::View;
use crate::window::Windows;

/// Names a record until it is durable; grows from 1 in each run of a core.
pub type RecordId = u64;

/// A state change that must be durable before the messages that follow from it are sent.
///
/// The runtime appends records and [`Decided`]s to one log in the order of the actions,
/// and replays them in that order into [`Recovered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// No vote in a lower regency any more; and, once the regency's SYNC was seen, how it began.
    Regency {
        /// [`View::id`]: each view counts its regencies anew.
        view: u64,
        /// The regency.
        regency: Regency,
        /// Outcome of its SYNC.
        start: Option<Start>,
    },
    /// Written in this regency; before WRITE.
    Write {
        /// [`View::id`]: a vote in flight above a change of the view, behind a value that was not decided, ends with its view.
        view: u64,
        /// Instance.
        height: Height,
        /// Regency.
        regency: Regency,
        /// The value.
        digest: Digest,
        /// [`Batch::after`] of the value.
        after: Digest,
        /// The value itself with its bodies, when this replica writes it for the first time:
        /// a WRITE promises to keep and serve them.
        value: Option<(Batch, Vec<Request>)>,
    },
    /// Locked in this regency; before ACCEPT.
    Accept {
        /// As in [`Record::Write`].
        view: u64,
        /// Instance.
        height: Height,
        /// Regency.
        regency: Regency,
        /// The value.
        digest: Digest,
    },
}

impl Record {
    /// Rough size of its encoding.
    pub fn weight(&self) -> usize {
        match self {
            Self::Write {
                value: Some((_, bodies)),
                ..
            } => 128 + bodies.iter().map(Request::weight).sum::<usize>(),
            _ => 128,
        }
    }
}

/// How a regency begins: what SYNC left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The instance after the highest proven decision.
    pub open: Height,
    /// That decision, if it is known. It, and all that it stands on, may be written below (a liar may have decided them and
    /// keep the decisions to itself), and nothing else.
    pub last: Option<Digest>,
    /// The only values that may be written there and at the heights after it in this regency; above them the
    /// leader is free.
    pub bound: Vec<Digest>,
}

impl Start {
    /// The first height at which the leader may propose what it likes.
    pub fn free_from(&self) -> Height {
        self.open + self.bound.len() as Height
    }

    /// Nothing is bound.
    pub fn free(open: Height) -> Self {
        Self {
            open,
            last: None,
            bound: Vec::new(),
        }
    }

    /// The only value that may be written at a height, if it is bound.
    pub fn bound_at(&self, height: Height) -> Option<Digest> {
        if self.open.checked_sub(1) == Some(height) {
            return self.last;
        }
        let at = usize::try_from(height.checked_sub(self.open)?).ok()?;
        self.bound.get(at).copied()
    }
}

/// A value with its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub batch: Batch,
    pub bodies: Vec<Verified<Request>>,
}

/// `(valts, val, writeset)` of one instance, and the values it speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VoteState {
    /// The view in which all of it was said.
    pub view: u64,
    pub lock: Option<(Regency, Digest)>,
    /// The values written.
    pub writeset: BTreeMap<Digest, Wrote>,
    pub values: BTreeMap<Digest, Value>,
}

/// When a value was written last, and after which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// The newest regency.
    pub regency: Regency,
    pub after: Digest,
}

impl VoteState {
    /// The records that rebuild it.
    pub fn records(&self, height: Height) -> impl Iterator<Item = Record> {
        let writes = self
            .writeset
            .iter()
            .map(move |(digest, wrote)| Record::Write {
                view: self.view,
                height,
                regency: wrote.regency,
                digest: *digest,
                after: wrote.after,
                value: self.values.get(digest).map(|value| {
                    let bodies = value.bodies.iter().map(|body| (**body).clone());
                    (value.batch.clone(), bodies.collect())
                }),
            });
        let lock = self.lock.map(|(regency, digest)| Record::Accept {
            view: self.view,
            height,
            regency,
            digest,
        });
        writes.chain(lock)
    }

    /// Whether a WRITE was (or may have been) sent in `regency`.
    pub fn wrote_in(&self, regency: Regency) -> Option<Digest> {
        self.writeset
            .iter()
            .find_map(|(digest, wrote)| (wrote.regency == regency).then_some(*digest))
    }

    /// As STOPDATA tells them; none where there are none.
    pub fn told(&self, height: Height) -> Option<OpenVotes> {
        let writes = self.writeset.iter().map(|(digest, wrote)| Written {
            regency: wrote.regency,
            digest: *digest,
            after: wrote.after,
        });
        let told = OpenVotes {
            height,
            lock: self.lock,
            writeset: writes.collect(),
        };
        (told.lock.is_some() || !told.writeset.is_empty()).then_some(told)
    }
}

/// A core's memory, rebuilt from its log: start from `default()` (or a stored
/// [`Summary`]), then feed every record and decision in log order.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub(crate) summary: Summary,
    pub(crate) regency: Regency,
    pub(crate) start: Option<Start>,
    /// Regencies entered in views that come later than what was replayed so far: the log has a hole.
    pub(crate) promised: Promised,
    pub(crate) votes: BTreeMap<Height, VoteState>,
    /// The highest decision that it passed over.
    skipped: Height,
}

/// By view: no vote in a lower regency there.
pub(crate) type Promised = BTreeMap<u64, (Regency, Option<Start>)>;

/// What the decided batches up to a height leave behind, without their bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Last decided height with its proof; none at genesis.
    pub last: Option<LastDecided>,
    /// Consensus time of the last batch.
    pub time_ms: u64,
    /// Clients' windows after it.
    pub windows: Windows,
    /// The view that holds after it; none: the one that the core is started with.
    pub views: Option<Views>,
}

/// The log does not continue where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the log holds decision {found} after {last}: records are missing; restore the replica from its peers"
)]
pub struct LogGap {
    /// The last height replayed.
    pub last: Height,
    /// The next one found.
    pub found: Height,
}

impl Summary {
    /// The last decided height, 0 at genesis.
    pub fn height(&self) -> Height {
        self.last.as_ref().map_or(0, |last| last.height)
    }
}

impl Recovered {
    /// Starts from a stored summary instead of genesis.
    pub fn from_summary(summary: Summary) -> Self {
        Self {
            summary,
            ..Self::default()
        }
    }

    /// Starts at genesis in this view.
    pub fn in_view(view: View) -> Self {
        Self::from_summary(Summary {
            views: Some(Views::genesis(view)),
            ..Summary::default()
        })
    }

    /// The last decided height replayed so far.
    pub fn height(&self) -> Height {
        self.summary.height()
    }

    /// The view that holds after what was replayed so far, if the first one is known.
    pub fn view(&self) -> Option<&View> {
        self.summary.views.as_ref().map(|views| &views.now)
    }

    /// Whether it is locked on a value after the last decided height: it may have told of it ([`Tentative`](crate::Tentative)).
    pub fn is_locked(&self) -> bool {
        let open = self.votes.get(&(self.height() + 1));
        open.is_some_and(|votes| votes.lock.is_some())
    }

    /// The summary after what was replayed so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Replays a decision. One that is there already is passed over; a gap is an error.
    pub fn decided(&mut self, decided: &Decided) -> Result<(), LogGap> {
        let last = self.height();
        if decided.height <= last {
            return Ok(());
        }
        if decided.height != last + 1 {
            return Err(LogGap {
                last,
                found: decided.height,
            });
        }
        self.summary.windows.apply(&decided.batch);
        self.summary.time_ms = decided.batch.time_ms;
        self.summary.last = Some(LastDecided {
            height: decided.height,
            digest: decided.batch.digest(),
            proof: decided.proof.clone(),
        });
        self.votes = self.votes.split_off(&(decided.height + 1));
        let views = self.summary.views.as_mut();
        if views.is_some_and(|views| views.decided(decided)) {
            // As at run time: a view begins anew.
            let now = self.view().map_or(0, |view| view.id);
            self.promised = self.promised.split_off(&now);
            (self.regency, self.start) = self.promised.remove(&now).unwrap_or_default();
            self.votes.retain(|_, votes| votes.view >= now);
        }
        Ok(())
    }

    /// Passes over a decision that lies beyond a hole in the log (a checkpoint that covered it is damaged). The votes
    /// of all instances from the hole on are remembered, or this replica could contradict what it said there
    /// before; of this one, the bodies are not: it was decided.
    pub fn skip(&mut self, height: Height) {
        self.skipped = self.skipped.max(height);
        if let Some(votes) = self.votes.get_mut(&height) {
            votes.values.clear();
        }
    }

    /// Where the replica stood before it fell back, at least: there is a hole in what it remembers up to there, since who votes
    /// at a height has voted at the one below or decided it.
    pub(crate) fn stood_at(&self) -> Height {
        let mut stood = self.skipped;
        let mut next = self.height() + 1;
        for height in self.votes.keys() {
            if *height > next {
                stood = stood.max(height - 1);
            }
            next = height + 1;
        }
        stood
    }

    /// Replays a record.
    pub fn record(&mut self, record: Record) {
        match record {
            Record::Regency {
                view,
                regency,
                start,
            } => {
                let now = self.view().map_or(view, |view| view.id);
                if view == now && regency >= self.regency {
                    (self.regency, self.start) = (regency, start);
                } else if view > now {
                    let promised = self.promised.entry(view).or_default();
                    if regency >= promised.0 {
                        *promised = (regency, start);
                    }
                }
            }
            Record::Write {
                view,
                height,
                regency,
                digest,
                after,
                value,
            } => {
                let Some(votes) = self.votes_in(view, height) else {
                    return;
                };
                votes.writeset.insert(digest, Wrote { regency, after });
                if let Some((batch, bodies)) = value {
                    let bodies = bodies.into_iter().map(Verified::from_own_log).collect();
                    votes.values.insert(digest, Value { batch, bodies });
                }
            }
            Record::Accept {
                view,
                height,
                regency,
                digest,
            } => {
                if let Some(votes) = self.votes_in(view, height) {
                    votes.lock = Some((regency, digest));
                }
            }
        }
    }

    /// The votes at a height, to which one of this view is added; none if it binds nobody any more: the height is decided, or the
    /// view has ended.
    fn votes_in(&mut self, view: u64, height: Height) -> Option<&mut VoteState> {
        let now = self.view().map_or(view, |now| now.id);
        if height <= self.height() || view < now {
            return None;
        }
        let votes = self.votes.entry(height).or_default();
        if view > votes.view {
            *votes = VoteState {
                view,
                ..VoteState::default()
            };
        }
        (view == votes.view).then_some(votes)
    }
}
