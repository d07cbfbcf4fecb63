//! Receipts that are good, and everything that can be changed in them.

use consensus::{
    Auth, Batch, CertificateError, Change, ClientId, Decided, Digest, Entry, Proof, ProofError,
    PublicKey, ReplicaId, Request, Signature, SigningKey, Step as ViewStep, View, ViewCertificate,
    sign_accept,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;
use crate::operation::{Evidence, Operation, Step};
use crate::ordered::{Auto, Commit, Exec, Ordered};
use crate::tally::Verdict;
use crate::{Ballot, VotePart};

const CLIENT: ClientId = ClientId(70_000);
const ADMIN: ClientId = ClientId(70_001);
/// The change of the view is decided here, the transaction after it.
const CHANGED: u64 = 3;
const HEIGHT: u64 = 5;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// The key of a replica; replica 1 has another one in view 1.
fn replica_key(replica: u16, view: u64) -> SigningKey {
    match (replica, view) {
        (1, 1) => key(51),
        _ => key(replica as u8 + 1),
    }
}

fn genesis() -> View {
    View {
        f: 1,
        replicas: (0..4)
            .map(|i| (ReplicaId(i), PublicKey::of(&replica_key(i, 0))))
            .collect(),
        clients: BTreeMap::from([
            (CLIENT, PublicKey::of(&key(100))),
            (ADMIN, PublicKey::of(&key(101))),
        ]),
        administrators: [ADMIN].into(),
        contacts: [(ReplicaId(0), "host:1".into())].into(),
        ..View::default()
    }
}

fn decided(height: u64, requests: Vec<Request>) -> Decided {
    let entries = requests.iter().map(|request| Entry {
        client: request.client,
        incarnation: request.incarnation,
        seq: request.seq,
        digest: request.digest(),
    });
    let batch = Batch {
        after: Digest([height as u8; 32]),
        time_ms: 1_700_000_000_000 + height,
        entries: entries.collect(),
    };
    let sign = |i: u16| {
        let key = replica_key(i, 0);
        let signature = sign_accept(&key, &genesis(), height, 0, &batch.digest());
        (ReplicaId(i), signature)
    };
    let proof = Proof {
        regency: 0,
        accepts: [0, 1, 2].map(sign).into(),
    };
    Decided {
        height,
        regency: 0,
        batch,
        requests,
        proof,
    }
}

/// The certificate of view 1: replica 1 has a new key.
fn certificate() -> ViewCertificate {
    let change = Change {
        base: 0,
        steps: vec![ViewStep::RotateReplicaKey {
            id: ReplicaId(1),
            key: PublicKey::of(&replica_key(1, 1)),
        }],
    };
    let request = Request::sign(&key(101), ADMIN, 1, 1, change.encode());
    ViewCertificate::of(&decided(CHANGED, vec![request])).unwrap()
}

fn step(sql: &str, result: u8, write: u8) -> Step {
    Step {
        operation: Operation::text(sql),
        evidence: Evidence {
            result: Digest([result; 32]),
            write: Digest([write; 32]),
            sequences: Vec::new(),
            claims: None,
            schema_change: false,
            adds_only: false,
            failed: false,
            unvalidated: false,
        },
    }
}

fn tx() -> TxId {
    TxId {
        client: CLIENT,
        incarnation: 7,
        seq: 1,
    }
}

fn commit(steps: Vec<Step>) -> Ordered {
    Ordered::Commit(Commit {
        tx: tx(),
        epoch: 0,
        steps,
        word: None,
    })
}

fn request(ordered: &Ordered) -> Request {
    Request::sign(&key(100), CLIENT, 7, 2, ordered.encode())
}

fn fact_of(ordered: &Ordered, view: u64) -> Option<Fact> {
    let decided = decided(HEIGHT, vec![request(ordered)]);
    Fact::of(cluster_digest(&genesis()), view, view, &decided, 0)
}

fn fact(view: u64) -> Fact {
    let steps = vec![step("UPDATE t SET a = 1", 1, 2), step("SELECT 1", 3, 0)];
    fact_of(&commit(steps), view).unwrap()
}

fn signed_by(fact: Fact, signers: &[(u16, SigningKey)]) -> Receipt {
    let view = fact.view;
    let signatures = signers
        .iter()
        .map(|(replica, key)| (ReplicaId(*replica), fact.sign(key)))
        .collect();
    Receipt {
        fact,
        signatures,
        views: (0..view).map(|_| certificate()).collect(),
    }
}

/// Signed by these replicas with their keys of this view.
fn receipt(view: u64, signers: &[u16]) -> Receipt {
    let signers: Vec<_> = signers
        .iter()
        .map(|i| (*i, replica_key(*i, view)))
        .collect();
    signed_by(fact(view), &signers)
}

#[test]
fn two_of_four_replicas_prove_a_commit() {
    for view in [0, 1] {
        let receipt = receipt(view, &[1, 3]);
        let verified = receipt.verify(&genesis()).unwrap();
        assert_eq!(verified.id, view);
        assert_eq!(Receipt::parse(&receipt.to_text()), Ok(receipt));
    }
    assert!(receipt(0, &[0, 1, 2, 3]).verify(&genesis()).is_ok());
    // Members that listen elsewhere are the same cluster.
    let moved = View {
        contacts: Default::default(),
        ..genesis()
    };
    assert!(receipt(1, &[0, 2]).verify(&moved).is_ok());
}

#[test]
fn no_byte_of_a_receipt_can_be_another() {
    let text = receipt(1, &[1, 3]).to_text().into_bytes();
    for at in 0..text.len() {
        for flip in [1, 0x20] {
            let mut altered = text.clone();
            altered[at] ^= flip;
            let Ok(altered) = String::from_utf8(altered) else {
                continue;
            };
            let believed = Receipt::parse(&altered).and_then(|r| r.verify(&genesis()));
            assert!(believed.is_err(), "byte {at}: {altered}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_part_can_be_cut_out_put_in_or_replaced(
        from in 0..2_000_usize,
        length in 0..80_usize,
        put in "[ -~]{0,40}",
    ) {
        let text = receipt(1, &[1, 3]).to_text();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        let altered = format!("{}{put}{}", &text[..from], &text[to..]);
        prop_assume!(altered != text);
        let believed = Receipt::parse(&altered).and_then(|r| r.verify(&genesis()));
        prop_assert!(believed.is_err(), "{altered}");
    }

    #[test]
    fn nothing_else_is_read_or_makes_it_panic(text in "\\PC{0,200}") {
        prop_assert!(Receipt::parse(&text).is_err());
        let text = format!("{BEGINS}{text}");
        prop_assert!(Receipt::parse(&text).is_err());
    }
}

/// Every field, changed beneath the signatures.
#[test]
fn every_field_is_signed() {
    let digest = |digest: &mut Digest| digest.0[31] ^= 1;
    type Alter = Box<dyn Fn(&mut Fact)>;
    let changes: Vec<(&str, Alter)> = vec![
        ("height", Box::new(|f| f.header.height += 1)),
        ("time", Box::new(|f| f.header.time_ms += 1)),
        ("batch", Box::new(move |f| digest(&mut f.header.digest))),
        (
            "previous",
            Box::new(move |f| digest(&mut f.header.previous)),
        ),
        ("index", Box::new(|f| f.index += 1)),
        ("client", Box::new(|f| f.tx.client.0 += 1)),
        ("incarnation", Box::new(|f| f.tx.incarnation += 1)),
        ("seq", Box::new(|f| f.tx.seq += 1)),
        ("sort", Box::new(|f| f.sort = Sort::Autocommit)),
        ("request", Box::new(move |f| digest(&mut f.request))),
        ("steps", Box::new(|f| f.steps += 1)),
        ("unvalidated", Box::new(|f| f.unvalidated += 1)),
        ("statements", Box::new(move |f| digest(&mut f.statements))),
        ("operations", Box::new(move |f| digest(&mut f.operations))),
        ("results", Box::new(move |f| digest(&mut f.results))),
        ("writes", Box::new(move |f| digest(&mut f.writes))),
    ];
    for (field, change) in changes {
        let mut altered = receipt(0, &[0, 2]);
        change(&mut altered.fact);
        assert_eq!(
            altered.verify(&genesis()),
            Err(ReceiptError::BadSignature(ReplicaId(0))),
            "{field}"
        );
    }
    let mut altered = receipt(0, &[0, 2]);
    altered.fact.cluster.0[0] ^= 1;
    assert_eq!(altered.verify(&genesis()), Err(ReceiptError::OtherCluster));
    let mut altered = receipt(0, &[0, 2]);
    altered.fact.verdict = Verdict::Abort;
    assert_eq!(altered.verify(&genesis()), Err(ReceiptError::NotCommitted));
}

#[test]
fn signatures_that_could_all_be_liars_prove_nothing() {
    let cases: [(&[u16], ReceiptError); 5] = [
        (&[], ReceiptError::TooFew { have: 0, need: 2 }),
        (&[2], ReceiptError::TooFew { have: 1, need: 2 }),
        (&[2, 2], ReceiptError::NotDistinct(ReplicaId(2))),
        (&[3, 2], ReceiptError::NotDistinct(ReplicaId(2))),
        (&[0, 4], ReceiptError::NotMember(ReplicaId(4), 0)),
    ];
    for (signers, why) in cases {
        assert_eq!(receipt(0, signers).verify(&genesis()), Err(why));
    }
    let in_anothers_name = signed_by(fact(0), &[(0, key(1)), (1, key(1))]);
    assert_eq!(
        in_anothers_name.verify(&genesis()),
        Err(ReceiptError::BadSignature(ReplicaId(1)))
    );
}

#[test]
fn a_retired_key_and_a_future_one_sign_nothing() {
    for view in [0, 1] {
        let wrong = [(0, replica_key(0, view)), (1, replica_key(1, 1 - view))];
        assert_eq!(
            signed_by(fact(view), &wrong).verify(&genesis()),
            Err(ReceiptError::BadSignature(ReplicaId(1)))
        );
    }
}

#[test]
fn another_cluster_is_not_convinced() {
    let mut other = genesis();
    other.replicas.insert(ReplicaId(3), PublicKey::of(&key(9)));
    assert_eq!(
        receipt(0, &[0, 1]).verify(&other),
        Err(ReceiptError::OtherCluster)
    );
    // Nor by the same members for another reason: every rule of the view counts.
    let other = View { f: 0, ..genesis() };
    assert_eq!(
        receipt(0, &[0, 1]).verify(&other),
        Err(ReceiptError::OtherCluster)
    );
}

#[test]
fn keys_that_the_view_before_did_not_certify_are_not_believed() {
    // A view that liars made for themselves: f of the members accepted it.
    let mut forged = receipt(1, &[0, 1]);
    forged.views[0].proof.accepts.truncate(1);
    let too_few = ProofError::TooFew { have: 1, need: 3 };
    assert_eq!(
        forged.verify(&genesis()),
        Err(ReceiptError::View {
            view: 1,
            why: CertificateError::Proof(too_few)
        })
    );
    // The true certificate with another change in it.
    let mut swapped = receipt(1, &[0, 1]);
    let change = Change {
        base: 0,
        steps: vec![ViewStep::SetFaults { f: 0 }],
    };
    swapped.views[0].request = Request::sign(&key(101), ADMIN, 1, 1, change.encode());
    assert_eq!(
        swapped.verify(&genesis()),
        Err(ReceiptError::View {
            view: 1,
            why: CertificateError::NotNamed
        })
    );
}

#[test]
fn the_chain_of_views_leads_where_the_signers_say_and_nowhere_else() {
    let mut without = receipt(1, &[0, 2]);
    without.views.clear();
    assert_eq!(
        without.verify(&genesis()),
        Err(ReceiptError::OtherView {
            named: 1,
            reached: 0
        })
    );
    let mut with = receipt(0, &[0, 2]);
    with.views.push(certificate());
    assert_eq!(
        with.verify(&genesis()),
        Err(ReceiptError::OtherView {
            named: 0,
            reached: 1
        })
    );
    let mut twice = receipt(1, &[0, 2]);
    twice.views.push(certificate());
    assert!(matches!(
        twice.verify(&genesis()),
        Err(ReceiptError::View { view: 2, .. })
    ));
    // Signed rightly by liars for a view in which the height was not decided.
    let mut elsewhere = fact(1);
    elsewhere.header.view = 0;
    let signers = [0, 2].map(|i| (i, replica_key(i, 1)));
    assert_eq!(
        signed_by(elsewhere, &signers).verify(&genesis()),
        Err(ReceiptError::DecidedElsewhere {
            height: HEIGHT,
            is: 1,
            named: 0
        })
    );
}

/// A transaction of before a change of the view can have its receipt signed after it.
#[test]
fn the_members_of_now_vouch_for_what_was_decided_before_them() {
    let decided = decided(CHANGED - 1, vec![request(&commit(Vec::new()))]);
    let fact = Fact::of(cluster_digest(&genesis()), 1, 0, &decided, 0).unwrap();
    let signers = [1, 2].map(|i| (i, replica_key(i, 1)));
    let verified = signed_by(fact, &signers).verify(&genesis()).unwrap();
    assert_eq!(verified.id, 1);
}

#[test]
fn what_is_no_transaction_of_its_client_has_no_fact() {
    let exec = Ordered::Exec(Exec {
        settings: Vec::new(),
        operation: Operation::text("VACUUM"),
    });
    let of_another = Ordered::Commit(Commit {
        tx: TxId {
            client: ADMIN,
            ..tx()
        },
        epoch: 0,
        steps: Vec::new(),
        word: None,
    });
    assert_eq!([&exec, &of_another].map(|it| fact_of(it, 0)), [None, None]);
    let auto = Ordered::Auto(Auto {
        tx: tx(),
        epoch: 0,
        ran_at: 1,
        settings: Vec::new(),
        step: step("DELETE FROM t", 1, 2),
        word: None,
    });
    let fact = fact_of(&auto, 0).unwrap();
    assert_eq!((fact.sort, fact.steps), (Sort::Autocommit, 1));
}

#[test]
fn what_was_executed_answered_and_written_is_told_apart() {
    let of = |steps| fact_of(&commit(steps), 0).unwrap();
    let one = of(vec![step("UPDATE t SET a = 1", 1, 2)]);
    assert!(one.executed(["UPDATE t SET a = 1"].into_iter()));
    assert!(!one.executed(["UPDATE t SET a = 2"].into_iter()));
    assert!(!one.executed(["UPDATE t SET", " a = 1"].into_iter()));
    assert!(!one.executed(std::iter::empty()));
    assert!(!one.wrote_nothing());
    assert!(of(vec![step("SELECT 1", 1, 0), step("SELECT 2", 1, 0)]).wrote_nothing());
    let mut bound = step("UPDATE t SET a = 1", 1, 2);
    bound.operation.parameters = vec![Some("1".into())];
    let bound = of(vec![bound]);
    assert_eq!(bound.statements, one.statements);
    assert_ne!(bound.operations, one.operations);
    let another = of(vec![step("UPDATE t SET a = 1", 9, 2)]);
    assert_ne!(another.results, one.results);
    assert_eq!(another.writes, one.writes);
}

#[test]
fn what_nobody_confirmed_is_not_covered() {
    let alone = |result| {
        let mut step = step("EXPLAIN SELECT 1", result, 0);
        step.evidence.unvalidated = true;
        fact_of(&commit(vec![step]), 0).unwrap()
    };
    assert_eq!(alone(1).unvalidated, 1);
    assert_eq!(alone(1).results, alone(2).results);
}

/// The same identity signs votes, ACCEPTs and requests.
#[test]
fn a_signature_of_a_receipt_is_good_for_nothing_else_and_nothing_else_for_it() {
    let (key, fact) = (replica_key(0, 0), fact(0));
    let view = genesis();
    let signature = fact.sign(&key);
    let vote = VotePart::sign(&key, 0, ReplicaId(0), HEIGHT, 0, vec![(0, Ballot::Commit)]);
    let spoken = VotePart {
        signature,
        ..vote.clone()
    };
    assert!(vote.verify(&view) && !spoken.verify(&view));
    let accept = sign_accept(&key, &view, HEIGHT, 0, &fact.header.digest);
    let asked = Request::sign(&key, ClientId::of(ReplicaId(0)), 1, 1, fact_bytes(&fact));
    let Auth::Signature(asked_signature) = asked.auth else {
        unreachable!("it was signed")
    };
    let bare = Signature::sign(&key, &fact_bytes(&fact));
    for other in [vote.signature, accept, asked_signature, bare] {
        assert!(!fact.is_signed(&PublicKey::of(&key), &other));
    }
    let mut request = asked;
    request.auth = Auth::Signature(signature);
    assert!(request.verify(&view).is_err());
    let proof = Proof {
        regency: 0,
        accepts: [0, 1, 2]
            .map(|i| (ReplicaId(i), fact.sign(&replica_key(i, 0))))
            .into(),
    };
    assert!(proof.check(&view, HEIGHT, fact.header.digest).is_err());
}

fn fact_bytes(fact: &Fact) -> Vec<u8> {
    postcard::to_stdvec(fact).unwrap()
}

#[test]
fn what_is_too_long_or_of_another_format_is_refused() {
    let long = " ".repeat(MAX_TEXT + 1);
    assert_eq!(
        Receipt::parse(&long),
        Err(ReceiptError::TooLong(MAX_TEXT + 1))
    );
    let later = receipt(0, &[0, 1])
        .to_text()
        .replacen("receipt\":1", "receipt\":2", 1);
    let error = Receipt::parse(&later).unwrap_err().to_string();
    assert!(error.contains("format 2"), "{error}");
    let spaced = receipt(0, &[0, 1]).to_text().replacen(",", ", ", 1);
    assert_eq!(Receipt::parse(&spaced), Err(ReceiptError::NotCanonical));
}
