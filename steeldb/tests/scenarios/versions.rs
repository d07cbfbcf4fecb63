//! A cluster whose replicas run four majors of PostgreSQL.

use crate::support;
use std::time::Duration;

use crate::support::Cluster;
use crate::support::load::Load;
use crate::support::programs::programs;

/// As in the test of killed replicas.
const BACK: Duration = Duration::from_secs(10);

fn adoptions(cluster: &Cluster, replica: usize) -> u64 {
    let status = cluster.status();
    status["replicas"][replica]["adoptions"].as_u64().unwrap()
}

/// Kills the master while clients write, and brings it back; the next one has another major.
async fn next_master(cluster: &Cluster, load: &Load) {
    let master = cluster.status()["master"].to_string();
    load.more(30).await;
    cluster.succeed(&["kill", "--replica", &master]);
    load.more(60).await;
    assert_ne!(cluster.status()["master"].to_string(), master);
    cluster.succeed(&["start", "--replica", &master]);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_majors_in_one_cluster_mask_each_other_and_take_turns_as_masters() {
    let cluster = Cluster::absent();
    let [sixteen, seventeen, eighteen] = [16, 17, 18].map(programs);
    let servers = format!(
        "1={},2={},3={}",
        sixteen.display(),
        seventeen.display(),
        eighteen.display()
    );
    let port = cluster.port.to_string();
    cluster.succeed(&["up", "--detach", "--port", &port, "--postgres", &servers]);
    let versions: Vec<String> = (0..4)
        .map(|id| {
            cluster.status()["replicas"][id]["server_version"]
                .as_str()
                .unwrap()[..2]
                .to_owned()
        })
        .collect();
    assert_eq!(versions, ["15", "16", "17", "18"]);
    let said = cluster.succeed(&["status"]);
    assert!(
        said.contains("PostgreSQL 15.") && said.contains("is masked"),
        "{said}"
    );

    // 15 is the master, then 16, then 17.
    let load = Load::start(&cluster, 4).await;
    next_master(&cluster, &load).await;
    next_master(&cluster, &load).await;
    load.more(30).await;
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    assert!(seen.longest_pause() < BACK, "{:?}", seen.longest_pause());
    seen.check_against(&cluster).await;

    // A master that is not the odd one: the client is told what most servers hold to be right, and the odd one adopts.
    cluster.succeed(&["reconfigure", "master", "--replica", "3"]);
    let client = cluster.connect().await;
    client
        .batch_execute("CREATE TABLE power (x numeric)")
        .await
        .unwrap();
    let before = adoptions(&cluster, 0);
    client
        .batch_execute(
            "BEGIN; INSERT INTO power SELECT 10::numeric ^ 50 FROM generate_series(1, 3); COMMIT",
        )
        .await
        .unwrap();
    let row = client
        .query_one("SELECT count(*), max(x::text) FROM power", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get(0), row.get(1)),
        (3i64, format!("1{}", "0".repeat(50)))
    );
    // It knows a function that no other one has: what it did is confirmed by nobody.
    let only =
        client.batch_execute("BEGIN; INSERT INTO power SELECT length(uuidv7()::text); COMMIT");
    assert_eq!(only.await.unwrap_err().code().unwrap().code(), "40001");
    client.batch_execute("ROLLBACK").await.unwrap();
    // One that all but 15 have.
    client
        .batch_execute("INSERT INTO power SELECT (array_shuffle(ARRAY[1, 2, 3, 4, 5]))[1]")
        .await
        .unwrap();
    let verified = cluster.verify();
    assert!(
        verified.contains("all 4 replicas are identical"),
        "{verified}"
    );
    assert!(adoptions(&cluster, 0) >= before + 2, "15 adopts twice");

    // A replica whose configuration does not list them stops, with the difference named.
    cluster.succeed(&["down"]);
    let file = cluster.data().join("replica-3/replica.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let listed = text
        .lines()
        .filter(|line| !line.starts_with("tested_together"));
    std::fs::write(&file, listed.collect::<Vec<_>>().join("\n")).unwrap();
    let output = cluster.run(&["up", "--detach"]);
    let said = support::text(&output.stderr);
    assert!(output.status.success(), "three of four serve: {said}");
    let log = cluster.data().join("logs/replica-3.log");
    let log = std::fs::read_to_string(log).unwrap();
    let difference = "this replica is not like the others";
    assert!(log.contains(difference), "{log}");
    let named = log.lines().filter(|line| line.contains(difference));
    let mut named =
        named.filter(|line| line.contains("server version: 18.") && line.contains(" there"));
    assert!(named.next().is_some(), "{log}");
    let refused = cluster.refuse(
        &[
            "up",
            "--detach",
            "--postgres",
            &eighteen.display().to_string(),
        ],
        2,
    );
    assert!(refused.contains("replica 0 runs the default"), "{refused}");
}
