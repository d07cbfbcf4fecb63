//! Clients with MAC vectors over real sockets.

use crate::group;
use crate::group::impostor::RawClient;
use crate::group::{Group, in_time};
use bytes::Bytes;
use consensus::service::{Call, Refusal, ToClient, ToReplica};
use consensus::{Auth, Author, MAC_BYTES, Request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_with_vectors_are_executed_once_each_and_a_restart_remembers_them() {
    let mut group = Group::with_macs().await;
    let client = group.client(0).await;
    let mut under_way = Vec::new();
    for _ in 0..200 {
        under_way.push(client.invoke_async("add n").await.unwrap());
    }
    for invocation in under_way {
        in_time(invocation).await.unwrap();
    }
    group.stop(1).await.unwrap();
    group.start(1, group::map::Map::default()).await;
    assert_eq!(client.invoke("add n").await.unwrap(), "201");
    let height = group.height();
    group.executed(1, height).await;
}

/// Right at the first replica, which leads, and wrong elsewhere.
fn right_at_the_leader_only(mut request: Request) -> Request {
    if let Auth::Macs(macs) = &mut request.auth {
        let mut vector = macs.vector.to_vec();
        vector[MAC_BYTES..].fill(0);
        macs.vector = vector.into();
    }
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_wrong_vectors_is_told_to_sign_and_others_go_on_with_theirs() {
    let group = Group::with_macs().await;
    let (id, identity) = (Group::client_id(0), group.client_identity(0));
    let mut author = Author::new(id, identity.signing_key().clone());
    let mut faulty = RawClient::connect(&group.cluster, id.0, identity).await;
    let honest = group.client(1).await;
    let view = group.cluster.membership();
    let op = Call::Execute(Bytes::from_static(b"add bad")).encode();
    for seq in 1..=20 {
        let request = author.request(&view, 1, seq, op.clone());
        let request = right_at_the_leader_only(request);
        for replica in 0..4 {
            faulty.say(replica, &ToReplica::Request(request.clone()));
        }
        let sum = in_time(honest.invoke("add good")).await.unwrap();
        assert_eq!(sum, seq.to_string());
    }
    let told = in_time(async {
        loop {
            if let (
                _,
                ToClient::Refused {
                    seq: 1, refusal, ..
                },
            ) = faulty.hear().await
            {
                return refusal;
            }
        }
    });
    assert_eq!(told.await, Refusal::MustSign);
    let signed = author.signed(1, 1, op);
    for replica in 0..4 {
        faulty.say(replica, &ToReplica::Request(signed.clone()));
    }
    in_time(async { while !matches!(faulty.hear().await, (_, ToClient::Reply { seq: 1, .. })) {} })
        .await;
    assert_eq!(honest.query("get bad").await.unwrap(), "1");
}
