//! Prepared statements kept for reuse.

use pgsession::{Outcome, Session, Statement};

use crate::server::Server;
use crate::{cached, kinds, one, sqlstate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_statements() {
    let server = Server::start();
    let mut session = server.session().await;
    session
        .execute("CREATE TABLE t(a int); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    a_statement_is_parsed_once(&mut session).await;
    the_cache_has_a_bound(&mut session).await;
    a_changed_table_costs_nobody_an_error(&server, &mut session).await;
    a_schema_change_in_the_pipeline_is_respected(&mut session).await;
    a_parse_that_failed_is_not_relied_on(&mut session).await;
    statements_lost_on_the_server_are_prepared_again(&mut session).await;
}

async fn kept(session: &mut Session) -> Vec<String> {
    let rows = session
        .execute("SELECT statement FROM pg_prepared_statements ORDER BY 1")
        .await
        .unwrap();
    rows.values()
        .map(|r| String::from_utf8(r[0].as_ref().unwrap().to_vec()).unwrap())
        .collect()
}

async fn a_statement_is_parsed_once(session: &mut Session) {
    for _ in 0..3 {
        let outcomes = session.run(vec![cached("SELECT 1"); 2]).await.unwrap();
        assert_eq!(
            outcomes.iter().map(kinds).collect::<Vec<_>>(),
            ["TDC", "TDC"]
        );
    }
    assert_eq!(kept(session).await, ["SELECT 1"]);
}

async fn the_cache_has_a_bound(session: &mut Session) {
    for start in [0, 100, 200] {
        let many = (start..start + 100)
            .map(|i| cached(&format!("SELECT {i}")))
            .collect();
        session.run(many).await.unwrap();
    }
    let kept = kept(session).await;
    assert_eq!(kept.len(), 128);
    assert!(kept.contains(&"SELECT 299".to_owned()) && !kept.contains(&"SELECT 1".to_owned()));
}

async fn a_changed_table_costs_nobody_an_error(server: &Server, session: &mut Session) {
    let mut other = server.session().await;
    let read = cached("SELECT * FROM t");
    assert_eq!(
        one(session, read.clone())
            .await
            .values()
            .next()
            .unwrap()
            .len(),
        1
    );
    other.execute("ALTER TABLE t ADD b int").await.unwrap();
    let outcomes = session
        .run(vec![cached("SELECT 0"), read.clone()])
        .await
        .unwrap();
    assert_eq!(sqlstate(&outcomes[1]), None);
    assert_eq!(outcomes[1].values().next().unwrap().len(), 2);

    // Where something ran behind it, or in a transaction, the error has to be told, once.
    other.execute("ALTER TABLE t ADD c int").await.unwrap();
    let outcomes = session
        .run(vec![read.clone(), cached("SELECT 0")])
        .await
        .unwrap();
    assert_eq!(sqlstate(&outcomes[0]), Some("0A000"));
    assert_eq!(
        one(session, read.clone())
            .await
            .values()
            .next()
            .unwrap()
            .len(),
        3
    );

    other.execute("ALTER TABLE t ADD d int").await.unwrap();
    session.forget_statements();
    let outcomes = session
        .run(vec![
            Statement::new("BEGIN"),
            read,
            Statement::new("COMMIT"),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes[1].values().next().unwrap().len(), 4);
    assert_eq!(kept(session).await, ["SELECT * FROM t"]);
}

async fn a_schema_change_in_the_pipeline_is_respected(session: &mut Session) {
    let read = cached("SELECT * FROM t");
    let columns = |outcome: &Outcome| outcome.values().next().unwrap().len();
    one(session, read.clone()).await;
    let together = vec![
        Statement::new("BEGIN"),
        read.clone(),
        Statement::new("SAVEPOINT s"),
        Statement::new("ALTER TABLE t ADD e int"),
        read.clone(),
        Statement::new("ROLLBACK TO s"),
        read.clone(),
        Statement::new("ROLLBACK"),
        read.clone(),
    ];
    let outcomes = session.run(together.clone()).await.unwrap();
    assert_eq!([1, 4, 6, 8].map(|i| columns(&outcomes[i])), [4, 5, 4, 4]);
    let mut apart = Vec::new();
    for statement in together {
        apart.push(one(session, statement).await);
    }
    assert_eq!([1, 4, 6, 8].map(|i| columns(&apart[i])), [4, 5, 4, 4]);
}

async fn a_parse_that_failed_is_not_relied_on(session: &mut Session) {
    let wrong = cached("SELECT * FROM nowhere");
    let outcomes = session
        .run(vec![wrong.clone(), wrong.clone()])
        .await
        .unwrap();
    assert_eq!(
        outcomes.iter().map(sqlstate).collect::<Vec<_>>(),
        [Some("42P01"); 2]
    );
    assert_eq!(sqlstate(&one(session, wrong).await), Some("42P01"));

    let doomed = ["BEGIN", "SELECT 1/0", "SELECT 77", "SELECT 77", "ROLLBACK"].map(cached);
    let outcomes = session.run(doomed.to_vec()).await.unwrap();
    assert_eq!(sqlstate(&outcomes[3]), Some("25P02"));
    assert_eq!(sqlstate(&one(session, cached("SELECT 77")).await), None);
}

async fn statements_lost_on_the_server_are_prepared_again(session: &mut Session) {
    let ask = cached("SELECT 1234");
    one(session, ask.clone()).await;
    // Out of sight of the command tag.
    session.execute("DEALLOCATE ALL; SELECT 1").await.unwrap();
    assert_eq!(
        one(session, ask.clone()).await.scalar().as_deref(),
        Some("1234")
    );
    session.execute("DEALLOCATE ALL").await.unwrap();
    let outcomes = session
        .run(vec![Statement::new("BEGIN"), ask, Statement::new("COMMIT")])
        .await
        .unwrap();
    assert_eq!(outcomes[1].scalar().as_deref(), Some("1234"));
}
