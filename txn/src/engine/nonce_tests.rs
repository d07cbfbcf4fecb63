//! Times and nonces of autocommit writes: named by the order and by who asked, not by what a client would like.

use super::group::{CLIENT, Group4, step};
use super::*;
use crate::{Auto, Ordered, limits};

fn auto(client: ClientId, ran_at: Height) -> Ordered {
    Ordered::Auto(Auto {
        tx: TxId {
            client,
            incarnation: 1,
            seq: 1 << 63,
        },
        epoch: 0,
        ran_at,
        settings: vec![],
        step: step(false),
        word: None,
    })
}

/// Whether the replicas judge the write at all, at a height of which `ran_at` says how far back its time lies.
fn judged(client: ClientId, ran_at: impl Fn(Height) -> Height) -> bool {
    let mut group = Group4::new();
    for _ in 0..limits::AUTO_WINDOW + 5 {
        let nothing = group.place(CLIENT, Ordered::Nothing(vec![]));
        group.decide(vec![nothing]);
        group.apply_all();
    }
    let placed = group.place(CLIENT, auto(client, ran_at(group.height + 1)));
    let height = group.decide(vec![placed]);
    group.apply_all();
    let aborted = group.verdicts(0, height) == Some(vec![(0, Verdict::Abort)]);
    assert_eq!(group.judgements(0, height, 0) == 0, aborted);
    !aborted
}

#[test]
fn a_write_whose_time_lies_ahead_or_too_far_back_is_an_abort_unseen() {
    assert!(judged(CLIENT, |height| height - 1));
    assert!(judged(CLIENT, |height| height - limits::AUTO_WINDOW));
    assert!(!judged(CLIENT, |height| height - limits::AUTO_WINDOW - 1));
    assert!(!judged(CLIENT, |height| height));
    assert!(!judged(CLIENT, |_| Height::MAX));
}

#[test]
fn a_write_with_another_clients_name_and_so_its_nonce_is_an_abort_unseen() {
    assert!(!judged(ClientId(CLIENT.0 + 1), |height| height - 1));
}

#[test]
fn a_nonce_belongs_to_one_transaction() {
    let tx = TxId {
        client: CLIENT,
        incarnation: 1,
        seq: 1,
    };
    let others = [
        TxId {
            client: ClientId(CLIENT.0 + 1),
            ..tx
        },
        TxId {
            incarnation: 2,
            ..tx
        },
        TxId { seq: 2, ..tx },
    ];
    assert_eq!(tx.nonce(), tx.nonce());
    assert!(others.iter().all(|other| other.nonce() != tx.nonce()));
}
