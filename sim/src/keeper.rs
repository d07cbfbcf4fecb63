//! The replicated state of the simulated clusters, and a replica's checkpoints of it.
//!
//! The service's state is the list of all batches that it executed, so it differs whenever anything about the order does.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::transfer::{ChunkList, Content, Sink, Source, TransferLimits, remembered};
use consensus::{Decided, Digest, Height, LastDecided, Recovered, ReplicaId, Summary, View};

/// Bytes of a chunk: a few batches.
pub const CHUNK: u32 = 100;

/// A checkpoint on a disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub list: ChunkList,
    pub last: LastDecided,
    pub content: Content,
    pub summary: Summary,
    /// Roots that its writer vouched for then.
    pub roots: Vec<(Height, Digest)>,
}

impl Checkpoint {
    pub fn of(summary: Summary, state: Bytes, roots: Vec<(Height, Digest)>) -> Option<Self> {
        let content = Content::new(&summary, state)?;
        let (list, last) = (content.list(CHUNK), summary.last.clone()?);
        Some(Self {
            list,
            last,
            content,
            summary,
            roots,
        })
    }
}

/// A checkpoint that is being received; its chunks are on disk as they come.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub list: ChunkList,
    pub last: LastDecided,
    pub roots: Vec<(Height, Digest)>,
    pub chunks: BTreeMap<u32, Bytes>,
}

/// One replica's part in checkpoints and transfers.
pub struct Keeper {
    limits: TransferLimits,
    /// On disk: at most two, and one that is being fetched.
    pub checkpoints: BTreeMap<Height, Checkpoint>,
    /// On disk.
    pub incoming: Option<Incoming>,
    /// In memory: gone with a crash.
    pub source: Source,
    pub sink: Sink,
    pub state: Vec<u8>,
    pub timer_at: u64,
}

impl Keeper {
    pub fn new(view: &View, me: ReplicaId) -> Self {
        let limits = TransferLimits {
            bytes_per_second: 200_000,
            gather_ms: 100,
            retry_ms: 300,
            patience_ms: 800,
            ..TransferLimits::default()
        };
        Self {
            checkpoints: BTreeMap::new(),
            incoming: None,
            source: Source::new(limits.clone(), remembered(view)),
            sink: Sink::new(view.clone(), me, limits.clone()),
            state: Vec::new(),
            timer_at: u64::MAX,
            limits,
        }
    }

    /// The summary that a restart begins with.
    pub fn newest(&self) -> Option<Summary> {
        self.checkpoints
            .values()
            .next_back()
            .map(|checkpoint| checkpoint.summary.clone())
    }

    /// A new life: what was in memory is rebuilt from the disk.
    pub fn restart<'a>(
        &mut self,
        genesis: &View,
        view: &View,
        me: ReplicaId,
        every: Height,
        log: impl Iterator<Item = &'a Decided>,
    ) {
        self.source = Source::new(self.limits.clone(), remembered(view));
        self.sink = Sink::new(view.clone(), me, self.limits.clone());
        (self.state, self.timer_at) = (Vec::new(), u64::MAX);
        let mut past = Recovered::in_view(genesis.clone());
        for checkpoint in self.checkpoints.values() {
            for (height, root) in &checkpoint.roots {
                self.source.remember(*height, *root);
            }
            self.source
                .remember(checkpoint.list.height, checkpoint.list.root());
            self.source.keep(0, &checkpoint.list);
            if let Ok((summary, state)) = open(&checkpoint.content, &checkpoint.last, genesis) {
                (past, self.state) = (Recovered::from_summary(summary), state.to_vec());
            }
        }
        for decided in log {
            if decided.height != past.height() + 1 || past.decided(decided).is_err() {
                continue;
            }
            self.execute(decided);
            // What the service comes through again is hashed again.
            let again = Checkpoint::of(
                past.summary().clone(),
                self.state.clone().into(),
                Vec::new(),
            );
            let due = every > 0 && past.height().is_multiple_of(every);
            if let Some(again) = again.filter(|_| due) {
                self.source.remember(again.list.height, again.list.root());
            }
        }
    }

    pub fn execute(&mut self, decided: &Decided) {
        self.state.extend_from_slice(&decided.batch.digest().0);
    }

    /// A checkpoint is durable. Returns the height below which the log may go.
    pub fn keep(&mut self, now: u64, checkpoint: Checkpoint) -> Option<Height> {
        let kept = self.source.keep(now, &checkpoint.list);
        self.checkpoints.insert(checkpoint.list.height, checkpoint);
        self.checkpoints.retain(|height, _| kept.contains(height));
        (kept.len() >= 2).then(|| kept[0])
    }
}

/// Takes a checkpoint apart.
pub fn open(
    content: &Content,
    last: &LastDecided,
    view: &View,
) -> Result<(Summary, Bytes), consensus::transfer::ContentError> {
    Content::open(&content.piece(0, usize::MAX).into(), last.clone(), view)
}
