//! Statements in one write.

use bytes::Bytes;
use pgsession::{Describe, Error, Session, Statement};

use crate::server::Server;
use crate::{kinds, one, run, sqlstate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines() {
    let server = Server::start();
    let mut session = server.session().await;
    assert!(session.pid() > 0);
    assert!(session.parameters()["server_version"].starts_with(char::is_numeric));
    assert_eq!(session.parameters()["application_name"], "test");

    a_failed_statement_does_not_stop_those_behind_it(&mut session).await;
    an_error_in_a_transaction_fails_the_rest_of_it(&mut session).await;
    parameters_travel_in_text_and_binary(&mut session).await;
    a_description_without_execution(&mut session).await;
    odd_statements_keep_the_pipeline_in_step(&mut session).await;
    a_simple_query_runs_several_commands(&mut session).await;
    digests_of_permuted_rows(&mut session).await;
}

async fn a_failed_statement_does_not_stop_those_behind_it(session: &mut Session) {
    let outcomes = run(session, &["SELECT 1", "SELECT 1/0", "SELEC", "SELECT 2"]).await;
    assert_eq!(
        outcomes.iter().map(kinds).collect::<Vec<_>>(),
        ["TDC", "E", "E", "TDC"]
    );
    assert_eq!(sqlstate(&outcomes[1]), Some("22012"));
    assert_eq!(sqlstate(&outcomes[2]), Some("42601"));
    assert_eq!(outcomes[3].scalar().as_deref(), Some("2"));
    assert_eq!(outcomes[3].tag.as_deref(), Some("SELECT 1"));
    assert_eq!((outcomes[3].rows, outcomes[3].transaction), (1, b'I'));
}

async fn an_error_in_a_transaction_fails_the_rest_of_it(session: &mut Session) {
    let sql = [
        "BEGIN",
        "SAVEPOINT s",
        "SELECT 1/0",
        "SELECT 1",
        "ROLLBACK TO s",
        "SELECT 3",
        "COMMIT",
    ];
    let outcomes = run(session, &sql).await;
    let status: String = outcomes.iter().map(|o| char::from(o.transaction)).collect();
    assert_eq!(status, "TTEETTI");
    assert_eq!(sqlstate(&outcomes[3]), Some("25P02"));
    assert_eq!(outcomes[5].scalar().as_deref(), Some("3"));
    assert_eq!(session.transaction(), b'I');
}

async fn parameters_travel_in_text_and_binary(session: &mut Session) {
    let statement = Statement {
        parameter_types: vec![23, 25, 0],
        parameters: vec![
            Some(Bytes::copy_from_slice(&42i32.to_be_bytes())),
            Some(Bytes::from_static(b"text")),
            None,
        ],
        parameter_formats: vec![1, 0, 0],
        result_formats: vec![1, 0, 0],
        ..Statement::new("SELECT $1 + 1, $2 || '!', $3::int IS NULL")
    };
    let outcome = one(session, statement.clone()).await;
    let row = outcome.values().next().unwrap();
    assert_eq!(row[0].as_deref(), Some(&43i32.to_be_bytes()[..]));
    assert_eq!(row[1].as_deref(), Some(&b"text!"[..]));
    assert_eq!(row[2].as_deref(), Some(&b"t"[..]));

    let too_many = Statement {
        parameters: vec![None; 70_000],
        ..Statement::new("SELECT 1")
    };
    assert!(matches!(
        session.run(vec![too_many]).await,
        Err(Error::Invalid(_))
    ));
    let nul = Statement::new("SELECT 1\0");
    assert!(matches!(
        session.run(vec![nul]).await,
        Err(Error::Invalid(_))
    ));
    let mismatch = Statement {
        parameter_formats: vec![1, 1],
        ..statement
    };
    assert_eq!(sqlstate(&one(session, mismatch).await), Some("08P01"));
    assert!(!session.is_broken());
}

async fn a_description_without_execution(session: &mut Session) {
    for keep in [false, true, true] {
        let ask = |sql: &str| Statement {
            describe: Describe::Statement,
            cached: keep,
            ..Statement::new(sql)
        };
        let outcomes = session
            .run(vec![
                ask("SELECT 1/$1::int"),
                ask("SET work_mem = '5MB'"),
                ask("SELECT * FROM nowhere"),
            ])
            .await
            .unwrap();
        assert_eq!(
            outcomes.iter().map(kinds).collect::<Vec<_>>(),
            ["tT", "tn", "E"]
        );
    }
    let setting = session.execute("SHOW work_mem").await.unwrap();
    assert_ne!(setting.scalar().as_deref(), Some("5MB"));
}

async fn odd_statements_keep_the_pipeline_in_step(session: &mut Session) {
    let fed = Statement {
        copy_in: Some(vec![Bytes::from_static(b"x")]),
        ..Statement::new("SELECT 5")
    };
    let outcomes = session
        .run(vec![
            Statement::new(""),
            fed,
            Statement::new("SET TimeZone = 'Asia/Tokyo'"),
            Statement::new("SELECT 6"),
        ])
        .await
        .unwrap();
    assert_eq!(
        outcomes.iter().map(kinds).collect::<Vec<_>>(),
        ["nI", "TDC", "nCS", "TDC"].map(String::from)
    );
    assert_eq!(session.parameters()["TimeZone"], "Asia/Tokyo");
    assert!(session.run(Vec::new()).await.unwrap().is_empty());
}

async fn a_simple_query_runs_several_commands(session: &mut Session) {
    let outcome = session.execute("SELECT 1; SELECT 2, 3").await.unwrap();
    assert_eq!(kinds(&outcome), "TDCTDC");
    let outcome = session
        .execute("CREATE TEMP TABLE q(a int); COPY q FROM STDIN")
        .await
        .unwrap();
    assert_eq!(sqlstate(&outcome), Some("57014"));
    let outcome = session.execute("SELECT 7").await.unwrap();
    assert_eq!(outcome.scalar().as_deref(), Some("7"));
}

async fn digests_of_permuted_rows(session: &mut Session) {
    let sql =
        |order| format!("SELECT i, i % 2 AS parity FROM generate_series(1, 50) i ORDER BY {order}");
    let up = session.execute(&sql("parity, i")).await.unwrap();
    let down = session.execute(&sql("parity, i DESC")).await.unwrap();
    let fewer = session.execute(&sql("parity, i LIMIT 49")).await.unwrap();
    assert_eq!(up.result_digest(None), down.result_digest(None));
    assert_eq!(up.result_digest(Some(&[1])), down.result_digest(Some(&[1])));
    assert_ne!(
        up.result_digest(Some(&[1, 0])),
        down.result_digest(Some(&[1, 0]))
    );
    assert_ne!(up.result_digest(None), fewer.result_digest(None));

    let failed = session
        .execute("SELECT 1/(i-3) FROM generate_series(1,5) i")
        .await
        .unwrap();
    let other = session.execute("SELECT 1/0").await.unwrap();
    assert_eq!(failed.result_digest(None), other.result_digest(None));
}
