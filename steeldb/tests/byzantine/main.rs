//! Byzantine actors in real processes: replicas that somebody took over and a proxy's key in wrong hands, among the
//! command's own replicas and proxy, each with its PostgreSQL, while clients work who know what they must be told.
//!
//! The attackers are this test's own program, started again (`actor`); the `steeldb` command cannot lie.

#![allow(clippy::unwrap_used)]

mod actor;
mod bank;
mod liar;
mod mallory;
mod place;
mod schedule;
#[path = "../scenarios/support/mod.rs"]
mod support;

use std::time::Duration;

use replica::executor::lies::Lie;

use bank::Bank;
use liar::Liar;
use place::Place;

/// Every attack of a proxy's key, one after another, while others are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_key_in_wrong_hands_hurts_nobody_else() {
    let place = Place::start(1, "");
    let cluster = &place.cluster;
    let mut bank = Bank::open(cluster, 3, 1).await;
    bank.more(60).await;
    let mut mallory = place.mallory();

    let said = mallory.order("unrun").await;
    // Evidence that is honest makes a list as good as one that was run: every replica runs it at its place, and the master, which
    // ran another one, adopts (decision 20).
    let unrun = "never run: Committed, one more: Committed, one less: Committed, swapped: Committed, as it ran: Committed";
    assert_eq!(said, unrun);
    mallory.order("equivocate").await;
    assert_eq!(mallory.order("forge").await, "votes: Done");
    mallory.order("garbage 1").await;
    bank.more(30).await;

    // What a replica's log holds of others' requests is said again, the proxy's among it.
    let log = place.copy_of_log(3);
    let replayed: usize = mallory
        .order(&format!("replay {}", log.display()))
        .await
        .parse()
        .unwrap();
    assert!(replayed > 100, "{replayed} requests");
    bank.more(30).await;

    // Thousands of transactions, opened and abandoned: at most so many stand open at once, and others have room.
    let opened = mallory.order("open 2000").await;
    let counts: Vec<usize> = opened
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        (1..=txn::limits::OPEN_TRANSACTIONS_PER_CLIENT).contains(&counts[0]),
        "{opened}"
    );
    assert_eq!(counts.iter().sum::<usize>(), 2_000, "{opened}");
    bank.more(60).await;
    let told = bank.close(cluster).await;
    place.nothing_is_open().await;

    let loot = place.loot().await;
    let (run, twice): (Vec<i32>, Vec<i32>) = loot.into_iter().partition(|a| *a < 1_000);
    let lists: [&[i32]; 5] = [&[3], &[1, 2, 3], &[1], &[2, 1], &[1, 2]];
    let mut ordered = lists.concat();
    ordered.sort_unstable();
    assert_eq!(
        run, ordered,
        "what was ordered, and nothing of what the master ran instead"
    );
    let pairs: std::collections::BTreeSet<i32> = twice.iter().map(|a| a / 2).collect();
    assert_eq!(
        pairs.len(),
        twice.len(),
        "one of two bodies, at most: {twice:?}"
    );
    assert!(
        twice.iter().all(|a| *a < 1_020),
        "nothing forged: {twice:?}"
    );
    assert!(!twice.is_empty(), "one of two is a write like any other");
    assert_eq!(told.unknown, 0, "{told:?}");
    place.holds_the_same();
}

/// One replica tells each lie in its turn, as a master and as a follower, and is silent, and crashes.
#[tokio::test(flavor = "multi_thread")]
async fn no_lie_of_a_replica_reaches_a_client_or_another_replica() {
    let place = Place::start(1, "\n[repair]\naudit_every_s = 1\n");
    let cluster = &place.cluster;
    let mut bank = Bank::open(cluster, 4, 2).await;
    let mut liar = Liar::take_over(cluster, 1).await;
    bank.more(40).await;
    place.make_master(liar.replica);
    for lie in Lie::ALL {
        liar.tell(&[lie]).await;
        bank.more(25).await;
    }
    let status = cluster.status();
    for correct in [0, 2, 3] {
        let rebuilt = &status["replicas"][correct]["rebuilt_ms"];
        assert!(
            rebuilt.is_null(),
            "nobody throws away what is right: {status:#}"
        );
    }
    // A correct replica that was away is told other verdicts and other rows by the liar.
    liar.tell(&[]).await;
    cluster.succeed(&["kill", "--replica", "2"]);
    bank.more(40).await;
    liar.tell(&[Lie::TellOtherVerdicts, Lie::ServeOtherRows, Lie::VoteAbort])
        .await;
    cluster.succeed(&["start", "--replica", "2"]);
    bank.more(40).await;
    liar.silent(true);
    bank.more(40).await;
    liar.silent(false);
    liar.crash(cluster).await;
    bank.more(40).await;
    let told = bank.close(cluster).await;
    assert!(told.acknowledged > told.aborted, "{told:?}");
    liar.give_back(cluster).await;
    place.holds_the_same();
}

/// Two of seven: f at once, each its own way, with a proxy's key in wrong hands and crashes on top.
#[tokio::test(flavor = "multi_thread")]
async fn f_liars_at_once_and_mallory_by_a_schedule_from_a_seed() {
    let seed = number("BYZANTINE_SEED").unwrap_or(11);
    let duration = Duration::from_secs(number("BYZANTINE_SECONDS").unwrap_or(10));
    let f = number("BYZANTINE_F").unwrap_or(2) as u16;
    println!("BYZANTINE_SEED={seed} BYZANTINE_F={f}");
    let place = Place::start(f, "");
    let mut bank = Bank::open(&place.cluster, 4, seed).await;
    let told = {
        let liars = schedule::run(&place, &mut bank, seed, duration).await;
        let told = bank.close(&place.cluster).await;
        for liar in liars {
            liar.give_back(&place.cluster).await;
        }
        told
    };
    println!("{told:?}");
    assert!(told.acknowledged > told.unknown, "{told:?}");
    place.holds_the_same();
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}

/// The command that is shipped lies for nobody: neither an option nor a configuration nor the environment makes it.
#[test]
fn the_command_knows_no_lies() {
    let place = Place::written(1, "");
    let config = place.cluster.data().join("replica-0/replica.toml");
    let path = config.display().to_string();
    let replica = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_steeldb"));
        command.args(["replica", "--config", &path]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), support::text(&output.stderr))
    };
    for option in ["--lies", "--lie", "--byzantine"] {
        let (code, said) = replica(&[option, "VoteAbort"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("unexpected argument") && said.contains(option),
            "{said}"
        );
    }
    let honest = std::fs::read_to_string(&config).unwrap();
    for key in ["lies = [\"VoteAbort\"]", "[lies]\nvote = \"abort\""] {
        std::fs::write(&config, format!("{honest}{key}\n")).unwrap();
        let (code, said) = replica(&[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("lies") && said.contains("replica.toml"),
            "{said}"
        );
    }
}
