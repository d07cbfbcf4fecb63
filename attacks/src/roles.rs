//! A client that speaks for itself and would be somebody else.

use harness::{Cluster, column};
use txn::{Isolation, Operation};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_acts_as_its_own_role_whatever_it_sends() {
    let cluster = Cluster::start().await;
    for replica in 0..4 {
        // What an administrator's import leaves: the owner of the database is a member of another role.
        let setup = "CREATE ROLE other; GRANT other TO postgres";
        cluster
            .at(replica)
            .await
            .batch_execute(setup)
            .await
            .unwrap();
    }
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a text)")
        .await
        .unwrap();
    let mallory = cluster.mallory().await;
    for name in ["role", "Role", "session_authorization"] {
        let settings = vec![(name.to_owned(), "other".to_owned())];
        let write = || Operation::text("INSERT INTO t VALUES (current_user)");

        let mut transaction = mallory.begin(settings.clone(), Isolation::Snapshot, false);
        let error = transaction.execute(write(), false).await.unwrap_err();
        assert_eq!(
            error.sqlstate, "42501",
            "{name} in a transaction: {error:?}"
        );
        assert!(error.message.contains("\"other\""), "{error:?}");

        let pending = std::future::pending::<()>();
        let error = mallory
            .auto(settings.clone(), write(), pending)
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate, "42501", "{name} in autocommit: {error:?}");

        let executed = mallory
            .exec(settings, Operation::text("VACUUM t"))
            .await
            .unwrap();
        let sqlstate = executed.frames.iter().find_map(txn::result::sqlstate);
        assert_eq!(
            sqlstate.as_deref(),
            Some(&b"42501"[..]),
            "{name} outside of transactions"
        );
    }
    assert!(column(&client, "SELECT a FROM t").await.unwrap().is_empty());
    client
        .batch_execute("INSERT INTO t VALUES (current_user)")
        .await
        .unwrap();
    cluster.hold("SELECT a FROM t", &["postgres"]).await;
    cluster.audit().await;
    cluster.end().await;
}
