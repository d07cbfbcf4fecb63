//! One sink and its sources, some of which lie.
#![allow(clippy::unwrap_used)] // helpers panic as tests do

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::transfer::{
    ChunkList, Content, Sink, SinkAction, Source, SourceAction, StateMessage, TransferLimits,
};
use consensus::{Height, ReplicaId, Settings, Summary, View};

use super::{CLIENT, Table, request};

/// Bytes of a chunk in these tests.
pub const CHUNK: u32 = 100;

/// What a liar makes of what it wants to say; nothing: it is silent.
pub type Lie = Box<dyn Fn(StateMessage) -> Option<StateMessage>>;

/// A checkpoint on a peer's disk.
#[derive(Clone)]
pub struct Checkpoint {
    pub list: ChunkList,
    pub content: Content,
    pub summary: Summary,
}

/// One sink (replica 0), and sources at all others.
pub struct World {
    pub view: View,
    pub limits: TransferLimits,
    pub now: u64,
    pub sink: Sink,
    pub sources: BTreeMap<ReplicaId, Source>,
    pub disks: BTreeMap<ReplicaId, BTreeMap<Height, Checkpoint>>,
    pub lies: BTreeMap<ReplicaId, Lie>,
    /// The receiver's disk: the list begun, and chunks written.
    pub begun: Option<ChunkList>,
    pub written: BTreeMap<u32, Bytes>,
    pub finished: Option<Height>,
    pub to_sink: VecDeque<(ReplicaId, StateMessage)>,
    /// Who sent lists.
    pub listed: Vec<ReplicaId>,
    /// Chunks that each peer sent, with the time.
    pub sent: Vec<(ReplicaId, u64)>,
    /// Chunks asked for and not written yet.
    pub under_way: BTreeSet<u32>,
    pub most_under_way: usize,
}

