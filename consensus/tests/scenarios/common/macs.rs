//! Clients with MAC vectors at the table: right ones, and such as are right for some replicas only.

use consensus::{
    Auth, Author, ClientAuthentication, ClientId, Input, MAC_BYTES, Macs, Reason, ReplicaId,
    Request, Settings, Verifier, View,
};

use super::{CLIENT, Table, client_key, key, view};

/// A view in which clients use MACs.
pub fn mac_view(n: u16) -> View {
    View {
        client_authentication: ClientAuthentication::Macs,
        ..view(n)
    }
}

pub fn mac_table(n: u16) -> Table {
    Table::in_view(mac_view(n), Settings::default())
}

/// A request as its client makes it in this view.
pub fn with_macs(view: &View, client: ClientId, seq: u64) -> Request {
    let mut author = Author::new(client, client_key(client));
    author.request(view, 1, seq, format!("op {seq}").into_bytes())
}

/// The same with MACs that are right at these replicas only.
pub fn right_at(view: &View, seq: u64, right: &[u16]) -> Request {
    let mut request = with_macs(view, CLIENT, seq);
    let Auth::Macs(Macs { vector, .. }) = &mut request.auth else {
        panic!("it has a vector");
    };
    let mut bytes = vector.to_vec();
    for (place, mac) in bytes.chunks_mut(MAC_BYTES).enumerate() {
        if !right.contains(&(place as u16)) {
            mac[0] ^= 1;
        }
    }
    *vector = bytes.into();
    request
}

impl Table {
    /// A request on its client's link to one replica, whose runtime looks at it.
    pub fn ask(&mut self, i: u16, request: &Request) {
        let name = (request.client, request.incarnation, request.seq);
        let mut verifier = Verifier::of(ReplicaId(i), [&key(i)]);
        let mut verdict = verifier.verify_batch(vec![request.clone()], &self.view);
        let input = match verdict.pop().expect("one in, one out") {
            Ok(verified) => Input::Request(verified),
            Err(error) => Input::Unverified(name, error),
        };
        self.feed(i, input);
    }

    /// The same to all replicas.
    pub fn ask_all(&mut self, request: &Request) {
        for i in 0..self.cores.len() as u16 {
            self.ask(i, request);
        }
    }

    /// Which replicas told a client to sign since the last time.
    pub fn told_to_sign(&mut self) -> Vec<u16> {
        let told = std::mem::take(&mut self.rejected);
        let told = told.into_iter().filter(|(_, why)| *why == Reason::MustSign);
        let mut told: Vec<u16> = told.map(|(replica, _)| replica.0).collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    /// The numbers of a client's requests that a replica decided, in order.
    pub fn ordered(&self, i: u16, client: ClientId) -> Vec<u64> {
        let decided = self.decided[usize::from(i)].iter();
        let entries = decided.flat_map(|decided| &decided.batch.entries);
        let of_client = entries.filter(|entry| entry.client == client);
        of_client.map(|entry| entry.seq).collect()
    }
}
