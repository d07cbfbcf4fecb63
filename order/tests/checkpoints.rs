//! Checkpoints, cut logs and state transfer over real links and files.

mod house;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use house::{EVERY, House};
use order::checkpoint::Checkpoints;
use order::record::DECIDED;

/// Orders until every replica keeps two checkpoints and has cut its log.
async fn aged() -> House {
    let house = House::new().await;
    for _ in 0..20 {
        house.order(0, 2 * EVERY).await;
        for i in 0..4 {
            house.reaches(i, house.toy(0).height).await;
        }
        let cut = |i| {
            house
                .replica(i)
                .log
                .next_key(DECIDED, 0)
                .is_some_and(|first| first > 1)
        };
        if (0..4).all(|i| cut(i) && house.kept(i).len() == 2) {
            house.order(0, 5).await;
            return house;
        }
    }
    panic!("some log is never cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_write_checkpoints_in_turns_and_cut_their_logs_below_the_older_one() {
    let house = aged().await;
    for i in 0..4 {
        house
            .until("two are kept", || house.kept(i).len() == 2)
            .await;
        // The log is cut when the next one is there: all of one moment.
        let (kept, first) = loop {
            let kept = house.kept(i);
            let first = house.replica(i).log.next_key(DECIDED, 0).unwrap();
            if kept.len() == 2 && kept == house.kept(i) {
                break (kept, first);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let turn = |height: &u64| height / EVERY % 4 == i as u64 && height.is_multiple_of(EVERY);
        assert!(kept.iter().all(turn), "replica {i} wrote {kept:?}");
        assert!(
            first > 1 && first <= kept[0] + 1,
            "replica {i}: log from {first}, kept {kept:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_replica_begins_with_its_checkpoint_and_its_log_after_it() {
    let mut house = aged().await;
    let height = house.toy(0).height;
    house.assert_equal(height).await;
    for i in 0..4 {
        house.kill(i).await;
    }
    let kept = house.kept(0);
    for i in 0..4 {
        house.start(i).await;
    }
    house.assert_equal(height).await;
    assert_eq!(house.toy(0).restored, kept[kept.len() - 1..]);
    house.order(1, 10).await;
    house.assert_equal(height + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_made_up_for_by_the_older_one_and_the_log() {
    let mut house = aged().await;
    let height = house.toy(0).height;
    house.assert_equal(height).await;
    house
        .until("two are kept", || house.kept(2).len() == 2)
        .await;
    house.kill(2).await;
    // A third is there where it was written at the last moment.
    let kept = house.kept(2);
    let two = &kept[kept.len() - 2..];
    let path = Checkpoints::open(house.path(2).join("checkpoints"))
        .unwrap()
        .path(two[1]);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    // Alone: nobody else could have helped.
    for i in [0, 1, 3] {
        house.kill(i).await;
    }
    house.start(2).await;
    house.reaches(2, height).await;
    assert_eq!(house.toy(2).restored, two[..1]);
    for i in [0, 1, 3] {
        house.start(i).await;
    }
    house.order(2, 5).await;
    house.assert_equal(height + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_checkpoints_are_all_damaged_gets_one_from_a_peer() {
    let mut house = aged().await;
    house.kill(2).await;
    let checkpoints = Checkpoints::open(house.path(2).join("checkpoints")).unwrap();
    for height in house.kept(2) {
        fs::write(checkpoints.path(height), b"steelcp1 and nothing more").unwrap();
    }
    house.order(0, 3).await;
    let height = house.toy(0).height;
    house.start(2).await;
    house.assert_equal(height).await;
    assert_eq!(house.toy(2).restored.len(), 1);
    house.kill(3).await;
    house.order(2, 5).await;
    house.assert_equal(height + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_disk_gets_the_state_and_then_counts_again() {
    let mut house = aged().await;
    house.kill(3).await;
    fs::remove_dir_all(house.path(3)).unwrap();
    house.order(0, 20).await;
    let height = house.toy(0).height;
    house.start(3).await;
    house.assert_equal(height).await;
    assert_eq!(house.toy(3).restored.len(), 1);
    // It is needed now, and has a checkpoint that a restart begins with.
    house.kill(1).await;
    house.order(0, 5).await;
    house.assert_equal(height + 5).await;
    let installed = house.toy(3).restored[0];
    house.kill(3).await;
    house.start(3).await;
    house.assert_equal(height + 5).await;
    assert!(house.toy(3).restored[0] >= installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_for_long_comes_back_by_a_checkpoint() {
    let mut house = House::new().await;
    house.order(0, 5).await;
    house.reaches(2, 5).await;
    house.kill(2).await;
    let cut = |house: &House, i| {
        house
            .replica(i)
            .log
            .next_key(DECIDED, 0)
            .is_some_and(|first| first > 6)
    };
    for _ in 0..20 {
        house.order(0, 2 * EVERY).await;
        if [0, 1, 3].into_iter().all(|i| cut(&house, i)) {
            break;
        }
    }
    for i in [0, 1, 3] {
        assert!(cut(&house, i), "the log of {i}");
    }
    house.start(2).await;
    let height = house.toy(0).height;
    house.assert_equal(height).await;
    assert_eq!(house.toy(2).restored.len(), 1);
    house.kill(0).await;
    house.order(2, 5).await;
    house.assert_equal(height + 5).await;
}

/// The disks belong to a process of its own whose files may not grow past 64 KiB.
const FULL_DISK: &str = "STEELDB_TEST_FULL_DISKS";

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_stop_the_replicas_with_their_state_intact() {
    if let Some(disks) = std::env::var_os(FULL_DISK) {
        return fill(Path::new(&disks)).await;
    }
    let disks = tempfile::TempDir::new().unwrap();
    // The signal is ignored so that the write itself fails, as on a full disk. Units are 512 bytes or a kilobyte.
    let script = r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#;
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "full_disks_stop_the_replicas_with_their_state_intact",
            "--nocapture",
        ])
        .env(FULL_DISK, disks.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    let told: u64 = fs::read_to_string(disks.path().join("told"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(told >= 20, "{told}");
    // With space again everything that anybody was told is there, and it goes on.
    let house = House::at(disks.path(), 1 << 20).await;
    for i in 0..4 {
        house.reaches(i, told).await;
    }
    house.order(1, 15).await;
    house.assert_equal(house.toy(1).height).await;
}

/// Orders until the disks are full.
async fn fill(disks: &Path) {
    let house = House::at(disks, 1 << 20).await;
    let mut told = 0;
    let stopped = |i: usize| house.replica(i).stopped.load(Ordering::SeqCst);
    // Without two there is no quorum, and nothing is answered any more.
    let full = || (0..4).filter(|i| stopped(*i)).count() >= 2;
    // No checkpoint fits on these disks either.
    loop {
        tokio::select! {
            () = house.order(0, 1) => {}
            () = house.until("two disks are full", full) => break,
        }
        told = house.toy(0).height;
        assert!(told < 10_000, "the disks are never full");
    }
    assert!((0..4).all(|i| house.kept(i).is_empty()));
    fs::write(disks.join("told"), told.to_string()).expect("a few bytes fit");
}
