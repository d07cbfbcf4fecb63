//! What clients do to the cluster.

use consensus::{ClientId, Input, ReplicaId};

use crate::clients::{Manner, Signed};

use super::{Cluster, Event, REPEAT_MS};

/// Requests of a flood at once.
const FLOOD: u64 = 30;

impl Cluster {
    /// When a client that owes the order nothing speaks.
    pub(super) fn schedule_lies(&mut self, index: usize) {
        let (times, each) = match self.clients[index].manner {
            Manner::Honest | Manner::Administers | Manner::Quiet(_) => return,
            Manner::Floods => (2, FLOOD),
            Manner::Returns => {
                self.at(2_500, Event::ClientRestart(index));
                (6, 1)
            }
            Manner::Twins | Manner::Replays | Manner::Jumps | Manner::HalfMacs => (6, 1),
        };
        for i in 0..times {
            for _ in 0..each {
                self.at(400 + i * 700, Event::Submit(index));
            }
        }
    }

    pub(super) fn submit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(signed) = client.submit(&self.view) else {
            return;
        };
        self.checks.latency.asked(self.now, &signed.request);
        let client = &self.clients[index];
        let twins = client.manner == Manner::Twins;
        let twin = client.twin(&signed.request, &self.view).filter(|_| twins);
        // Some requests reach one replica only at first.
        let only = match client.manner {
            Manner::Quiet(home) => Some(home),
            _ => self
                .rng
                .pick(&self.replicas())
                .filter(|_| self.rng.chance(10)),
        };
        for to in self.replicas() {
            if only.is_none_or(|only| only == to) {
                let odd = twin.as_ref().filter(|_| to.0 % 2 == 1);
                self.client_says(index, to, odd.unwrap_or(&signed).clone());
            }
        }
    }

    fn replicas(&self) -> Vec<ReplicaId> {
        self.view.replicas.keys().copied().collect()
    }

    fn client_says(&mut self, index: usize, to: ReplicaId, signed: Signed) {
        self.checks.issued(&signed.request);
        if !self.network.loses() {
            // Clients sit where replicas do, in turn.
            let near = ReplicaId(index as u16 % self.plan.n);
            let at = self.now + self.network.delay(near, to);
            self.at(at, Event::ClientSays { to, signed });
        }
    }

    /// To all of them.
    pub(super) fn say_to_members(&mut self, index: usize, signed: &Signed) {
        for to in self.replicas() {
            self.client_says(index, to, signed.clone());
        }
    }

    /// A request arrives; its signature counts by the view that the replica is in.
    pub(super) fn hear_client(&mut self, to: ReplicaId, signed: Signed) {
        let Some(node) = self.nodes.get_mut(&to) else {
            return;
        };
        let Signed {
            request,
            verified,
            key,
        } = signed;
        if node.liar.is_some() {
            self.minds[node.mind].know(&request);
        }
        if node.view.client_key(request.client) != Some(&key) {
            return;
        }
        if let Some(verified) = verified {
            return self.feed(to, Input::Request(verified));
        }
        let name = (request.client, request.incarnation, request.seq);
        let judged = node.verifier.verify_batch(vec![request], &node.view);
        for verdict in judged {
            match verdict {
                Ok(verified) => self.feed(to, Input::Request(verified)),
                Err(error) => self.feed(to, Input::Unverified(name, error)),
            }
        }
    }

    /// A replica does not take a client's MAC vectors; the client hears of it.
    pub(super) fn wants_signature(&mut self, from: ReplicaId, client: ClientId, name: (u64, u64)) {
        let Some(index) = self.clients.iter().position(|one| one.id == client) else {
            return;
        };
        if !self.network.loses() {
            let near = ReplicaId(index as u16 % self.plan.n);
            let at = self.now + self.network.delay(from, near);
            self.at(at, Event::MustSign { index, name, from });
        }
    }

    pub(super) fn must_sign(&mut self, index: usize, name: (u64, u64), from: ReplicaId) {
        if let Some(signed) = self.clients[index].must_sign(name, from, &self.view) {
            self.say_to_members(index, &signed);
        }
    }

    pub(super) fn repeat(&mut self, index: usize) {
        let (id, manner) = (self.clients[index].id, self.clients[index].manner);
        if manner.is_honest() {
            self.forget_ordered(index, id);
        }
        if self.plan.macs && manner.is_honest() {
            // Whatever keeps a vector from being ordered does not keep a signature.
            let names: Vec<_> = self.clients[index].waiting.keys().copied().collect();
            for name in names {
                if self.rng.chance(30) {
                    self.clients[index].resign(name, &self.view);
                }
            }
        }
        let waiting: Vec<_> = self.clients[index].waiting.values().cloned().collect();
        let again = match manner {
            Manner::Honest | Manner::Administers | Manner::Quiet(_) => waiting,
            // One old request each time; once more after all is well again.
            Manner::Replays | Manner::Returns if self.now < 2 * REPEAT_MS + crate::HEAL_AT => {
                self.rng.pick(&waiting).into_iter().collect()
            }
            _ => Vec::new(),
        };
        for signed in again {
            for to in self.replicas() {
                if !matches!(manner, Manner::Quiet(home) if home != to) {
                    self.client_says(index, to, signed.clone());
                }
            }
        }
        self.at(self.now + REPEAT_MS, Event::Repeat(index));
    }

    fn forget_ordered(&mut self, index: usize, id: ClientId) {
        let once = &self.checks.once;
        self.clients[index]
            .waiting
            .retain(|name, _| !once.is_ordered(id, name.0, name.1));
    }
}
