//! Nobody answers: every wait of a client ends, and says why.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::{Duration, Instant};

use client_shim::{Isolation, Operation, Settings, Shim};
use cluster::{ClientEntry, Cluster, ReplicaEntry};
use consensus::{ClientId, Mode};
use net::Identity;
use txn::Ordered;

const PATIENCE: Duration = Duration::from_secs(1);
/// Two looks at the links, and what a busy machine adds.
const AT_MOST: Duration = Duration::from_secs(15);

/// A client of four replicas that do not exist.
async fn lonely() -> Shim {
    let identity = Identity::generate();
    let key = hex::encode(identity.public_key());
    // Ports on which nobody listens: whoever had them has just left.
    let listeners: Vec<_> = (0..4)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let replicas = listeners
        .iter()
        .zip(0..)
        .map(|(listener, id)| ReplicaEntry {
            id,
            address: listener.local_addr().expect("it listens"),
            key: hex::encode(Identity::generate().public_key()),
        });
    let cluster = Cluster {
        client_authentication: Default::default(),
        f: 1,
        mode: Mode::Byzantine,
        fast: BTreeSet::new(),
        administrators: BTreeSet::new(),
        leader: None,
        view: 0,
        replicas: replicas.collect(),
        clients: vec![ClientEntry {
            id: 70_000,
            name: "lonely".into(),
            key,
        }],
    };
    drop(listeners);
    let settings = Settings {
        patience: PATIENCE,
        ..Settings::default()
    };
    Shim::connect(&cluster, ClientId(70_000), identity, settings)
        .await
        .expect("links come later")
}

async fn ends<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let ended = tokio::time::timeout(AT_MOST, wait).await;
    ended.unwrap_or_else(|_| panic!("{what} hung for {:?}", began.elapsed()))
}

#[tokio::test]
async fn a_statement_of_a_transaction_ends_when_too_few_replicas_are_there() {
    let shim = lonely().await;
    let mut transaction = shim.begin(Vec::new(), Isolation::Snapshot, false);
    let statement = transaction.execute(Operation::text("SELECT 1"), false);
    let error = ends("the statement", statement)
        .await
        .expect_err("nobody ran it");
    assert_eq!(error.sqlstate, "57P03", "{error}");
    let again = transaction.execute(Operation::text("SELECT 1"), false);
    let error = ends("the next one", again).await.expect_err("it is over");
    assert_eq!(error.sqlstate, "40001", "{error}");
}

#[tokio::test]
async fn an_autocommit_write_ends_when_too_few_replicas_are_there() {
    let shim = lonely().await;
    let write = shim.auto(Vec::new(), Operation::text("INSERT"), pending());
    let error = ends("the write", write).await.expect_err("nobody ran it");
    assert_eq!(error.sqlstate, "57P03", "{error}");
}

#[tokio::test]
async fn whatever_else_a_client_waits_for_ends_too() {
    let shim = lonely().await;
    let read = shim.read(Vec::new(), Operation::text("SELECT 1"), false, pending());
    let error = ends("a read", read).await.expect_err("nobody read");
    assert_eq!(error.sqlstate, "57P03", "{error}");
    let read = shim.read(Vec::new(), Operation::text("SHOW x"), true, pending());
    let error = ends("a read at the master", read)
        .await
        .expect_err("nobody read");
    assert_eq!(error.sqlstate, "57P03", "{error}");
    let nothing = Ordered::Nothing(Vec::new());
    let ordered = shim.invoke(&nothing);
    let error = ends("a request", ordered)
        .await
        .expect_err("nobody ordered it");
    assert_eq!(error.sqlstate, "08007", "{error}");
    let commit = shim.begin(Vec::new(), Isolation::Snapshot, false).commit();
    let error = ends("a commit", commit)
        .await
        .expect_err("nobody committed");
    assert_eq!(error.sqlstate, "08007", "{error}");
    let ready = shim.ready(PATIENCE);
    assert!(ends("being ready", ready).await.is_err());
    assert!(ends("the parameters", shim.parameters()).await.is_err());
    let audit = ends("an audit", shim.audit(PATIENCE)).await;
    assert!(audit.expect("it ends").is_empty());
}
