//! The systems under test: each starts, commits, ends, and leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use testbed::postgres::with_client;
use testbed::{Ground, Links, Lone, Pgpool, Settings, Setup, Standbys, System};

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn setup(base: &Path, links: Links) -> Setup {
    let ground = Ground {
        base: base.to_owned(),
        cores: None,
        network: None,
    };
    let mut settings = Settings::found().unwrap();
    settings.shared_buffers_mib = 16;
    Setup {
        ground,
        links,
        client_site: 0,
        settings,
    }
}

/// A directory that the servers' account can pass through.
#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn base() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let all = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(all).tempdir().unwrap()
}

#[expect(clippy::unwrap_used, reason = "a test may panic")]
async fn commits_a_row(dsn: &str) {
    let said = with_client(dsn, async |client| {
        client
            .batch_execute("CREATE TABLE t (a int PRIMARY KEY)")
            .await?;
        client
            .batch_execute("BEGIN; INSERT INTO t VALUES (7); COMMIT")
            .await?;
        let one = client.query_one("SELECT 1 AS one", &[]).await?;
        let row = client
            .query_one(
                "SELECT a, current_setting('transaction_isolation') FROM t",
                &[],
            )
            .await?;
        Ok((
            one.get::<_, i32>(0),
            row.get::<_, i32>(0),
            row.get::<_, String>(1),
        ))
    });
    assert_eq!(said.await.unwrap(), (1, 7, "repeatable read".to_owned()));
}

/// Starts and uses a system, stops it, and sees that nothing is left.
#[expect(clippy::unwrap_used, reason = "a test may panic")]
async fn lives_and_ends<S: System>(
    base: &Path,
    system: &mut S,
    hosts: usize,
    look: impl AsyncFnOnce(&mut S),
) {
    system.start().await.unwrap();
    commits_a_row(&system.dsn()).await;
    look(system).await;
    assert_eq!(system.hosts().len(), hosts);
    let running: Vec<i32> = system
        .hosts()
        .iter()
        .flat_map(|host| host.processes())
        .collect();
    assert!(running.len() >= hosts, "{running:?}");
    let used = (system as &dyn System).cpu_seconds().unwrap();
    assert!(used["postgresql"] > 0.0, "{used:?}");
    system.settle().await.unwrap();
    system.stop().await.unwrap();
    assert!(system.hosts().is_empty());
    for pid in running {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    assert_eq!(std::fs::read_dir(base).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_server_lives_and_ends() {
    let base = base();
    let mut system = Lone::new(setup(base.path(), Links::none()));
    lives_and_ends(base.path(), &mut system, 1, async |_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_dropped_while_it_runs_leaves_nothing() {
    let base = base();
    let mut system = Lone::new(setup(base.path(), Links::none()));
    system.start().await.unwrap();
    let running = system.hosts()[0].processes();
    (&system as &dyn System).pause().unwrap();
    drop(system);
    for pid in running {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_two_of_three_standbys_over_delayed_links() {
    let base = base();
    let mut system = Standbys::new(setup(base.path(), Links::lan(Duration::from_millis(20))));
    lives_and_ends(
        base.path(),
        &mut system,
        4,
        async |system: &mut Standbys| {
            let dsn = system.dsn();
            let states = with_client(&dsn, async |client| {
                let rows = client.query(
                    "SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1",
                    &[],
                );
                let rows = rows.await?;
                Ok(rows
                    .iter()
                    .map(|row| (row.get(0), row.get(1)))
                    .collect::<Vec<(String, String)>>())
            });
            let quorum = |name: &str| (name.to_owned(), "quorum".to_owned());
            assert_eq!(states.await.unwrap(), ["s1", "s2", "s3"].map(quorum));
            // The log travels 20 ms to a standby, and its answer 20 ms back.
            let began = std::time::Instant::now();
            let insert = with_client(&dsn, async |client| {
                client.batch_execute("INSERT INTO t VALUES (8)").await
            });
            insert.await.unwrap();
            assert!(
                began.elapsed() >= Duration::from_millis(40),
                "{:?}",
                began.elapsed()
            );
            assert_eq!(system.relays().len(), 3);

            // One standby may be away, two may not.
            system.standbys()[0].host().pause().unwrap();
            let insert = with_client(&dsn, async |client| {
                client.batch_execute("INSERT INTO t VALUES (9)").await
            });
            tokio::time::timeout(Duration::from_secs(20), insert)
                .await
                .unwrap()
                .unwrap();
            system.standbys()[1].host().pause().unwrap();
            let insert = with_client(&dsn, async |client| {
                client.batch_execute("INSERT INTO t VALUES (10)").await
            });
            let waited = tokio::time::timeout(Duration::from_millis(500), insert).await;
            assert!(waited.is_err(), "a commit went through without its quorum");
            (system as &dyn System).resume();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgpool_writes_to_four_servers() {
    if !Path::new("/usr/sbin/pgpool").is_file() {
        eprintln!("skipped: pgpool2 is not installed; apt-get install pgpool2");
        return;
    }
    let base = base();
    let mut system = Pgpool::new(setup(base.path(), Links::none()));
    lives_and_ends(base.path(), &mut system, 5, async |system: &mut Pgpool| {
        assert!(
            system.description().contains("snapshot-isolation"),
            "{}",
            system.description()
        );
        for backend in system.backends() {
            let dsn = testbed::postgres::dsn(backend.address(), testbed::system::DATABASE);
            let row = with_client(&dsn, async |client| {
                client.query_one("SELECT sum(a) FROM t", &[]).await
            });
            assert_eq!(row.await.unwrap().get::<_, i64>(0), 7);
        }
    })
    .await;
}
