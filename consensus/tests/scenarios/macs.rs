//! Clients with MAC vectors: what a wrong one costs, and whom.

use crate::common;
use crate::common::macs::{mac_table, mac_view, right_at, with_macs};
use crate::common::{ADMIN, CLIENT, OTHER, Table, client_key, key, signed};
use consensus::{
    Auth, Author, Batch, Entry, Message, Reason, ReplicaId, RequestError, Verified, Verifier,
};

const STAGE: u64 = 800;
/// Enough for vouching, refusing and a change of regency, and less than a time-out.
const SOON: u64 = 400;

fn verify_at(i: u16, request: &consensus::Request) -> Result<(), RequestError> {
    let mut verifier = Verifier::of(ReplicaId(i), [&key(i)]);
    let mut verdicts = verifier.verify_batch(vec![request.clone()], &mac_view(4));
    verdicts.remove(0).map(|_: Verified<_>| ())
}

/// The same request, signed.
fn signed_again(seq: u64) -> consensus::Request {
    signed(CLIENT, 1, seq, &format!("op {seq}"))
}

fn assert_regency(table: &Table, regency: u64) {
    assert!(
        table.regencies().iter().all(|r| *r == regency),
        "{:?}",
        table.regencies()
    );
}

#[test]
fn a_right_vector_is_ordered_and_nothing_is_asked() {
    let mut table = mac_table(4);
    for seq in 1..=5 {
        table.ask_all(&with_macs(&mac_view(4), CLIENT, seq));
        table.settle();
    }
    assert_eq!(table.ordered(3, CLIENT), [1, 2, 3, 4, 5]);
    for name in ["ASK-VOUCH", "REFUSE", "FETCH-BODIES", "STOP"] {
        assert_eq!(table.count_sent(name), 0, "{name}");
    }
    table.assert_agreement();
}

#[test]
fn each_replica_believes_its_own_mac_and_nobody_elses() {
    let request = right_at(&mac_view(4), 1, &[0, 2]);
    for i in 0..4 {
        let expected = if [0, 2].contains(&i) {
            Ok(())
        } else {
            Err(RequestError::BadMac(CLIENT))
        };
        assert_eq!(verify_at(i, &request), expected, "replica {i}");
    }
    let altered = consensus::Request {
        op: b"altered".to_vec().into(),
        ..with_macs(&mac_view(4), CLIENT, 1)
    };
    let of_another = consensus::Request {
        client: OTHER,
        ..with_macs(&mac_view(4), CLIENT, 1)
    };
    for forged in [altered, of_another] {
        assert!((0..4).all(|i| verify_at(i, &forged).is_err()));
    }
}

#[test]
fn a_vector_of_wrong_length_or_of_another_view_is_refused_and_its_client_told_to_sign() {
    let mut table = mac_table(4);
    for cut in [0, 1, 16, 63, 65, 80] {
        let mut request = with_macs(&mac_view(4), CLIENT, 1);
        let Auth::Macs(macs) = &mut request.auth else {
            panic!("it has a vector")
        };
        macs.vector = vec![0; cut].into();
        assert_eq!(verify_at(0, &request), Err(RequestError::BadMac(CLIENT)));
    }
    let mut old = mac_view(4);
    old.id = 0;
    let of_another_view = with_macs(&old, CLIENT, 1);
    table.ask_all(&of_another_view);
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3]);
    table.ask_all(&with_macs(&mac_view(4), CLIENT, 1));
    table.settle();
    assert_eq!(table.ordered(0, CLIENT), [1], "another view is no offence");
}

#[test]
fn without_the_configuration_no_vector_counts() {
    let mut verifier = Verifier::of(ReplicaId(0), [&key(0)]);
    let request = with_macs(&mac_view(4), CLIENT, 1);
    let verdict = verifier
        .verify_batch(vec![request], &common::view(4))
        .remove(0);
    assert_eq!(verdict.unwrap_err(), RequestError::NoMac(CLIENT));
}

#[test]
fn administrators_and_replicas_sign() {
    let view = mac_view(4);
    for (client, key) in [
        (ADMIN, client_key(ADMIN)),
        (consensus::ClientId::of(ReplicaId(1)), key(1)),
    ] {
        let mut author = Author::new(client, key);
        let request = author.request(&view, 1, 1, b"op".to_vec());
        assert!(request.auth.is_signature());
        let vector = with_macs(&view, CLIENT, 1).auth;
        let claimed = consensus::Request {
            auth: vector,
            ..request
        };
        assert_eq!(verify_at(0, &claimed), Err(RequestError::NoMac(client)));
    }
}

