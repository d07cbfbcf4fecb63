//! COPY and results of any size.

use bytes::Bytes;
use pgsession::{Error, Limits, Session, Statement};

use crate::server::Server;
use crate::{cached, kinds, sqlstate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_and_large_results() {
    let server = Server::start();
    let mut session = server.session().await;
    session
        .execute("CREATE TABLE t(a int, b text)")
        .await
        .unwrap();
    copy_goes_in_and_out(&mut session).await;
    a_copy_that_fails_leaves_the_pipeline_in_step(&mut session).await;
    both_directions_can_be_full_at_once(&mut session).await;
    too_large_a_result_is_drained(&mut session).await;
}

async fn copy_goes_in_and_out(session: &mut Session) {
    let large = Bytes::from(format!("3\t{}\n", "z".repeat(100_000)));
    let payloads = vec![
        Bytes::from_static(b"1\tone\n2\tt"),
        Bytes::from_static(b"wo\n"),
        large,
    ];
    let fill = Statement {
        copy_in: Some(payloads),
        ..Statement::new("COPY t FROM STDIN")
    };
    let outcomes = session
        .run(vec![
            fill,
            Statement::new("COPY t TO STDOUT"),
            Statement::new("SELECT count(*) FROM t"),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes[0].tag.as_deref(), Some("COPY 3"));
    assert_eq!(kinds(&outcomes[0]), "nGC");
    assert_eq!(kinds(&outcomes[1]), "nHdddcC");
    assert_eq!(
        (&outcomes[1].frames[2][5..], outcomes[1].rows),
        (&b"1\tone\n"[..], 3)
    );
    assert_eq!(outcomes[2].scalar().as_deref(), Some("3"));

    let sorted = session
        .execute("COPY (SELECT * FROM t ORDER BY a DESC) TO STDOUT")
        .await
        .unwrap();
    assert_eq!(sorted.result_digest(None), outcomes[1].result_digest(None));
}

async fn a_copy_that_fails_leaves_the_pipeline_in_step(session: &mut Session) {
    let feed = |sql: &str, data: &'static [u8]| Statement {
        copy_in: Some(vec![Bytes::from_static(data); 10]),
        ..Statement::new(sql)
    };
    let outcomes = session
        .run(vec![
            feed("COPY nowhere FROM STDIN", b"1\tx\n"),
            feed("COPY t FROM STDIN", b"not a number\tx\n"),
            Statement::new("COPY t FROM STDIN"),
            feed("COPY t FROM STDIN", b""),
            Statement::new("SELECT count(*) FROM t"),
        ])
        .await
        .unwrap();
    assert_eq!(sqlstate(&outcomes[0]), Some("42P01"));
    assert_eq!(sqlstate(&outcomes[1]), Some("22P02"));
    assert_eq!(sqlstate(&outcomes[2]), Some("57014"));
    assert_eq!(outcomes[3].tag.as_deref(), Some("COPY 0"));
    assert_eq!(outcomes[4].scalar().as_deref(), Some("3"));
}

/// Megabytes of questions behind megabytes of answers: a writer that does not read would hang.
async fn both_directions_can_be_full_at_once(session: &mut Session) {
    let statement = Statement {
        parameters: vec![Some(Bytes::from(vec![b'x'; 1 << 20]))],
        ..Statement::new("SELECT $1::text")
    };
    let outcomes = session.run(vec![statement; 20]).await.unwrap();
    assert!(outcomes.iter().all(|o| o.frames[1].len() > 1 << 20));
}

async fn too_large_a_result_is_drained(session: &mut Session) {
    let rows = "SELECT i FROM generate_series(1, 300000) i";
    let all = session.execute(rows).await.unwrap();
    assert_eq!((all.rows, all.frames.len()), (300_000, 300_002));

    session.set_limits(Limits {
        outcome_bytes: 1 << 20,
        frame_bytes: 1 << 20,
    });
    let error = session.execute(rows).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 0x10_0000 }),
        "{error}"
    );
    assert_eq!(error.sqlstate(), "54000");
    let statements = vec![cached("SELECT repeat('x', 2000000)"), cached("SELECT 9")];
    assert!(matches!(
        session.run(statements).await,
        Err(Error::TooLarge { .. })
    ));
    let next = session
        .run(vec![
            cached("SELECT 9"),
            Statement::new("SELECT count(*) FROM pg_prepared_statements"),
        ])
        .await
        .unwrap();
    assert_eq!(next[0].scalar().as_deref(), Some("9"));
    assert_eq!(
        next[1].scalar().as_deref(),
        Some("1"),
        "what was abandoned is closed"
    );
}
