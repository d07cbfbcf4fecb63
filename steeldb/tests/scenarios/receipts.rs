//! Receipts of a real cluster, checked when nothing of it runs any more.

use std::path::{Path, PathBuf};

use crate::support::{Cluster, text};
use serde_json::Value;

/// What psql saves, as the documentation says.
fn save(cluster: &Cluster, name: &str, statements: &[&str]) -> PathBuf {
    let mut command = std::process::Command::new("psql");
    command.args(["-X", "-A", "-t"]);
    for sql in statements.iter().chain(&["SHOW steel.receipt"]) {
        command.args(["-c", sql]);
    }
    let output = command.arg(cluster.url()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    write(cluster, name, &text(&output.stdout))
}

fn write(cluster: &Cluster, name: &str, content: &str) -> PathBuf {
    let file = cluster.data().with_file_name(name);
    std::fs::write(&file, content).unwrap();
    file
}

fn verify<'a>(file: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["receipt", "verify", file.to_str().unwrap()], more].concat()
}

/// The receipt's own line of a saved file.
fn line(file: &Path) -> String {
    let saved = std::fs::read_to_string(file).unwrap();
    saved.lines().last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_checked_offline_and_outlives_the_keys_of_its_signers() {
    let cluster = Cluster::start();
    let create = "CREATE TABLE account (id int PRIMARY KEY, n int)";
    let insert = "INSERT INTO account VALUES (1, 100)";
    let block = "BEGIN; UPDATE account SET n = n - 1 WHERE id = 1; SELECT n FROM account; COMMIT";
    save(&cluster, "create", &[create]);
    let auto = save(&cluster, "auto", &[insert]);
    let explicit = save(&cluster, "explicit", &[block]);
    let sql = write(&cluster, "block.sql", block);

    // By the extended protocol: one column of text.
    let client = cluster.connect().await;
    client
        .execute("UPDATE account SET n = $1", &[&7])
        .await
        .unwrap();
    let statement = client.prepare("SHOW steel.receipt").await.unwrap();
    assert_eq!(
        statement.columns()[0].type_(),
        &tokio_postgres::types::Type::TEXT
    );
    let shown: String = client.query_one(&statement, &[]).await.unwrap().get(0);
    let bound = write(&cluster, "bound", &shown);

    // The membership changes: later receipts are signed in another view.
    let said = cluster.succeed(&["reconfigure", "rotate-key", "--replica", "1"]);
    assert!(said.contains("replica 1 has a new key"), "{said}");
    cluster.succeed(&["reconfigure", "set", "--leader", "2"]);
    let later = save(&cluster, "later", &["UPDATE account SET n = 8"]);
    let old: Value = serde_json::from_str(&line(&auto)).unwrap();
    let place = [old["height"].to_string(), old["index"].to_string()];
    let again = cluster.succeed(&[
        "receipt", "get", "--height", &place[0], "--index", &place[1],
    ]);
    let again = write(&cluster, "again", &again);
    let name = old["transaction"].as_str().unwrap();
    let named = cluster.succeed(&["receipt", "get", "--transaction", name]);
    let named: Value = serde_json::from_str(&named).unwrap();
    assert_eq!(
        (&named["request"], &named["view"]),
        (&old["request"], &2.into())
    );
    cluster.refuse(
        &["receipt", "get", "--height", &place[0], "--index", "77"],
        1,
    );

    cluster.succeed(&["down"]);
    for (file, views) in [
        (&auto, "decided in view 0, signed in view 0"),
        (&explicit, "decided in view 0, signed in view 0"),
        (&bound, "decided in view 0, signed in view 0"),
        (&later, "decided in view 2, signed in view 2"),
        (&again, "decided in view 0, signed in view 2"),
    ] {
        let said = cluster.succeed(&verify(file, &[]));
        assert!(said.contains(views), "{said}");
    }
    let sql = sql.to_str().unwrap();
    let said = cluster.succeed(&verify(&explicit, &["--sql", sql]));
    assert!(said.contains("texts"), "{said}");
    let said = cluster.refuse(&verify(&auto, &["--sql", sql]), 1);
    assert!(said.contains("of other statements"), "{said}");
    what_was_altered_is_refused(&cluster, &later);
}

fn what_was_altered_is_refused(cluster: &Cluster, good: &Path) {
    let good = line(good);
    let refuse = |altered: &str, why: &str, code: i32| {
        let file = write(cluster, "altered", altered);
        let said = cluster.refuse(&verify(&file, &[]), code);
        assert!(said.contains(why), "{said}");
    };
    let read: Value = serde_json::from_str(&good).unwrap();
    let height = format!("\"height\":{}", read["height"]);
    let other = format!("\"height\":{}", read["height"].as_u64().unwrap() + 1);
    refuse(
        &good.replacen(&height, &other, 1),
        "covers something else",
        1,
    );
    refuse(
        &good.replacen("\"view\":2", "\"view\":1", 1),
        "lead to view 2",
        1,
    );
    refuse(
        &good.replacen("\"commit\"", "\"abort\"", 1),
        "unknown variant `abort`",
        1,
    );
    refuse(&good.replacen(',', ", ", 1), "it was altered", 1);
    refuse(&good.replacen('{', "{ ", 1), "no line begins", 2);
    refuse(&good.replacen("}]", "} ]", 1), "it was altered", 1);
    refuse(&good[..good.len() / 2], "it is not a receipt", 1);
    refuse("", "no receipt", 2);
    // Another cluster's file: this one's, with two keys exchanged.
    let genesis = cluster.data().join("genesis.toml");
    let file = std::fs::read_to_string(&genesis).unwrap();
    let keys: Vec<&str> = file
        .lines()
        .filter_map(|l| l.strip_prefix("key = \"")?.strip_suffix('"'))
        .collect();
    let swapped = file
        .replace(keys[0], "@")
        .replace(keys[1], keys[0])
        .replace('@', keys[1]);
    let stranger = write(cluster, "stranger.toml", &swapped);
    let receipt = write(cluster, "altered", &good);
    let said = cluster.refuse(
        &verify(&receipt, &["--cluster", stranger.to_str().unwrap()]),
        1,
    );
    assert!(said.contains("another cluster"), "{said}");
    // The file of now is not the one in which the cluster began.
    let now = cluster.data().join("cluster.toml");
    let alone = write(
        cluster,
        "alone.toml",
        &std::fs::read_to_string(now).unwrap(),
    );
    let said = cluster.refuse(
        &verify(&receipt, &["--cluster", alone.to_str().unwrap()]),
        1,
    );
    assert!(said.contains("genesis.toml"), "{said}");
    let endless = write(cluster, "altered", "");
    let file = std::fs::File::create(&endless).unwrap();
    file.set_len(1 << 40).unwrap();
    let said = cluster.refuse(&verify(&endless, &[]), 2);
    assert!(said.contains("more than"), "{said}");
}
