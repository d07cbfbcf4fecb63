//! The receiving end: finds a checkpoint that f + 1 members vouch for, and a member that sends it.

mod download;
mod time;

use bytes::Bytes;

use crate::crypto::Digest;
use crate::ids::{Height, ReplicaId};
use crate::stopdata::LastDecided;
use crate::view::View;

use super::offers::{Offers, Target};
use super::{ChunkList, StateMessage, TransferLimits};

use download::Download;

/// The longest that doubling makes a sink's patience (milliseconds).
const MAX_PATIENCE_MS: u64 = 60_000;

/// What a sink wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkAction {
    /// To one peer.
    Send {
        /// The peer.
        to: ReplicaId,
        /// What to say.
        message: StateMessage,
    },
    /// To all other members.
    Broadcast {
        /// What to say.
        message: StateMessage,
    },
    /// Make room for a checkpoint; answer with [`Sink::begun`]. An earlier one begun is given up, unless it has the
    /// same list: then the chunks that are there (and still match it) count.
    Begin {
        /// Its chunks: vouched for.
        list: Box<ChunkList>,
        /// Proof of its last decision: checked.
        last: Box<LastDecided>,
        /// Other roots that f + 1 members vouch for: whoever takes this checkpoint can vouch for them too.
        roots: Vec<(Height, Digest)>,
    },
    /// Write a chunk, which is checked; answer with [`Sink::stored`].
    Store {
        /// Of which checkpoint.
        height: Height,
        /// Which one.
        index: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// All chunks are written: make the checkpoint durable and install it. Tell with [`Sink::reached`], or
    /// with [`Sink::disproven`] or [`Sink::abandon`] if it could not be.
    Finish {
        /// Which checkpoint.
        height: Height,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Gathering {
        since: u64,
        asked_at: u64,
    },
    Listing {
        target: Target,
        source: ReplicaId,
        since: u64,
        asked_at: u64,
    },
    /// The runtime makes room.
    Opening {
        source: ReplicaId,
    },
    Fetching {
        source: ReplicaId,
        heard_at: u64,
    },
    Finishing,
}

/// One replica's receiving end.
#[derive(Debug)]
pub struct Sink {
    view: View,
    me: ReplicaId,
    limits: TransferLimits,
    patience_ms: u64,
    /// Only checkpoints above this height are of use.
    above: Height,
    phase: Phase,
    offers: Offers,
    last_source: Option<ReplicaId>,
    download: Option<Download>,
}

impl Sink {
    /// An idle one.
    pub fn new(view: View, me: ReplicaId, limits: TransferLimits) -> Self {
        Self {
            patience_ms: limits.patience_ms,
            view,
            me,
            limits,
            above: 0,
            phase: Phase::Idle,
            offers: Offers::default(),
            last_source: None,
            download: None,
        }
    }

    /// The membership changed: from now on its members are asked and vouch.
    pub fn in_view(&mut self, view: View) {
        self.view = view;
    }

    /// Whether a transfer is under way.
    pub fn is_busy(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// A checkpoint above this height is wanted. Said again while one is under way, it changes nothing.
    pub fn want(&mut self, now: u64, above: Height, out: &mut Vec<SinkAction>) {
        self.above = self.above.max(above);
        if self.phase == Phase::Idle {
            self.gather(now, out);
        }
    }

    /// Like [`want`](Self::want), though the order may be further: its service needs a state above this height.
    pub fn want_behind(&mut self, now: u64, above: Height, out: &mut Vec<SinkAction>) {
        self.above = above;
        self.want(now, above, out);
    }

    /// The replica stands at this height, however it came there: a checkpoint at or below it is of no use any more.
    pub fn reached(&mut self, height: Height) {
        if height <= self.above {
            return;
        }
        self.above = height;
        let target = match (&self.phase, &self.download) {
            (Phase::Listing { target, .. }, _) => Some(target.height),
            (_, download) => download.as_ref().map(|download| download.root.height),
        };
        if target.is_none_or(|target| target <= height) {
            self.abandon();
        }
    }

    /// The checkpoint cannot be used.
    pub fn abandon(&mut self) {
        (self.phase, self.download) = (Phase::Idle, None);
        self.offers = Offers::default();
        self.patience_ms = self.limits.patience_ms;
    }

    /// The checkpoint is complete, and the proof of its last decision does not hold ([`Content::open`](super::Content::open)). The
    /// chunks are what f + 1 members vouch for, so it is the proof that is false: whoever sent it is not asked again. The
    /// chunks count if another source has the same checkpoint.
    pub fn disproven(&mut self, now: u64, height: Height, out: &mut Vec<SinkAction>) {
        let finishing = self.phase == Phase::Finishing;
        let download = self
            .download
            .take_if(|d| finishing && d.root.height == height);
        if let Some(download) = download {
            self.offers.lied(download.lister);
            self.gather(now, out);
        }
    }

    fn gather(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        self.offers.forget();
        self.phase = Phase::Gathering {
            since: now,
            asked_at: now,
        };
        out.push(SinkAction::Broadcast {
            message: StateMessage::Query { above: self.above },
        });
    }

    fn choose(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        let vouchers = self.view.one_correct();
        let mut chosen = self.offers.choose(self.above, vouchers, self.last_source);
        if chosen.is_none() && self.offers.pardon() {
            self.patience_ms = self.patience_ms.saturating_mul(2).min(MAX_PATIENCE_MS);
            chosen = self.offers.choose(self.above, vouchers, self.last_source);
        }
        let Some((target, source)) = chosen else {
            return;
        };
        self.last_source = Some(source);
        if self
            .download
            .as_ref()
            .is_some_and(|download| download.root == target)
        {
            self.phase = Phase::Fetching {
                source,
                heard_at: now,
            };
            self.ask(now, out);
            return;
        }
        self.phase = Phase::Listing {
            target,
            source,
            since: now,
            asked_at: now,
        };
        let message = StateMessage::FetchList {
            height: target.height,
        };
        out.push(SinkAction::Send {
            to: source,
            message,
        });
    }

    /// Hears a peer; what was not asked for is passed over.
    pub fn hear(
        &mut self,
        now: u64,
        from: ReplicaId,
        message: StateMessage,
        out: &mut Vec<SinkAction>,
    ) {
        if from == self.me || self.view.replica_key(from).is_none() {
            return;
        }
        match message {
            StateMessage::Offer { roots, kept } => self.on_offer(now, from, roots, kept, out),
            StateMessage::List { list, last } => self.on_list(now, from, *list, last, out),
            StateMessage::Chunk {
                height,
                index,
                bytes,
            } => {
                self.on_chunk(now, from, height, index, bytes, out);
            }
            StateMessage::Dropped { height } => self.on_dropped(now, from, height, out),
            _ => {}
        }
    }

    fn on_offer(
        &mut self,
        now: u64,
        from: ReplicaId,
        roots: Vec<(Height, Digest)>,
        kept: Vec<Height>,
        out: &mut Vec<SinkAction>,
    ) {
        let Phase::Gathering { since, .. } = self.phase else {
            return;
        };
        self.offers.add(from, roots, kept);
        if self.offers.len() + 1 >= self.view.n() || now >= since + self.limits.gather_ms {
            self.choose(now, out);
        }
    }

    fn on_list(
        &mut self,
        now: u64,
        from: ReplicaId,
        list: ChunkList,
        last: LastDecided,
        out: &mut Vec<SinkAction>,
    ) {
        let Phase::Listing { target, source, .. } = self.phase else {
            return;
        };
        if from != source {
            return;
        }
        let true_list = list.check(self.limits.max_chunks).is_ok()
            && list.height == target.height
            && list.root() == target.root;
        // A checkpoint of a later view is proven by keys that only its content tells: it is looked at when that is
        // here (`Content::open`). Where nobody changes the view there is no later one.
        let proven = !self.view.administrators.is_empty() || last.is_proven(&self.view);
        if !(true_list && last.height == target.height && proven) {
            self.offers.lied(from);
            self.gather(now, out);
            return;
        }
        self.phase = Phase::Opening { source };
        self.download = Some(Download::of(target, from, list.clone()));
        let vouched = self.offers.vouched(self.view.one_correct()).into_iter();
        out.push(SinkAction::Begin {
            list: Box::new(list),
            last: Box::new(last),
            roots: vouched.map(|target| (target.height, target.root)).collect(),
        });
    }

    /// There is room for the checkpoint; these of its chunks are there already, and match the list.
    pub fn begun(&mut self, now: u64, height: Height, have: &[u32], out: &mut Vec<SinkAction>) {
        let Phase::Opening { source } = self.phase else {
            return;
        };
        let Some(download) = self
            .download
            .as_mut()
            .filter(|download| download.root.height == height)
        else {
            return;
        };
        for index in have {
            download.missing.remove(index);
        }
        self.phase = Phase::Fetching {
            source,
            heard_at: now,
        };
        self.go_on(now, out);
    }

    fn on_chunk(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        index: u32,
        bytes: Bytes,
        out: &mut Vec<SinkAction>,
    ) {
        let Phase::Fetching { source, .. } = self.phase else {
            return;
        };
        let Some(download) = self
            .download
            .as_mut()
            .filter(|download| download.root.height == height)
        else {
            return;
        };
        if from != source || download.asked.remove(&index).is_none() {
            return;
        }
        if !download.list.holds(index, &bytes) {
            download.missing.insert(index);
            self.offers.lied(from);
            self.leave(now, out);
            return;
        }
        download.storing.insert(index);
        self.phase = Phase::Fetching {
            source,
            heard_at: now,
        };
        out.push(SinkAction::Store {
            height,
            index,
            bytes,
        });
    }

    /// A chunk is written.
    pub fn stored(&mut self, now: u64, height: Height, index: u32, out: &mut Vec<SinkAction>) {
        if let Some(download) = self
            .download
            .as_mut()
            .filter(|download| download.root.height == height)
        {
            download.storing.remove(&index);
            self.go_on(now, out);
        }
    }

    fn on_dropped(&mut self, now: u64, from: ReplicaId, height: Height, out: &mut Vec<SinkAction>) {
        let (source, target) = match (&self.phase, &self.download) {
            (Phase::Listing { source, target, .. }, _) => (*source, target.height),
            (Phase::Fetching { source, .. }, Some(download)) => (*source, download.root.height),
            _ => return,
        };
        if (from, height) == (source, target) {
            self.offers.was_slow(from);
            self.leave(now, out);
        }
    }

    /// Looks for another source. What is here of the checkpoint stays, in case another has the same.
    fn leave(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        if let Some(download) = &mut self.download {
            download.forget_asked();
        }
        self.gather(now, out);
    }

    fn go_on(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        let Some(download) = &self.download else {
            return;
        };
        if download.is_complete() && self.phase != Phase::Finishing {
            self.phase = Phase::Finishing;
            out.push(SinkAction::Finish {
                height: download.root.height,
            });
            return;
        }
        self.ask(now, out);
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        let (Phase::Fetching { source, heard_at }, Some(download)) =
            (&mut self.phase, &mut self.download)
        else {
            return;
        };
        if download.asked.is_empty() {
            // Nothing was owed so far.
            *heard_at = now;
        }
        while download.asked.len() + download.storing.len() < self.limits.in_flight.max(1) {
            let Some(index) = download.missing.pop_first() else {
                return;
            };
            download.asked.insert(index, now);
            let message = StateMessage::FetchChunk {
                height: download.root.height,
                index,
            };
            out.push(SinkAction::Send {
                to: *source,
                message,
            });
        }
    }
}
