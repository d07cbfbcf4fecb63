//! Notices, cancels and ends of sessions.

use std::time::{Duration, Instant};

use pgsession::{Error, Session, Statement};

use crate::server::Server;
use crate::{kinds, run, sqlstate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_cancel_and_the_end() {
    let server = Server::start();
    let mut session = server.session().await;
    capture_notices_need_the_token(&server, &mut session).await;
    another_session_cancels(&server, &mut session).await;
    a_dropped_run_breaks_the_session(&server).await;
    a_terminated_session_says_why(&server, &mut session).await;
    refusals_are_told(&server).await;
}

async fn capture_notices_need_the_token(server: &Server, session: &mut Session) {
    let raise = |state: &str, text: &str| {
        format!("DO $$ BEGIN RAISE NOTICE USING ERRCODE = '{state}', MESSAGE = '{text}'; END $$")
    };
    let report = raise("ST001", r#"secret {"e":"rows"}"#);
    let forged = raise("ST001", r#"guess {"e":"rows"}"#);
    let plain = raise("01000", "secret hello");
    let outcomes = run(session, &[&report, &forged, &plain]).await;
    assert_eq!(outcomes[0].captured[0].json, r#"{"e":"rows"}"#);
    assert!(
        outcomes[0].captured[0]
            .context
            .starts_with(b"PL/pgSQL function inline_code_block")
    );
    assert_eq!(
        outcomes.iter().map(kinds).collect::<Vec<_>>(),
        ["nC", "nNC", "nNC"]
    );
    assert!(outcomes[1].captured.is_empty() && outcomes[2].captured.is_empty());

    let mut target = server.target();
    target.token = None;
    let mut blind = server.session_as(&target).await;
    let outcome = blind.execute(&report).await.unwrap();
    assert_eq!(
        (kinds(&outcome).as_str(), outcome.captured.len()),
        ("NC", 0)
    );
    blind.close().await;
}

async fn another_session_cancels(server: &Server, session: &mut Session) {
    let mut control = server.session().await;
    let cancel = format!("SELECT pg_cancel_backend({})", session.pid());
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'",
        session.pid()
    );
    let start = Instant::now();
    let sleeper = session.run(vec![
        Statement::new("BEGIN"),
        Statement::new("SELECT pg_sleep(60)"),
        Statement::new("ROLLBACK"),
    ]);
    let canceller = async {
        while control.execute(&asleep).await.unwrap().scalar().as_deref() != Some("1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        control.execute(&cancel).await.unwrap()
    };
    let (outcomes, cancelled) = tokio::join!(sleeper, canceller);
    assert_eq!(cancelled.scalar().as_deref(), Some("t"));
    assert_eq!(sqlstate(&outcomes.unwrap()[1]), Some("57014"));
    assert!(start.elapsed() < Duration::from_secs(10), "it slept on");
    assert!(!session.is_broken());
}

async fn a_dropped_run_breaks_the_session(server: &Server) {
    let mut session = server.session().await;
    let sleep = session.execute("SELECT pg_sleep(1)");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), sleep)
            .await
            .is_err()
    );
    assert!(session.is_broken());
    assert!(matches!(
        session.execute("SELECT 1").await,
        Err(Error::Broken)
    ));
}

async fn a_terminated_session_says_why(server: &Server, session: &mut Session) {
    let mut control = server.session().await;
    let terminate = format!("SELECT pg_terminate_backend({}, 5000)", session.pid());
    control.execute(&terminate).await.unwrap();
    let error = session.execute("SELECT 1").await.unwrap_err();
    assert_eq!(error.sqlstate(), "57P01", "{error}");
    assert!(session.is_broken());
}

async fn refusals_are_told(server: &Server) {
    let mut target = server.target();
    target.user = "nobody_here".into();
    let error = Session::connect(&target).await.unwrap_err();
    assert_eq!(error.sqlstate(), "28000", "{error}");
    target.port = 1;
    assert!(matches!(
        Session::connect(&target).await,
        Err(Error::Connect { .. })
    ));
}
