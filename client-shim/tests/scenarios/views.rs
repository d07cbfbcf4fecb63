//! The membership changes while clients work.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::group::map::{Map, Watched};
use crate::group::{ADMINISTRATOR, Group, free_address, in_time, wait_until};
use client_shim::invoker::{Client, InvokeError, ReconfigureError};
use consensus::{Change, PublicKey, ReplicaId, Step};
use net::Identity;
use order::node::{Node, NodeConfig, NodeError};
use tokio::task::JoinHandle;

/// A client that adds one after the other, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    running: JoinHandle<()>,
}

impl Load {
    fn begin(client: Client) -> Load {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (stop.clone(), done.clone());
        let running = tokio::spawn(async move {
            while !stopped.load(SeqCst) {
                let number = client.invoke("add n").await.expect("a quorum answers");
                let next = count.fetch_add(1, SeqCst) + 1;
                assert_eq!(number, next.to_string(), "each is executed once");
            }
        });
        Load {
            stop,
            done,
            running,
        }
    }

    /// Waits until so many more are answered.
    async fn goes_on(&self, count: u64) {
        assert!(!self.running.is_finished());
        let target = self.done.load(SeqCst) + count;
        wait_until(|| self.done.load(SeqCst) >= target || self.running.is_finished()).await;
        assert!(!self.running.is_finished());
    }

    async fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        self.running.await.expect("no operation failed");
        self.done.load(SeqCst)
    }
}

async fn change(administrator: &Client, steps: Vec<Step>) -> Result<u64, ReconfigureError> {
    let base = administrator.view().id;
    in_time(administrator.reconfigure(&Change { base, steps })).await
}

/// The configuration of a replica that joins with the view that holds now.
fn joining(group: &Group, id: u16, identity: Identity) -> NodeConfig {
    let view = group.nodes.iter().flatten().next();
    let view = view.expect("one runs").view();
    let newest = group.cluster.of_view(&view.borrow());
    let newest = newest.expect("contacts are addresses");
    NodeConfig {
        settings: group.settings.clone(),
        log_options: group.log_options.clone(),
        genesis: Some(group.cluster.clone()),
        ..NodeConfig::new(newest, ReplicaId(id), identity, group.log_dir(id))
    }
}

fn add(id: u16, identity: &Identity) -> Step {
    Step::AddReplica {
        id: ReplicaId(id),
        key: PublicKey(identity.public_key()),
        contact: free_address().to_string(),
    }
}

/// The course of the thesis' Figure 4.9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_added_the_leader_crashes_comes_back_and_is_removed_and_clients_go_on() {
    let mut group = Group::with_short_logs().started().await;
    let load = Load::begin(group.client(0).await);
    let administrator = group.client(ADMINISTRATOR).await;
    group.age(&group.client(1).await, "add aged").await;

    let new = Identity::generate();
    let view = change(&administrator, vec![add(4, &new)]).await.unwrap();
    assert_eq!(view, 1);
    load.goes_on(10).await;
    let service = Watched::default();
    let seen = service.1.clone();
    let node = Node::start(joining(&group, 4, new), service).await.unwrap();
    group.nodes.push(Some(node));
    let height = group.height();
    group.executed(4, height).await;
    assert_eq!(
        seen.restored.load(SeqCst),
        1,
        "it began with a peer's checkpoint"
    );

    // The leader crashes: Q = 4 of 5, so the new one is needed.
    group.stop(0).await.unwrap();
    load.goes_on(10).await;
    group.start(0, Map::default()).await;
    let height = group.height();
    group.executed(0, height).await;

    let remove = Step::RemoveReplica { id: ReplicaId(0) };
    wait_until(|| administrator.view().id == 1).await;
    assert_eq!(change(&administrator, vec![remove]).await.unwrap(), 2);
    let gone = in_time(group.node(0).ended()).await.unwrap_err();
    let NodeError::Removed { replica, view } = gone else {
        panic!("{gone}");
    };
    assert_eq!((replica, view), (ReplicaId(0), 2));
    load.goes_on(10).await;
    // Four are left, and one of them may be down.
    group.nodes[1].take().unwrap().shutdown().await.unwrap();
    load.goes_on(10).await;
    let count = load.end().await;
    let reader = group.client(2).await;
    assert_eq!(
        in_time(reader.query("get n")).await.unwrap(),
        count.to_string()
    );
    assert_eq!(
        reader.view().id,
        2,
        "one that began with the old cluster file"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_goes_over_to_its_next_key_and_keeps_it() {
    let mut group = Group::new();
    let next = Identity::generate();
    let with_next = |group: &Group| NodeConfig {
        next_identity: Some(next.clone()),
        ..group.config(2)
    };
    for id in [0, 1, 3] {
        group.start(id, Map::default()).await;
    }
    let node = Node::start(with_next(&group), Map::default()).await;
    group.nodes[2] = Some(node.unwrap());
    let load = Load::begin(group.client(0).await);
    let administrator = group.client(ADMINISTRATOR).await;
    let rotate = Step::RotateReplicaKey {
        id: ReplicaId(2),
        key: PublicKey(next.public_key()),
    };
    change(&administrator, vec![rotate]).await.unwrap();
    group.stop(3).await.unwrap();
    load.goes_on(10).await;

    group.stop(2).await.unwrap();
    let old = Node::start(group.config(2), Map::default()).await;
    assert!(
        matches!(old, Err(NodeError::OtherKey { view: 1, .. })),
        "{old:?}"
    );
    let node = Node::start(with_next(&group), Map::default()).await;
    group.nodes[2] = Some(node.unwrap());
    load.goes_on(10).await;

    // Its key is rotated back while it is away: its peers refuse the one that it begins with.
    group.start(3, Map::default()).await;
    let height = group.height();
    group.executed(3, height).await;
    group.stop(2).await.unwrap();
    let back = Step::RotateReplicaKey {
        id: ReplicaId(2),
        key: PublicKey(group.replicas[2].public_key()),
    };
    change(&administrator, vec![back]).await.unwrap();
    let node = Node::start(with_next(&group), Map::default()).await;
    group.nodes[2] = Some(node.unwrap());
    group.stop(3).await.unwrap();
    load.goes_on(10).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_administrator_changes_the_view_and_it_does_nothing_else() {
    let group = Group::running().await;
    let remove = || vec![Step::RemoveReplica { id: ReplicaId(3) }];
    let client = group.client(0).await;
    let refused = change(&client, remove()).await.unwrap_err();
    assert!(matches!(refused, ReconfigureError::NotAdministrator { .. }));

    let administrator = group.client(ADMINISTRATOR).await;
    let unusable = change(&administrator, remove()).await.unwrap_err();
    assert!(
        unusable
            .to_string()
            .contains("3 replicas cannot carry f = 1")
    );
    let no_change = administrator.invoke("add n").await.unwrap_err();
    assert_eq!(no_change, InvokeError::Administrator);
    assert_eq!(administrator.query("get n").await.unwrap(), "");

    let fast = Step::SetLeader {
        replica: ReplicaId(2),
    };
    assert_eq!(change(&administrator, vec![fast.clone()]).await.unwrap(), 1);
    let late = Change {
        base: 0,
        steps: vec![fast],
    };
    let late = in_time(administrator.reconfigure(&late)).await.unwrap_err();
    assert!(late.to_string().contains("ask again"), "{late}");
    assert_eq!(in_time(client.invoke("add n")).await.unwrap(), "1");
    assert_eq!(group.node(1).status().leader, ReplicaId(2));
}