/// The attack: the leader proposes what nobody else can verify.
#[test]
fn a_client_right_at_the_leader_only_costs_one_regency_however_it_hammers() {
    let mut table = mac_table(4);
    let view = mac_view(4);
    // Vectors for whoever may lead next are sent ahead.
    for leader in 0..4 {
        table.ask_all(&right_at(&view, u64::from(leader) + 1, &[leader]));
    }
    table.settle();
    table.pass(SOON);
    assert_regency(&table, 1);
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3]);
    let stops = table.count_sent("STOP");
    for round in 0..30 {
        let seq = 10 + round;
        table.ask_all(&right_at(&view, seq, &[round as u16 % 4]));
        table.ask_all(&with_macs(&view, OTHER, round + 1));
        table.pass(100);
    }
    assert_regency(&table, 1);
    assert_eq!(table.count_sent("STOP"), stops);
    let others: Vec<u64> = (1..=30).collect();
    assert_eq!(table.ordered(2, OTHER), others, "nobody else is hurt");
    assert_eq!(table.ordered(2, CLIENT), []);
    table.assert_agreement();
}

#[test]
fn a_client_that_was_told_to_sign_goes_on_with_the_same_request_exactly_once() {
    let mut table = mac_table(4);
    table.ask_all(&right_at(&mac_view(4), 1, &[0]));
    table.settle();
    table.pass(SOON);
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3]);
    for _ in 0..3 {
        table.ask_all(&signed_again(1));
        table.pass(50);
    }
    table.ask_all(&with_macs(&mac_view(4), CLIENT, 2));
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3], "its vectors are over");
    table.ask_all(&signed_again(2));
    table.pass(50);
    for i in 0..4 {
        assert_eq!(table.ordered(i, CLIENT), [1, 2]);
    }
    assert_regency(&table, 1);
    table.assert_agreement();
}

#[test]
fn a_signed_copy_takes_the_place_of_the_vector_that_waits_and_not_the_other_way() {
    let mut table = mac_table(4);
    table.crash(0);
    let vector = with_macs(&mac_view(4), CLIENT, 1);
    table.ask(2, &vector);
    table.ask(2, &signed_again(1));
    table.ask(2, &vector);
    assert!(table.rejected.is_empty(), "{:?}", table.rejected);
    assert_eq!(table.core(2).status().pending_requests, 1);
    table.ask(2, &signed(CLIENT, 1, 1, "another"));
    assert_eq!(table.rejected, [(ReplicaId(2), Reason::Conflict)]);
    table.pass(3 * STAGE + SOON);
    assert_eq!(table.ordered(2, CLIENT), [1]);
    let decided = &table.decided[2][0];
    assert!(decided.requests[0].auth.is_signature());
}

#[test]
fn what_the_leader_and_f_others_verified_is_vouched_for_and_ordered_in_the_same_regency() {
    let mut table = mac_table(4);
    table.ask_all(&right_at(&mac_view(4), 1, &[0, 1]));
    table.settle();
    table.pass(SOON);
    assert_eq!(table.ordered(2, CLIENT), [1]);
    assert_eq!(table.ordered(3, CLIENT), [1]);
    assert_regency(&table, 0);
    assert_eq!(table.count_sent("REFUSE"), 0);
    // f + 1 complained, so that the client's next ones do not cost a round each.
    table.told_to_sign();
    let asked = table.count_sent("ASK-VOUCH");
    for seq in 2..20 {
        table.ask_all(&right_at(&mac_view(4), seq, &[0, 1]));
        table.pass(20);
    }
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3]);
    assert_eq!(table.count_sent("ASK-VOUCH"), asked);
    table.assert_agreement();
}

#[test]
fn a_replica_that_alone_cannot_verify_follows_by_vouchers() {
    let mut table = mac_table(4);
    // Replica 1 is away, so that the others need replica 3, whose MACs are wrong.
    table.crash(1);
    for seq in 1..=10 {
        table.ask_all(&right_at(&mac_view(4), seq, &[0, 1, 2]));
        table.settle();
        table.pass(60);
    }
    assert_eq!(table.ordered(3, CLIENT), (1..=10).collect::<Vec<_>>());
    assert_eq!(table.regencies(), [0; 3]);
    table.assert_agreement();
}