/// True checkpoints at heights 4, 8, 12; their states differ in all chunks.
pub fn checkpoints(n: u16) -> (View, Vec<Checkpoint>) {
    let mut table = Table::with(
        n,
        Settings {
            checkpoint_every: 4,
            ..Settings::default()
        },
    );
    for seq in 1..=12 {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
    let made = table.checkpoints[0].iter().map(|summary| {
        let state: Vec<u8> = (0..1_450u64)
            .map(|at| (at * summary.height() % 251) as u8)
            .collect();
        let content = Content::new(summary, state.into()).unwrap();
        Checkpoint {
            list: content.list(CHUNK),
            content,
            summary: summary.clone(),
        }
    });
    let made = made.collect();
    // Nobody changes this view, so a proof of another one is none.
    let view = View {
        administrators: Default::default(),
        ..table.view.clone()
    };
    (view, made)
}

impl World {
    /// All vouch for all; `kept` says who keeps which heights.
    pub fn new(n: u16, kept: &[(u16, &[Height])]) -> Self {
        let (view, made) = checkpoints(n);
        let limits = TransferLimits {
            patience_ms: 1_000,
            ..TransferLimits::default()
        };
        let mut world = Self {
            sink: Sink::new(view.clone(), ReplicaId(0), limits.clone()),
            view,
            limits,
            now: 1_000,
            sources: BTreeMap::new(),
            disks: BTreeMap::new(),
            lies: BTreeMap::new(),
            begun: None,
            written: BTreeMap::new(),
            finished: None,
            to_sink: VecDeque::new(),
            listed: Vec::new(),
            sent: Vec::new(),
            under_way: BTreeSet::new(),
            most_under_way: 0,
        };
        for id in (1..n).map(ReplicaId) {
            let mut source = Source::new(world.limits.clone(), 10);
            let mut disk = BTreeMap::new();
            for checkpoint in &made {
                source.remember(checkpoint.list.height, checkpoint.list.root());
                let mine = kept.iter().find(|(who, _)| *who == id.0);
                if mine.is_some_and(|(_, heights)| heights.contains(&checkpoint.list.height)) {
                    source.keep(1_000, &checkpoint.list);
                    disk.insert(checkpoint.list.height, checkpoint.clone());
                }
            }
            world.sources.insert(id, source);
            world.disks.insert(id, disk);
        }
        world
    }

    pub fn lies(&mut self, who: u16, lie: impl Fn(StateMessage) -> Option<StateMessage> + 'static) {
        self.lies.insert(ReplicaId(who), Box::new(lie));
    }

    pub fn at_source(&mut self, id: ReplicaId, message: Option<StateMessage>) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        let mut out = Vec::new();
        match message {
            Some(message) => source.hear(self.now, ReplicaId(0), &message, &mut out),
            None => source.tick(self.now, &mut out),
        }
        for action in out {
            let message = match action {
                SourceAction::Send { message, .. } => message,
                SourceAction::SendList { height, .. } => {
                    self.listed.push(id);
                    let kept = &self.disks[&id][&height];
                    let last = kept.summary.last.clone().unwrap();
                    StateMessage::List {
                        list: Box::new(kept.list.clone()),
                        last,
                    }
                }
                SourceAction::SendChunk { height, index, .. } => {
                    self.sent.push((id, self.now));
                    let kept = &self.disks[&id][&height];
                    let bytes = kept
                        .content
                        .piece(index as usize * CHUNK as usize, CHUNK as usize);
                    StateMessage::Chunk {
                        height,
                        index,
                        bytes: bytes.into(),
                    }
                }
            };
            let said = match self.lies.get(&id) {
                Some(lie) => lie(message),
                None => Some(message),
            };
            self.to_sink.extend(said.map(|message| (id, message)));
        }
    }

    pub fn at_sink(&mut self, act: impl FnOnce(&mut Sink, u64, &mut Vec<SinkAction>)) {
        let mut out = Vec::new();
        act(&mut self.sink, self.now, &mut out);
        let mut out = VecDeque::from(out);
        while let Some(action) = out.pop_front() {
            let (now, mut more) = (self.now, Vec::new());
            match action {
                SinkAction::Send { to, message } => {
                    if let StateMessage::FetchChunk { index, .. } = message {
                        self.under_way.insert(index);
                        self.most_under_way = self.most_under_way.max(self.under_way.len());
                    }
                    self.at_source(to, Some(message));
                }
                SinkAction::Broadcast { message } => {
                    for to in self.sources.keys().copied().collect::<Vec<_>>() {
                        self.at_source(to, Some(message.clone()));
                    }
                }
                SinkAction::Begin { list, .. } => {
                    if self.begun.as_ref() != Some(&list) {
                        self.written.clear();
                    }
                    let height = list.height;
                    let have: Vec<u32> = self.written.keys().copied().collect();
                    self.begun = Some(*list);
                    self.sink.begun(now, height, &have, &mut more);
                }
                SinkAction::Store {
                    height,
                    index,
                    bytes,
                } => {
                    self.written.insert(index, bytes);
                    self.under_way.remove(&index);
                    self.sink.stored(now, height, index, &mut more);
                }
                SinkAction::Finish { height } => self.finished = Some(height),
            }
            out.extend(more);
        }
    }

    /// Time passes until the transfer is through, or for so long.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end && self.finished.is_none() {
            while let Some((from, message)) = self.to_sink.pop_front() {
                self.at_sink(|sink, now, out| sink.hear(now, from, message, out));
            }
            self.now += 10;
            if self.sink.next_deadline().is_some_and(|at| at <= self.now) {
                self.at_sink(Sink::tick);
            }
            for id in self.sources.keys().copied().collect::<Vec<_>>() {
                if self.sources[&id]
                    .next_deadline()
                    .is_some_and(|at| at <= self.now)
                {
                    self.at_source(id, None);
                }
            }
        }
    }

    pub fn want(&mut self, above: Height) {
        self.at_sink(|sink, now, out| sink.want(now, above, out));
    }

    /// The state received, opened as a replica would.
    pub fn received(&self) -> (Summary, Bytes) {
        let list = self.begun.as_ref().unwrap();
        let bytes: Vec<u8> = self.written.values().flatten().copied().collect();
        assert_eq!(self.finished, Some(list.height));
        assert_eq!(self.written.len(), list.chunks.len());
        let truth = self
            .disks
            .values()
            .find_map(|disk| disk.get(&list.height))
            .unwrap();
        let last = truth.summary.last.clone().unwrap();
        Content::open(&bytes.into(), last, &self.view).unwrap()
    }

    pub fn assert_received(&self, height: Height) {
        let (summary, state) = self.received();
        assert_eq!(summary.height(), height);
        let truth: Vec<u8> = (0..1_450u64).map(|at| (at * height % 251) as u8).collect();
        assert_eq!(state, truth);
    }
}
