//! SERIALIZABLE: no history that is not serial is committed, whatever one replica says of it (docs/decisions, 16).

use harness::{Cluster, MASTER, column, failure};
use replica::executor::lies::Lie;
use tokio_postgres::{Client, Error};

const SNAPSHOT: &str = "REPEATABLE READ";
const SERIAL: &str = "SERIALIZABLE";

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Begins a transaction whose snapshot is taken when this returns.
async fn begin(client: &Client, level: &str) {
    run(client, &format!("BEGIN ISOLATION LEVEL {level}")).await;
    run(client, "SELECT 1").await;
}

async fn commit(client: &Client) -> Result<(), Error> {
    client.batch_execute("COMMIT").await
}

/// The COMMIT must be refused as PostgreSQL refuses a dangerous one.
async fn conflicts(client: &Client, what: &str) {
    let error = commit(client).await.expect_err(what);
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("{what}: {error}"));
    assert_eq!(error.code().code(), "40001", "{what}");
    let message = error.message();
    let wanted = "could not serialize access due to read/write dependencies among transactions";
    assert_eq!(message, wanted, "{what}");
    assert!(error.hint().is_some(), "{what}: it can be tried again");
}

/// Two doctors are on call. Each leaves if the other one stays.
async fn doctors(one: &Client, other: &Client, level: &str) {
    run(one, "UPDATE doctors SET on_call = true").await;
    let clients = [(one, "alice"), (other, "bob")];
    for (client, _) in clients {
        begin(client, level).await;
    }
    for (client, name) in clients {
        let here = column(client, "SELECT count(*) FROM doctors WHERE on_call");
        assert_eq!(here.await.unwrap(), ["2"]);
        let leave = format!("UPDATE doctors SET on_call = false WHERE name = '{name}'");
        run(client, &leave).await;
    }
}

const DOCTORS: &str = "CREATE TABLE doctors (name text PRIMARY KEY, on_call bool NOT NULL);
    INSERT INTO doctors VALUES ('alice', true), ('bob', true)";

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_is_a_conflict_under_serializable_alone() {
    let cluster = Cluster::start().await;
    let (one, other) = (cluster.client().await, cluster.client().await);
    run(&one, DOCTORS).await;

    doctors(&one, &other, SNAPSHOT).await;
    commit(&one).await.unwrap();
    commit(&other).await.unwrap();
    let on_call = "SELECT count(*) FROM doctors WHERE on_call";
    cluster.hold(on_call, &["0"]).await;

    doctors(&one, &other, SERIAL).await;
    commit(&one).await.unwrap();
    conflicts(&other, "the second doctor leaves").await;
    cluster.hold(on_call, &["1"]).await;

    // Both commits are under way at once: whichever is ordered first wins.
    doctors(&one, &other, SERIAL).await;
    let (first, second) = tokio::join!(commit(&one), commit(&other));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let (sqlstate, detail) = failure(first.and(second));
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains("SELECT count(*) FROM doctors"), "{detail}");
    cluster.hold(on_call, &["1"]).await;

    phantoms(&cluster, &one, &other).await;
    mixed(&cluster, &one, &other).await;
    cluster.audit().await;
    cluster.end().await;
}

/// PostgreSQL's own example: each transaction adds to one class the sum of the other. No row that one reads is written.
async fn phantoms(cluster: &Cluster, one: &Client, other: &Client) {
    run(
        one,
        "CREATE TABLE mytab (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, class int, value int);
         INSERT INTO mytab (class, value) VALUES (1, 10), (1, 20), (2, 100), (2, 200)",
    )
    .await;
    let insert = |from: i32, to: i32| {
        format!(
            "INSERT INTO mytab (class, value) SELECT {to}, sum(value) FROM mytab WHERE class = {from}"
        )
    };
    begin(one, SERIAL).await;
    begin(other, SERIAL).await;
    run(one, &insert(1, 2)).await;
    run(other, &insert(2, 1)).await;
    commit(one).await.unwrap();
    conflicts(other, "a sum that misses a row").await;
    let sums = "SELECT sum(value) FROM mytab GROUP BY class ORDER BY class";
    cluster.hold(sums, &["30", "330"]).await;
    // Tried again, it sees what it missed.
    begin(other, SERIAL).await;
    run(other, &insert(2, 1)).await;
    commit(other).await.unwrap();
    cluster.hold(sums, &["360", "330"]).await;
}

/// A SERIALIZABLE transaction is serial with those of other levels too: it is judged at its place, whoever wrote.
async fn mixed(cluster: &Cluster, one: &Client, other: &Client) {
    run(one, "UPDATE doctors SET on_call = true").await;
    begin(one, SERIAL).await;
    column(one, "SELECT count(*) FROM doctors WHERE on_call")
        .await
        .unwrap();
    run(
        other,
        "UPDATE doctors SET on_call = false WHERE name = 'bob'",
    )
    .await;
    run(
        one,
        "UPDATE doctors SET on_call = false WHERE name = 'alice'",
    )
    .await;
    conflicts(one, "a plain statement changed what was read").await;
    cluster
        .hold("SELECT name FROM doctors WHERE on_call", &["alice"])
        .await;
}

