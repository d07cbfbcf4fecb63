//! Checkpoints and state transfer on the simulated machines.

use std::collections::VecDeque;

use consensus::transfer::{SinkAction, SourceAction, StateMessage, writes_at};
use consensus::{Height, Input, Message, ReplicaId, Summary};

use crate::keeper::{CHUNK, Checkpoint, Incoming};

use super::node::Node;
use super::{Cluster, Event};

impl Cluster {
    /// An agreed height: every replica looks at its state, one of them writes it.
    pub(super) fn checkpoint(&mut self, replica: ReplicaId, life: u64, summary: Summary) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let height = summary.height();
        let Some(checkpoint) = Checkpoint::of(
            summary,
            node.keeper.state.clone().into(),
            node.keeper.source.roots(),
        ) else {
            return;
        };
        let root = checkpoint.list.root();
        if node.liar.is_none() && *self.roots.entry(height).or_insert(root) != root {
            self.violation = Err(format!(
                "state: {replica} has another state at height {height}"
            ));
        }
        let at = self.now + self.rng.between(1, 50);
        let checkpoint = Box::new(checkpoint);
        self.at(
            at,
            Event::Checkpointed {
                replica,
                life,
                checkpoint,
            },
        );
    }

    /// A state is hashed, and written if it is this replica's turn. Neither counts before the log holds the decision:
    /// a replica that stands on a checkpoint could not serve it, nor vote on it again.
    pub(super) fn checkpointed(&mut self, replica: ReplicaId, checkpoint: Box<Checkpoint>) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let height = checkpoint.list.height;
        if node
            .keeper
            .newest()
            .is_some_and(|newest| newest.height() >= height)
        {
            return;
        }
        if node.disk.decided(height).is_none() {
            let life = node.life;
            self.at(
                self.now + 5,
                Event::Checkpointed {
                    replica,
                    life,
                    checkpoint,
                },
            );
            return;
        }
        node.keeper.source.remember(height, checkpoint.list.root());
        if !writes_at(
            &node.view,
            replica,
            self.plan.settings.checkpoint_every,
            height,
        ) {
            return;
        }
        let (below, Some(core)) = (node.keeper.keep(self.now, *checkpoint), node.core.as_ref())
        else {
            return;
        };
        if let Some(below) = below {
            let (below, standing) = (core.may_cut_below(below), core.standing_records());
            if node.disk.cut(below, standing) {
                self.fsync(replica);
            }
        }
    }

    /// The core wants a checkpoint of a peer.
    pub(super) fn fetch_state(&mut self, replica: ReplicaId, above: Height) {
        self.trace.line(self.now, || {
            format!("{replica} WANTS A STATE above height {above}")
        });
        let now = self.now;
        self.receives(replica, |node, out| node.keeper.sink.want(now, above, out));
    }

    pub(super) fn hear_state(
        &mut self,
        replica: ReplicaId,
        from: ReplicaId,
        message: StateMessage,
    ) {
        // Links are the members' only.
        let node = self.nodes.get(&replica);
        if !node.is_some_and(|node| node.view.replicas.contains_key(&from)) {
            return;
        }
        let now = self.now;
        self.sends(replica, |node, out| {
            node.keeper.source.hear(now, from, &message, out)
        });
        self.receives(replica, |node, out| {
            node.keeper.sink.hear(now, from, message, out)
        });
    }

    pub(super) fn state_timer(&mut self, replica: ReplicaId) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&replica) {
            node.keeper.timer_at = u64::MAX;
        }
        self.sends(replica, |node, out| node.keeper.source.tick(now, out));
        self.receives(replica, |node, out| node.keeper.sink.tick(now, out));
    }

    fn sends(&mut self, replica: ReplicaId, act: impl FnOnce(&mut Node, &mut Vec<SourceAction>)) {
        let Some(node) = self
            .nodes
            .get_mut(&replica)
            .filter(|node| node.core.is_some())
        else {
            return;
        };
        let mut out = Vec::new();
        act(node, &mut out);
        for action in out {
            let (to, message) = match action {
                SourceAction::Send { to, message } => (to, message),
                SourceAction::SendList { to, height } => (to, self.list(replica, height)),
                SourceAction::SendChunk { to, height, index } => {
                    (to, self.chunk(replica, height, index))
                }
            };
            self.say(replica, to, Message::State(message));
        }
        self.wake_keeper(replica);
    }

    fn list(&self, replica: ReplicaId, height: Height) -> StateMessage {
        match self
            .nodes
            .get(&replica)
            .and_then(|node| node.keeper.checkpoints.get(&height))
        {
            Some(Checkpoint { list, last, .. }) => StateMessage::List {
                list: Box::new(list.clone()),
                last: last.clone(),
            },
            None => StateMessage::Dropped { height },
        }
    }

    fn chunk(&self, replica: ReplicaId, height: Height, index: u32) -> StateMessage {
        match self
            .nodes
            .get(&replica)
            .and_then(|node| node.keeper.checkpoints.get(&height))
        {
            Some(Checkpoint { content, .. }) => {
                let bytes = content.piece(index as usize * CHUNK as usize, CHUNK as usize);
                StateMessage::Chunk {
                    height,
                    index,
                    bytes: bytes.into(),
                }
            }
            None => StateMessage::Dropped { height },
        }
    }

    fn receives(&mut self, replica: ReplicaId, act: impl FnOnce(&mut Node, &mut Vec<SinkAction>)) {
        let Some(node) = self
            .nodes
            .get_mut(&replica)
            .filter(|node| node.core.is_some())
        else {
            return;
        };
        let mut out = Vec::new();
        act(node, &mut out);
        let mut out = VecDeque::from(out);
        while let Some(action) = out.pop_front() {
            let Some(node) = self.nodes.get_mut(&replica) else {
                return;
            };
            let (now, keeper, mut more) = (self.now, &mut node.keeper, Vec::new());
            match action {
                SinkAction::Send { to, message } => self.say(replica, to, Message::State(message)),
                SinkAction::Broadcast { message } => {
                    for to in self.audience(replica) {
                        self.say(replica, to, Message::State(message.clone()));
                    }
                }
                SinkAction::Begin { list, last, roots } => {
                    let height = list.height;
                    let chunks = match keeper.incoming.take() {
                        Some(before) if before.list == *list => before.chunks,
                        _ => Default::default(),
                    };
                    let have: Vec<u32> = chunks.keys().copied().collect();
                    keeper.incoming = Some(Incoming {
                        list: *list,
                        last: *last,
                        roots,
                        chunks,
                    });
                    keeper.sink.begun(now, height, &have, &mut more);
                }
                SinkAction::Store {
                    height,
                    index,
                    bytes,
                } => {
                    if let Some(incoming) = &mut keeper.incoming {
                        incoming.chunks.insert(index, bytes);
                    }
                    keeper.sink.stored(now, height, index, &mut more);
                }
                SinkAction::Finish { .. } => self.install(replica),
            }
            out.extend(more);
        }
        self.wake_keeper(replica);
    }

    /// A checkpoint came whole.
    fn install(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        node.keeper.sink.abandon();
        let (Some(incoming), Some(core)) = (node.keeper.incoming.take(), &node.core) else {
            return;
        };
        let bytes: Vec<u8> = incoming.chunks.into_values().flatten().collect();
        let opened =
            consensus::transfer::Content::open(&bytes.into(), incoming.last, &self.genesis);
        let (summary, state) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.violation = Err(format!("state: {replica} received no checkpoint: {error}"));
                return;
            }
        };
        let (height, root) = (summary.height(), incoming.list.root());
        if node.liar.is_none() && self.roots.get(&height) != Some(&root) {
            self.violation = Err(format!(
                "state: {replica} received a false state of height {height}"
            ));
        }
        if height <= core.status().height {
            return;
        }
        self.trace.line(self.now, || {
            format!("{replica} INSTALLS the state of height {height}")
        });
        for (height, root) in &incoming.roots {
            node.keeper.source.remember(*height, *root);
        }
        node.keeper.source.remember(height, root);
        node.keeper.state = state.to_vec();
        if let Some(checkpoint) = Checkpoint::of(summary.clone(), state, incoming.roots) {
            node.keeper.keep(self.now, checkpoint);
        }
        if node.liar.is_none() {
            self.checks.restarted(replica, height);
            self.installed += 1;
        }
        self.feed(replica, Input::StateInstalled(Box::new(summary)));
    }

    /// Sees to it that the timer runs.
    fn wake_keeper(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let (source, sink) = (
            node.keeper.source.next_deadline(),
            node.keeper.sink.next_deadline(),
        );
        let due = [source, sink]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.now + 1));
        if let Some(at) = due.filter(|at| *at < node.keeper.timer_at) {
            node.keeper.timer_at = at;
            let life = node.life;
            self.at(at, Event::StateTimer { replica, life });
        }
    }
}
