//! Checkpoints, cut logs and state transfer over real links and files.

mod house;

use std::fs;

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
                .at(i)
                .log
                .next_key(DECIDED, 0)
                .is_some_and(|first| first > 1)
        };
        if (0..4).all(|i| cut(i) && kept(&house, i).len() == 2) {
            house.order(0, 5).await;
            return house;
        }
    }
    panic!("some log is never cut");
}

/// The heights of a replica's checkpoints. A third may be there for a moment, before the first of them is deleted.
fn kept(house: &House, i: usize) -> Vec<u64> {
    let checkpoints = Checkpoints::open(house.path(i).join("checkpoints")).unwrap();
    checkpoints.heights().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_write_checkpoints_in_turns_and_cut_their_logs_below_the_older_one() {
    let house = aged().await;
    for i in 0..4 {
        house
            .until("two are kept", || kept(&house, i).len() == 2)
            .await;
        let kept = kept(&house, i);
        let turn = |height: &u64| height / EVERY % 4 == i as u64 && height.is_multiple_of(EVERY);
        assert!(kept.iter().all(turn), "replica {i} wrote {kept:?}");
        let first = house.at(i).log.next_key(DECIDED, 0).unwrap();
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
    for i in 0..4 {
        house.start(i).await;
    }
    house.assert_equal(height).await;
    assert_eq!(house.toy(0).restored, kept(&house, 0)[1..]);
    house.order(1, 10).await;
    house.assert_equal(height + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_made_up_for_by_the_older_one_and_the_log() {
    let mut house = aged().await;
    let height = house.toy(0).height;
    house.assert_equal(height).await;
    house
        .until("two are kept", || kept(&house, 2).len() == 2)
        .await;
    house.kill(2).await;
    let two = kept(&house, 2);
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
    for height in kept(&house, 2) {
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
            .at(i)
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