/// Fekete, O'Neil and O'Neil (2004): with a withdrawal that began earlier, a reader sees a deposit before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_read_only_anomaly_is_impossible_under_serializable() {
    let cluster = Cluster::start().await;
    let [withdraw, deposit, reader] = [
        cluster.client().await,
        cluster.client().await,
        cluster.client().await,
    ];
    run(
        &withdraw,
        "CREATE TABLE accounts (kind text PRIMARY KEY, balance int NOT NULL);
         INSERT INTO accounts VALUES ('checking', 0), ('savings', 0)",
    )
    .await;
    let balances = "SELECT balance FROM accounts ORDER BY kind";
    for (level, reading) in [
        (SNAPSHOT, "REPEATABLE READ READ ONLY"),
        (SERIAL, "SERIALIZABLE READ ONLY DEFERRABLE"),
        (SERIAL, "SERIALIZABLE"),
    ] {
        run(&withdraw, "UPDATE accounts SET balance = 0").await;
        begin(&withdraw, level).await;
        let seen = column(&withdraw, balances).await.unwrap();
        assert_eq!(seen, ["0", "0"]);

        begin(&deposit, level).await;
        run(
            &deposit,
            "UPDATE accounts SET balance = balance + 20 WHERE kind = 'savings'",
        )
        .await;
        commit(&deposit).await.unwrap();

        begin(&reader, reading).await;
        let seen = column(&reader, balances).await.unwrap();
        assert_eq!(seen, ["0", "20"]);
        commit(&reader).await.unwrap();

        // More than both accounts held: a penalty of 1.
        run(
            &withdraw,
            "UPDATE accounts SET balance = balance - 11 WHERE kind = 'checking'",
        )
        .await;
        if level == SNAPSHOT {
            commit(&withdraw).await.unwrap();
            cluster.hold(balances, &["-11", "20"]).await;
        } else {
            conflicts(&withdraw, "the penalty that the reader could not see").await;
            cluster.hold(balances, &["0", "20"]).await;
        }
    }
    nothing_in_common(&cluster, &deposit, &withdraw, &reader).await;
    by_default(&cluster, &deposit).await;
    cluster.audit().await;
    cluster.end().await;
}

/// Transactions that have nothing in common commit, and so does one that only read, however old its snapshot is.
async fn nothing_in_common(cluster: &Cluster, one: &Client, other: &Client, reader: &Client) {
    run(one, "UPDATE accounts SET balance = 0").await;
    let aborts = cluster.verdicts().await[0].1;
    begin(reader, SERIAL).await;
    for round in 1..=10 {
        for (client, kind) in [(one, "checking"), (other, "savings")] {
            begin(client, SERIAL).await;
            let own = format!("SELECT balance FROM accounts WHERE kind = '{kind}'");
            let before = column(client, &own).await.unwrap();
            assert_eq!(before, [(round - 1).to_string()]);
            let add = format!(
                "UPDATE accounts SET balance = balance + 1 WHERE kind = '{kind}' RETURNING balance"
            );
            run(client, &add).await;
        }
        let (first, second) = tokio::join!(commit(one), commit(other));
        first.unwrap();
        second.unwrap();
    }
    let seen = column(reader, "SELECT balance FROM accounts")
        .await
        .unwrap();
    assert_eq!(seen, ["0", "0"], "its snapshot");
    commit(reader).await.unwrap();
    assert_eq!(cluster.verdicts().await[0].1, aborts, "nothing was aborted");
}

/// SERIALIZABLE as the session's default, in a block and outside of one.
async fn by_default(cluster: &Cluster, client: &Client) {
    run(
        client,
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    )
    .await;
    let shown = "SHOW transaction_isolation";
    assert_eq!(column(client, shown).await.unwrap(), ["serializable"]);
    // In one statement, in a read that turns out to write, and in a block.
    run(
        client,
        "CREATE TABLE sums (id serial PRIMARY KEY, sum int);
         CREATE FUNCTION note() RETURNS int LANGUAGE sql AS
             'INSERT INTO public.sums (sum) SELECT sum(balance) FROM public.accounts RETURNING sum'",
    )
    .await;
    run(
        client,
        "INSERT INTO sums (sum) SELECT sum(balance) FROM accounts",
    )
    .await;
    run(client, "SELECT note()").await;
    run(client, "BEGIN; SELECT note(); COMMIT").await;
    cluster
        .hold("SELECT sum FROM sums", &["20", "20", "20"])
        .await;
    run(client, "BEGIN ISOLATION LEVEL READ COMMITTED").await;
    assert_eq!(
        column(client, shown).await.unwrap(),
        ["repeatable read"],
        "which is what it runs as"
    );
    run(client, "ROLLBACK; RESET default_transaction_isolation").await;
}

/// A follower that votes COMMIT whatever it saw, and a master whose answers came from an older state.
#[tokio::test(flavor = "multi_thread")]
async fn no_liar_gets_a_history_committed_that_is_not_serial() {
    let cluster = Cluster::start().await;
    let (one, other) = (cluster.client().await, cluster.client().await);
    run(&one, DOCTORS).await;
    // With the vote of a master that believed its own earlier answers, the liar's would be the second of f+1.
    cluster.lies(3, &[Lie::VoteCommit]);
    for round in 0..8 {
        doctors(&one, &other, SERIAL).await;
        commit(&one).await.unwrap();
        conflicts(&other, &format!("round {round}")).await;
    }
    cluster.lies(3, &[]);

    cluster.lies(MASTER, &[Lie::Answers]);
    run(&one, "UPDATE doctors SET on_call = true").await;
    let old = "SELECT /*lie:old*/ count(*) FROM doctors WHERE on_call";
    for (seen, truth) in [("2", true), ("2", false)] {
        begin(&one, SERIAL).await;
        let answer = column(&one, old).await.unwrap();
        assert_eq!(answer, [seen], "as it was when first asked");
        run(
            &one,
            "UPDATE doctors SET on_call = false WHERE name = 'alice'",
        )
        .await;
        match truth {
            true => commit(&one).await.unwrap(),
            false => conflicts(&one, "an answer from an older state").await,
        }
        run(&other, "UPDATE doctors SET on_call = (name = 'alice')").await;
    }
    cluster
        .hold("SELECT name FROM doctors WHERE on_call", &["alice"])
        .await;
    cluster.audit().await;
    cluster.end().await;
}
