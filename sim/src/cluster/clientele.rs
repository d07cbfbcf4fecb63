//! What clients do to the cluster.

use consensus::{ClientId, ReplicaId, Request, Verified};

use super::{Cluster, Event, REPEAT_MS};

impl Cluster {
    pub(super) fn submit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(request) = client.submit(&self.view) else {
            return;
        };
        let twin = if client.honest {
            None
        } else {
            client.twin(&request, &self.view)
        };
        // Some clients begin with one replica only; the others hear by FORWARD.
        let only = self
            .rng
            .chance(10)
            .then(|| self.rng.between(0, self.plan.n.into()) as u16);
        for to in self.nodes.keys().copied().collect::<Vec<_>>() {
            if only.is_none_or(|only| only == to.0) {
                let odd = twin.as_ref().filter(|_| to.0 % 2 == 1);
                self.client_says(to, odd.unwrap_or(&request).clone());
            }
        }
    }

    pub(super) fn client_says(&mut self, to: ReplicaId, request: Verified<Request>) {
        if !self.network.loses() {
            let at = self.now + self.network.delay();
            self.at(at, Event::ClientSays { to, request });
        }
    }

    pub(super) fn repeat(&mut self, index: usize) {
        let ordered = |client: ClientId, name: &(u64, u64)| {
            self.checks.validity.is_ordered(client, name.0, name.1)
        };
        let id = self.clients[index].id;
        let done: Vec<_> = {
            let waiting = self.clients[index].waiting.keys().copied();
            waiting.filter(|name| ordered(id, name)).collect()
        };
        for name in done {
            self.clients[index].waiting.remove(&name);
        }
        if self.clients[index].honest {
            for request in self.clients[index]
                .waiting
                .values()
                .cloned()
                .collect::<Vec<_>>()
            {
                for to in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.client_says(to, request.clone());
                }
            }
        }
        self.at(self.now + REPEAT_MS, Event::Repeat(index));
    }
}
