//! Receipts while one replica lies, and what gives none.

use client_shim::{Receipt, Wanted};
use consensus::ReplicaId;
use harness::{Cluster, column, failure};
use replica::executor::lies::Lie;
use tokio_postgres::Client;
use txn::client::Answer;
use txn::receipt::Sort;
use txn::{Commit, Ordered, TxId};

const LIAR: u16 = 3;

/// The receipt of what this session did last, verified against the members alone.
async fn receipt(cluster: &Cluster, client: &Client) -> Receipt {
    let text = column(client, "SHOW steel.receipt").await.unwrap();
    let receipt = Receipt::parse(&text[0]).unwrap();
    receipt.verify(&cluster.file.membership()).unwrap();
    receipt
}

async fn none(client: &Client) {
    let (sqlstate, _) = failure(column(client, "SHOW steel.receipt").await);
    assert_eq!(sqlstate, "55000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_spoils_no_receipt_and_what_was_not_committed_has_none() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    none(&client).await;
    client
        .batch_execute("CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO account VALUES (1, 0)")
        .await
        .unwrap();

    for lie in [Lie::SpoilReceipts, Lie::ReceiptsOfOtherWrites] {
        cluster.lies(LIAR, &[lie]);
        // The replicas that are asked first go round.
        for n in 0..6 {
            let update = format!("UPDATE account SET n = {n}");
            client.batch_execute(&update).await.unwrap();
            let receipt = receipt(&cluster, &client).await;
            assert!(receipt.fact.executed([update.as_str()].into_iter()));
            assert_eq!(receipt.fact.sort, Sort::Autocommit);
            assert!(!receipt.fact.wrote_nothing());
            let mut signers = receipt.signatures.iter();
            assert!(
                signers.all(|(replica, _)| *replica != ReplicaId(LIAR)),
                "{lie:?}"
            );
        }
    }
    cluster.lies(LIAR, &[]);
    what_was_not_committed_has_none(&cluster, &client).await;
    the_replicas_themselves_refuse(&cluster, &client).await;
    cluster.audit().await;
    cluster.end().await;
}

async fn what_was_not_committed_has_none(cluster: &Cluster, client: &Client) {
    // A read changes nothing about it.
    let before = receipt(cluster, client).await;
    column(client, "SELECT n FROM account").await.unwrap();
    assert_eq!(receipt(cluster, client).await.fact, before.fact);

    // An open transaction has none, and it fails as any transaction does on an error.
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let (sqlstate, _) = failure(column(client, "SHOW steel.receipt").await);
    assert_eq!(sqlstate, "25001");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(receipt(cluster, client).await.fact, before.fact);
    let (sqlstate, _) =
        failure(column(client, "UPDATE account SET n = 50; SHOW steel.receipt").await);
    assert_eq!(sqlstate, "25001", "the string is one transaction");

    // A failed statement.
    let repeated = client
        .batch_execute("INSERT INTO account VALUES (1, 0)")
        .await;
    assert_eq!(failure(repeated).0, "23505");
    none(client).await;

    // An aborted transaction.
    let winner = cluster.client().await;
    client
        .batch_execute("BEGIN; SELECT n FROM account")
        .await
        .unwrap();
    winner
        .batch_execute("UPDATE account SET n = 60")
        .await
        .unwrap();
    let lost = client
        .batch_execute("UPDATE account SET n = 61; COMMIT")
        .await;
    assert_eq!(failure(lost).0, "40001");
    client.batch_execute("ROLLBACK").await.unwrap();
    none(client).await;
    assert!(!receipt(cluster, &winner).await.fact.wrote_nothing());

    // A transaction that only reads is judged too, and says that it wrote nothing.
    client
        .batch_execute("BEGIN; SELECT n FROM account; COMMIT")
        .await
        .unwrap();
    let read = receipt(cluster, client).await.fact;
    assert!(read.wrote_nothing());
    assert_eq!((read.sort, read.steps), (Sort::Transaction, 1));
}

/// Whatever a client asks them.
async fn the_replicas_themselves_refuse(cluster: &Cluster, client: &Client) {
    let mallory = cluster.mallory().await;
    let known = receipt(cluster, client).await.fact;
    let by_name = mallory.receipt_of(Wanted::Transaction(known.tx)).await;
    assert_eq!(by_name.unwrap().fact, known);
    let tx = TxId {
        seq: known.tx.seq + 1_000,
        ..known.tx
    };
    let aborted = mallory
        .invoke(&Ordered::Commit(Commit {
            tx,
            epoch: 0,
            steps: Vec::new(),
            word: None,
        }))
        .await
        .unwrap();
    assert_eq!(aborted.answer, Answer::Aborted);
    let nothing = mallory.invoke(&Ordered::Nothing(Vec::new())).await.unwrap();
    let place = |height, index| Wanted::Place { height, index };
    let cases = [
        (place(aborted.height, aborted.index), "not committed"),
        (place(nothing.height, nothing.index), "not committed"),
        (place(known.header.height, 9_999), "not committed"),
        (place(0, 0), "not known"),
        (place(u64::MAX, 0), "not known"),
        (Wanted::Transaction(tx), "not known"),
    ];
    for (wanted, why) in cases {
        let error = mallory.receipt_of(wanted).await.unwrap_err();
        assert_eq!(error.sqlstate, "55000", "{wanted:?}: {error}");
        assert!(error.message.contains(why), "{wanted:?}: {error}");
    }
}
