//! Made, started, asked, stopped, started again.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use pgsession::Session;

use super::{ask, client, config, room, started};
use crate::postgres::{Differences, Error, MayDiffer, PostgresServer, StopMode, external};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_outlives_stop_and_restart() {
    let dir = room();
    let mut server = started(config(dir.path())).await;
    let mut session = client(&server).await;
    assert_eq!(
        ask(&mut session, "SHOW is_superuser").await.as_deref(),
        Some("off")
    );
    assert_eq!(ask(&mut session, "SHOW fsync").await.as_deref(), Some("on"));
    assert_eq!(
        ask(&mut session, "SHOW data_checksums").await.as_deref(),
        Some("on")
    );
    assert_eq!(
        ask(&mut session, "SHOW shared_buffers").await.as_deref(),
        Some("16MB")
    );
    assert_eq!(
        ask(&mut session, "SHOW listen_addresses").await.as_deref(),
        Some("")
    );
    assert_eq!(
        ask(&mut session, "SHOW server_encoding").await.as_deref(),
        Some("UTF8")
    );
    let owner =
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()";
    assert_eq!(ask(&mut session, owner).await.as_deref(), Some("postgres"));
    ask(&mut session, "CREATE TABLE public.t AS SELECT 42 AS a").await;
    let reported = session
        .execute("INSERT INTO public.t VALUES (43)")
        .await
        .unwrap();
    assert_eq!(
        reported.captured.len(),
        1,
        "the database's token must be known: {reported:?}"
    );

    let before = server.fingerprint().await.unwrap();
    assert_eq!(before.settings["TimeZone"], "UTC");
    let found = external::check(&format!("host={}", server.address().socket_dir.display())).await;
    assert_eq!(found.unwrap(), server.address());

    let dsn = format!(
        "host={} user=postgres",
        server.address().socket_dir.display()
    );
    let error = external::check(&dsn).await.unwrap_err().to_string();
    assert!(error.contains("ALTER ROLE postgres SUPERUSER"), "{error}");

    server.stop(StopMode::Fast).await.unwrap();
    assert!(!server.is_alive() && server.pid().is_none());
    server.start().await.unwrap();
    server.start().await.unwrap();
    let mut session = client(&server).await;
    assert_eq!(
        ask(&mut session, "SELECT sum(a) FROM public.t")
            .await
            .as_deref(),
        Some("85")
    );
    let after = server.fingerprint().await.unwrap();
    let nothing = MayDiffer::default();
    assert_eq!(before.compare(&after, &nothing), Differences::default());
    server.stop(StopMode::Immediate).await.unwrap();

    drop(server);
    let server = started(config(dir.path())).await;
    assert_eq!(
        ask(&mut client(&server).await, "SELECT sum(a) FROM public.t")
            .await
            .as_deref(),
        Some("85")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sessions_heed_no_setting_of_a_database() {
    let dir = room();
    let server = started(config(dir.path())).await;
    let mut session = client(&server).await;
    for setting in [
        "role = postgres",
        "search_path = public",
        "statement_timeout = 1",
    ] {
        // Not every setting is an owner's to change; what is must not reach control sessions.
        let _ = session
            .execute(&format!("ALTER DATABASE postgres SET {setting}"))
            .await
            .unwrap();
    }
    let mut control = Session::connect(&server.address().control("postgres"))
        .await
        .unwrap();
    assert_eq!(
        ask(&mut control, "SELECT current_user").await.as_deref(),
        Some("steel")
    );
    assert_eq!(
        ask(&mut control, "SHOW is_superuser").await.as_deref(),
        Some("on")
    );
    assert_eq!(
        ask(&mut control, "SHOW statement_timeout").await.as_deref(),
        Some("0")
    );
    assert_eq!(
        ask(&mut control, "SHOW search_path").await.as_deref(),
        Some("pg_catalog, pg_temp")
    );
    let query = server.address().query("postgres").await.unwrap();
    let row = query
        .client
        .query_one(
            "SELECT current_user::text, current_setting('search_path')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        ("steel".into(), "pg_catalog, pg_temp".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_too_long_for_a_socket_moves_the_socket() {
    let dir = room();
    let deep = dir.path().join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    let mut server = started(config(&deep)).await;
    let socket_dir = server.address().socket_dir;
    assert!(!socket_dir.starts_with(dir.path()), "{socket_dir:?}");
    let mode = std::fs::metadata(&socket_dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(
        ask(&mut client(&server).await, "SELECT 1").await.as_deref(),
        Some("1")
    );
    server.stop(StopMode::Fast).await.unwrap();
    drop(server);

    // Somebody else's directory in that place is not trusted.
    std::fs::set_permissions(&socket_dir, PermissionsExt::from_mode(0o777)).unwrap();
    let error = PostgresServer::prepare(config(&deep))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&socket_dir.display().to_string()), "{error}");
    std::fs::remove_dir_all(&socket_dir).unwrap();

    let mut asked = config(dir.path());
    asked.socket_dir = Some(deep);
    assert!(matches!(
        PostgresServer::prepare(asked).await,
        Err(Error::Config(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_servers_come_up_together() {
    let dir = room();
    let start = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|i| {
            let replica = dir.path().join(format!("replica-{i}"));
            tokio::spawn(async move { started(config(&replica)).await })
        })
        .collect();
    let mut servers = Vec::new();
    for task in tasks {
        servers.push(task.await.unwrap());
    }
    let took = start.elapsed();
    println!("four servers from nothing: {took:?}");
    let first = servers[0].fingerprint().await.unwrap();
    for server in &mut servers {
        let other = server.fingerprint().await.unwrap();
        let nothing = MayDiffer::default();
        assert_eq!(first.compare(&other, &nothing), Differences::default());
        server.stop(StopMode::Kill).await.unwrap();
    }
    // Other tests run beside this one.
    assert!(took < Duration::from_secs(30), "{took:?}");
}
