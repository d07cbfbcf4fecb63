//! So many clients that a fair leader needs longer than the time-outs to serve each of them once.

use crate::common::timed::Timed;
use crate::common::{CLIENT, client_key, request, view};
use consensus::{ClientId, Input, Message, PublicKey, Settings};

const STAGE: u64 = 800;

/// `count` clients, each of which asks again when it is answered, and batches of one request.
struct Crowd {
    timed: Timed,
    looked_at: usize,
}

impl Crowd {
    fn of(count: u32) -> Crowd {
        let settings = Settings {
            max_batch_requests: 1,
            request_timeout_ms: STAGE,
            ..Settings::default()
        };
        let mut view = view(4);
        let clients: Vec<_> = (0..count).map(|i| ClientId(CLIENT.0 + 10 + i)).collect();
        let keys = clients
            .iter()
            .map(|id| (*id, PublicKey::of(&client_key(*id))));
        view.clients.extend(keys);
        let mut timed = Timed::in_view(view, settings);
        clients.into_iter().for_each(|client| timed.ask(client));
        Crowd {
            timed,
            looked_at: 0,
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.timed.step();
            let decided = &self.timed.table.decided[3][self.looked_at..];
            self.looked_at += decided.len();
            let entries = decided.iter().flat_map(|decided| &decided.batch.entries);
            let answered: Vec<_> = entries.map(|entry| entry.client).collect();
            let crowd = answered.into_iter().filter(|id| id.0 >= CLIENT.0 + 10);
            crowd.for_each(|client| self.timed.ask(client));
        }
    }
}

#[test]
fn nobody_is_deposed_for_a_round_that_takes_longer_than_the_time_outs() {
    let mut crowd = Crowd::of(3_000);
    crowd.pass(12_000);
    let median = crowd.timed.median(10_000);
    println!("median {median} ms");
    assert!(median > 2 * STAGE, "not what this is about: {median} ms");
    assert_eq!(crowd.timed.regencies(), [0; 4]);
}

/// A round takes longer than the two stages here too: who was forwarded late has its turn first.
#[test]
fn a_client_that_reaches_followers_only_deposes_nobody() {
    let mut crowd = Crowd::of(3_000);
    crowd.pass(3_000);
    (1..4).for_each(|i| {
        crowd
            .timed
            .table
            .feed(i, Input::Request(request(CLIENT, 1)))
    });
    crowd.pass(14_000);
    assert_eq!(crowd.timed.regencies(), [0; 4]);
    let decided = crowd.timed.table.decided[3].iter();
    let mut entries = decided.flat_map(|decided| &decided.batch.entries);
    assert!(entries.any(|entry| entry.client == CLIENT), "it is served");
}

#[test]
fn a_leader_that_starves_one_of_many_clients_is_deposed() {
    let mut crowd = Crowd::of(100);
    // It never hears that client, and ignores what is forwarded.
    crowd.timed.delay = Box::new(|_, to, message| match message {
        Message::Forward { .. } if to == 0 => 1_000_000,
        _ => 1,
    });
    (1..4).for_each(|i| {
        crowd
            .timed
            .table
            .feed(i, Input::Request(request(CLIENT, 1)))
    });
    crowd.pass(2 * STAGE - 100);
    assert_eq!(crowd.timed.regencies(), [0; 4], "too early");
    crowd.pass(1_500);
    assert_eq!(crowd.timed.regencies(), [1; 4]);
}
