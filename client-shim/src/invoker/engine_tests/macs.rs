//! Operations with MAC vectors: when they are signed instead.

use consensus::{Auth, ClientAuthentication};

use super::*;

fn scene() -> Scene {
    let view = View {
        client_authentication: ClientAuthentication::Macs,
        ..view()
    };
    Scene::of(view, Settings::default())
}

/// Every request sent since the last look, and to whom.
fn signed(scene: &mut Scene) -> Vec<(u16, u64, bool)> {
    let requests = scene.requests();
    scene.sent.clear();
    let signed = |request: &Request| request.auth.is_signature();
    requests
        .iter()
        .map(|(to, request)| (*to, request.seq, signed(request)))
        .collect()
}

#[test]
fn the_view_decides_whether_an_operation_has_a_vector() {
    let mut scene = scene();
    scene.invoke(1);
    let requests = scene.requests();
    assert_eq!(requests.len(), 4);
    for (_, request) in requests {
        let Auth::Macs(macs) = request.auth else {
            panic!("it has a vector")
        };
        assert_eq!((macs.view, macs.vector.len()), (3, 64));
    }
}

#[test]
fn one_replica_that_wants_it_signed_is_not_believed_two_are() {
    let mut scene = scene();
    scene.invoke(1);
    scene.sent.clear();
    scene.refuse(3, 1, Refusal::MustSign);
    scene.refuse(3, 1, Refusal::MustSign);
    assert_eq!(signed(&mut scene), []);
    scene.invoke(2);
    assert!(signed(&mut scene).iter().all(|(_, _, signed)| !signed));
    scene.refuse(1, 1, Refusal::MustSign);
    let again: Vec<_> = (0..4).map(|to| (to, 1, true)).collect();
    assert_eq!(signed(&mut scene), again, "the same number, signed");
    scene.refuse(0, 1, Refusal::MustSign);
    scene.refuse(2, 1, Refusal::MustSign);
    assert_eq!(signed(&mut scene), [], "once");
    scene.invoke(3);
    assert!(signed(&mut scene).iter().all(|(_, _, signed)| *signed));
    for from in 0..3 {
        scene.reply(from, 1, whole(9, b"yes"));
    }
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(b"yes")));
}

#[test]
fn what_is_sent_again_is_signed() {
    let mut scene = scene();
    scene.invoke(1);
    scene.reply(0, 1, whole(9, b"yes"));
    let sent = scene.sleep();
    assert_eq!(to(&sent), [1, 2, 3]);
    for (_, message) in sent {
        let ToReplica::Request(request) = message else {
            panic!("a request")
        };
        assert!(request.auth.is_signature());
        assert!(request.verify(&view()).is_ok());
    }
    // One slow answer says nothing about the next operation.
    scene.invoke(2);
    assert!(signed(&mut scene).iter().all(|(_, _, signed)| !signed));
}
