//! What one ordered request costs four cores in CPU time, without network and disk:
//! `cargo run --release -p consensus --example cost`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use consensus::{
    Action, ClientId, Core, Input, PublicKey, Recovered, ReplicaId, Request, Settings, SigningKey,
    View, verify_batch,
};

const REQUESTS: u64 = 20_000;
const CLIENTS: u32 = 200;

fn key(seed: u32) -> SigningKey {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&seed.to_le_bytes());
    SigningKey::from_bytes(&secret)
}

fn client(i: u32) -> ClientId {
    ClientId(ClientId::FIRST_ORDINARY + i)
}

fn main() {
    let view = View {
        id: 1,
        f: 1,
        replicas: (0..4)
            .map(|i| (ReplicaId(i), PublicKey::of(&key(i.into()))))
            .collect(),
        clients: (0..CLIENTS)
            .map(|i| (client(i), PublicKey::of(&key(1_000 + i))))
            .collect(),
        ..View::default()
    };
    let keys: BTreeMap<u32, SigningKey> = (0..CLIENTS).map(|i| (i, key(1_000 + i))).collect();
    let signed = (0..REQUESTS).map(|at| {
        let (i, seq) = (
            (at % u64::from(CLIENTS)) as u32,
            at / u64::from(CLIENTS) + 1,
        );
        Request::sign(&keys[&i], client(i), 1, seq, vec![1; 100])
    });
    let signed: Vec<Request> = signed.collect();

    for size in [1, 10, 50, 200] {
        let sample: Vec<_> = signed[..2_000].to_vec();
        let started = Instant::now();
        for chunk in sample.chunks(size) {
            assert!(
                verify_batch(chunk.to_vec(), &view)
                    .iter()
                    .all(Result::is_ok)
            );
        }
        let each = started.elapsed() / 2_000;
        println!("verify in batches of {size:>3}: {each:?} per request and replica");
    }
    let verified: Vec<_> = verify_batch(signed, &view).into_iter().flatten().collect();

    for batch in [1, 10, 100, 1_000] {
        let mut cores: Vec<Core> = (0..4)
            .map(|i| {
                let settings = Settings::default();
                let me = ReplicaId(i);
                Core::new(
                    settings,
                    view.clone(),
                    me,
                    key(i.into()),
                    Recovered::default(),
                    1_000_000,
                )
            })
            .collect();
        let count = verified.len().min(batch * 100);
        let started = Instant::now();
        for chunk in verified[..count].chunks(batch) {
            let mut queue = VecDeque::new();
            for request in chunk {
                // The leader last, so that it proposes all of them together.
                queue.extend((1..4).map(|i| (i, Input::Request(request.clone()))));
            }
            queue.extend(
                chunk
                    .iter()
                    .map(|request| (0, Input::Request(request.clone()))),
            );
            run(&mut cores, queue);
        }
        let each = started.elapsed() / count as u32;
        let heights = cores[0].status().height;
        println!(
            "order about {batch:>4} at once: {each:?} per request, four cores together ({heights} heights)"
        );
    }
}

fn run(cores: &mut [Core], mut queue: VecDeque<(usize, Input)>) {
    let mut actions = Vec::new();
    while let Some((at, input)) = queue.pop_front() {
        cores[at].handle(1_000_000, input, &mut actions);
        for action in actions.drain(..) {
            let from = ReplicaId(at as u16);
            match action {
                Action::Send { to, message } => {
                    queue.push_back((usize::from(to.0), Input::Message { from, message }));
                }
                Action::Broadcast { message } => {
                    for to in (0..cores.len()).filter(|to| *to != at) {
                        queue.push_back((
                            to,
                            Input::Message {
                                from,
                                message: message.clone(),
                            },
                        ));
                    }
                }
                Action::Persist { id, .. } => queue.push_back((at, Input::Persisted(id))),
                Action::Decide(_)
                | Action::ViewChanged(_)
                | Action::Tentative(_)
                | Action::LoadDecisions { .. }
                | Action::Reject { .. }
                | Action::Checkpoint(_)
                | Action::FetchState { .. } => {}
            }
        }
    }
}