#[test]
fn what_everyone_but_the_leader_verified_is_proposed_on_their_word() {
    let mut table = mac_table(4);
    table.ask_all(&right_at(&mac_view(4), 1, &[1, 2, 3]));
    table.pass(2 * STAGE + SOON);
    assert_eq!(table.ordered(0, CLIENT), [1]);
    assert_regency(&table, 0);
    assert_eq!(table.count_sent("STOP"), 0);
    table.assert_agreement();
}

/// A follower that alone holds a request must not stop the leader for it, or it and f liars could depose everyone.
#[test]
fn what_one_follower_alone_verified_deposes_nobody_even_with_a_liars_help() {
    let mut table = mac_table(4);
    let view = table.view.id;
    for seq in 1..=5 {
        table.ask_all(&right_at(&mac_view(4), seq, &[2]));
        for i in 0..3 {
            table.tell(3, i, Message::Stop { view, regency: 1 });
            let asked = right_at(&mac_view(4), seq, &[2]);
            let digests = vec![asked.digest()];
            table.tell(3, i, Message::Vouch { digests });
        }
        table.pass(3 * STAGE);
    }
    assert_regency(&table, 0);
    assert!(table.told_to_sign().contains(&2), "it is told to sign");
    assert_eq!(table.core(2).status().pending_requests, 0);
    table.ask_all(&signed_again(1));
    table.settle();
    assert_eq!(table.ordered(2, CLIENT), [1]);
}

#[test]
fn a_dead_leader_is_still_replaced_for_the_sake_of_a_vector() {
    let mut table = mac_table(4);
    table.crash(0);
    table.ask(2, &with_macs(&mac_view(4), CLIENT, 1));
    // Those who hear of it by FORWARD count from then on.
    table.pass(3 * STAGE + SOON);
    assert_eq!(
        table.ordered(2, CLIENT),
        [1],
        "its MACs convince those it is forwarded to"
    );
    assert_eq!(table.regencies(), [1; 3]);
    table.assert_agreement();
}

/// Replica 0 proposes this in regency 0 and answers who fetches it.
fn propose_forged(table: &mut Table, forged: &consensus::Request, time_ms: u64) {
    let entry = Entry {
        client: forged.client,
        incarnation: forged.incarnation,
        seq: forged.seq,
        digest: forged.digest(),
    };
    for i in 1..4 {
        let entries = vec![entry];
        let batch = Batch {
            after: consensus::Digest::default(),
            time_ms,
            entries,
        };
        let (height, regency) = (1, 0);
        table.tell(
            0,
            i,
            Message::Propose {
                height,
                regency,
                batch,
            },
        );
    }
    for i in 1..4 {
        let requests = vec![forged.clone()];
        table.tell(
            0,
            i,
            Message::Bodies {
                height: 1,
                requests,
            },
        );
        // The leader's word alone is worth nothing.
        let digests = vec![entry.digest];
        table.tell(0, i, Message::Vouch { digests });
    }
}

#[test]
fn a_leader_that_forges_a_vector_is_deposed_and_the_client_served() {
    let mut table = mac_table(4);
    table.crash(0);
    let forged = consensus::Request {
        op: b"steal".to_vec().into(),
        ..with_macs(&mac_view(4), CLIENT, 1)
    };
    let now = table.now;
    propose_forged(&mut table, &forged, now);
    table.pass(SOON);
    assert_eq!(table.regencies(), [1; 3]);
    table.ask_all(&with_macs(&mac_view(4), CLIENT, 1));
    table.pass(50);
    if !table.told_to_sign().is_empty() {
        table.ask_all(&signed_again(1));
    }
    table.pass(SOON);
    let decided = &table.decided[1][0].requests;
    assert_eq!(decided[0].op, b"op 1".to_vec());
    assert_eq!(table.ordered(3, CLIENT), [1]);
    table.assert_agreement();
}

#[test]
fn f_liars_neither_vouch_into_the_order_nor_refuse_a_leader_away() {
    let mut table = mac_table(7);
    let view = mac_view(7);
    let good = with_macs(&view, OTHER, 1);
    for i in 0..5 {
        for liar in [5, 6] {
            let entries = vec![Entry {
                client: OTHER,
                incarnation: 1,
                seq: 1,
                digest: good.digest(),
            }];
            let (view, regency, height) = (1, 0, 1);
            table.tell(
                liar,
                i,
                Message::Refuse {
                    view,
                    regency,
                    height,
                    entries: entries.clone(),
                },
            );
            let doubted = true;
            table.tell(liar, i, Message::AskVouch { entries, doubted });
        }
    }
    table.ask_all(&good);
    table.settle();
    assert_eq!(table.ordered(4, OTHER), [1]);
    assert_regency(&table, 0);
    assert!(table.told_to_sign().is_empty());
    // Right at the leader and one other: with the liars' word that would be f + 2, without it f.
    let bad = right_at(&view, 1, &[0, 1]);
    table.passes = Box::new(|from, _, message| from.0 < 5 || message.name() != "VOUCH");
    table.ask_all(&bad);
    table.settle();
    table.pass(SOON);
    assert_regency(&table, 1);
    assert_eq!(table.ordered(4, CLIENT), []);
}

#[test]
fn with_f_2_f_plus_1_correct_replicas_are_enough_and_fewer_cost_one_regency() {
    let mut table = mac_table(7);
    table.ask_all(&right_at(&mac_view(7), 1, &[0, 3, 5]));
    table.settle();
    table.pass(SOON);
    assert_eq!(table.ordered(6, CLIENT), [1]);
    assert_regency(&table, 0);
    table.assert_agreement();
}

/// f + 1 wrote a value that the others cannot verify and nobody vouches for any more: SYNC binds them to it, and
/// they must not refuse it for ever.
#[test]
fn a_value_that_sync_bound_needs_no_vouchers() {
    let mut table = mac_table(4);
    table.passes = Box::new(|_, _, message| message.name() != "VOUCH");
    table.ask_all(&right_at(&mac_view(4), 1, &[0, 1]));
    table.settle();
    table.pass(2 * STAGE);
    assert_eq!(table.ordered(2, CLIENT), [1]);
    assert_eq!(table.ordered(3, CLIENT), [1]);
    assert_regency(&table, 1);
    table.assert_agreement();
}

#[test]
fn a_replica_that_was_away_believes_decisions_with_vectors_by_their_proofs() {
    let mut table = mac_table(4);
    table.crash(3);
    for seq in 1..=5 {
        table.ask_all(&with_macs(&mac_view(4), CLIENT, seq));
        table.settle();
    }
    table.restart_whole(3);
    table.restart_whole(2);
    table.pass(3_000);
    assert_eq!(table.ordered(3, CLIENT), [1, 2, 3, 4, 5]);
    assert_eq!(table.ordered(2, CLIENT), [1, 2, 3, 4, 5]);
    table.assert_agreement();
}

#[test]
fn missing_bodies_with_vectors_are_fetched_and_verified_by_ones_own_mac() {
    let mut table = mac_table(4);
    let request = with_macs(&mac_view(4), CLIENT, 1);
    table.crash(1);
    [0, 2].into_iter().for_each(|i| table.ask(i, &request));
    table.settle();
    table.pass(SOON);
    assert_eq!(table.ordered(3, CLIENT), [1]);
    assert_eq!(table.count_sent("ASK-VOUCH"), 0);
}

#[test]
fn a_new_view_takes_no_vectors_of_the_old_one() {
    let mut table = mac_table(5);
    table.passes = Box::new(|_, _, message| message.name() != "PROPOSE");
    table.ask_all(&with_macs(&mac_view(5), CLIENT, 1));
    table.settle();
    table.passes = Box::new(|_, _, _| true);
    // The administrator's request is ordered alone: the leader proposed before it came.
    let remove = common::change(1, 1, &[consensus::Step::RemoveReplica { id: ReplicaId(4) }]);
    table.ask_all(&with_macs(&mac_view(5), OTHER, 1));
    table.ask_all(&remove);
    table.pass(SOON);
    let mut late = with_macs(&mac_view(5), CLIENT, 2);
    if let Auth::Macs(macs) = &mut late.auth {
        assert_eq!(macs.view, 1);
    }
    assert_eq!(table.view.id, 2);
    table.ask_all(&late);
    assert_eq!(table.told_to_sign(), [0, 1, 2, 3, 4]);
    let view = table.view.clone();
    table.ask_all(&with_macs(&view, CLIENT, 2));
    table.settle();
    assert_eq!(table.ordered(1, CLIENT), [1, 2]);
}
