//! What checkpoints promise: one is there whole or not at all, damage is noticed, a newer one never costs an older.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use bytes::Bytes;
use consensus::transfer::{ChunkList, Content};
use consensus::{
    Digest, Height, LastDecided, Proof, PublicKey, ReplicaId, SigningKey, Summary, View,
    sign_accept,
};
use tempfile::TempDir;

use super::{CheckpointError, Checkpoints};

const CHUNK: u32 = 64;

fn key(i: u16) -> SigningKey {
    SigningKey::from_bytes(&[i as u8 + 1; 32])
}

fn view() -> View {
    let replicas = (0..4).map(|i| (ReplicaId(i), PublicKey::of(&key(i))));
    View {
        id: 1,
        f: 1,
        replicas: replicas.collect(),
        clients: BTreeMap::new(),
        ..View::default()
    }
}

fn summary(height: Height) -> Summary {
    let (view, digest) = (view(), Digest([height as u8; 32]));
    let signed = |i| {
        (
            ReplicaId(i),
            sign_accept(&key(i), &view, height, 0, &digest),
        )
    };
    let proof = Proof {
        regency: 0,
        accepts: (0..3).map(signed).collect(),
    };
    let last = Some(LastDecided {
        height,
        digest,
        proof,
    });
    Summary {
        last,
        time_ms: height,
        ..Summary::default()
    }
}

fn state(height: Height) -> Bytes {
    (0..1_000u64).map(|at| (at * height % 251) as u8).collect()
}

/// Writes the checkpoint of a height.
fn write(checkpoints: &Checkpoints, height: Height) -> Result<ChunkList, CheckpointError> {
    let summary = summary(height);
    let content = Content::new(&summary, state(height)).unwrap();
    let list = content.list(CHUNK);
    checkpoints.write(
        &content,
        &list,
        summary.last.unwrap(),
        vec![(height - 1, Digest([9; 32]))],
    )?;
    Ok(list)
}

fn newest(checkpoints: &Checkpoints) -> Option<Height> {
    let loaded = checkpoints.newest(&view()).unwrap()?;
    let height = loaded.summary.height();
    assert_eq!(
        (&loaded.summary, loaded.state),
        (&summary(height), state(height))
    );
    Some(height)
}

#[test]
fn a_checkpoint_comes_back_as_it_was_and_old_ones_go() {
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    assert_eq!(newest(&checkpoints), None);
    let list = write(&checkpoints, 10).unwrap();
    write(&checkpoints, 20).unwrap();
    write(&checkpoints, 30).unwrap();
    checkpoints.keep_only(&[5, 20]).unwrap();
    assert_eq!(
        checkpoints.heights().unwrap(),
        [20, 30],
        "a newer one stays"
    );
    let again = Checkpoints::open(dir.path()).unwrap();
    assert_eq!(again.heights().unwrap(), [20, 30]);
    assert_eq!(newest(&again), Some(30));
    let loaded = again.load(20, &view()).unwrap();
    assert_eq!(loaded.roots, [(19, Digest([9; 32]))]);
    assert_ne!(loaded.list.root(), list.root());
}

#[test]
fn any_bit_flipped_or_cut_off_makes_the_older_checkpoint_the_newest() {
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    write(&checkpoints, 10).unwrap();
    write(&checkpoints, 20).unwrap();
    let path = checkpoints.path(20);
    let whole = fs::read(&path).unwrap();
    let aside = path.with_extension("damaged");
    let damaged = (0..whole.len()).map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        damaged.truncate(if at % 7 == 0 { at } else { whole.len() });
        damaged
    });
    for bytes in damaged.chain([[&whole[..], b"more"].concat()]) {
        fs::write(&path, &bytes).unwrap();
        // A handle of its own each time: what was open before the damage is not.
        let again = Checkpoints::open(dir.path()).unwrap();
        assert!(again.load(20, &view()).is_err());
        assert_eq!(newest(&again), Some(10));
        assert_eq!(fs::read(&aside).unwrap(), bytes, "the evidence stays");
        assert_eq!(again.heights().unwrap(), [10]);
    }
}

#[test]
fn damage_is_named_by_file_and_offset() {
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    write(&checkpoints, 10).unwrap();
    let path = checkpoints.path(10);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Checkpoints::open(dir.path())
        .unwrap()
        .load(10, &view())
        .unwrap_err();
    let CheckpointError::Damaged {
        path: file, offset, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*file, path);
    assert!((last as u64 - offset) < u64::from(CHUNK), "{error}");
}

#[test]
fn a_checkpoint_of_another_cluster_is_refused() {
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    write(&checkpoints, 10).unwrap();
    let other = View { id: 2, ..view() };
    let refused = checkpoints.load(10, &other).unwrap_err();
    assert!(
        matches!(refused, CheckpointError::Content { .. }),
        "{refused}"
    );
}

#[test]
fn one_whose_writing_was_cut_short_is_not_there() {
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    write(&checkpoints, 10).unwrap();
    fs::copy(checkpoints.path(10), dir.path().join("new")).unwrap();
    let again = Checkpoints::open(dir.path()).unwrap();
    assert_eq!(
        (again.heights().unwrap(), newest(&again)),
        (vec![10], Some(10))
    );
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_checkpoint_from_a_peer_survives_restarts_chunk_by_chunk() {
    let (theirs, ours) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = Checkpoints::open(theirs.path()).unwrap();
    write(&source, 10).unwrap();
    let (list, last) = source.list(10).unwrap();
    let count = list.chunks.len() as u32;
    let store = |from: u32, to: u32| {
        let checkpoints = Checkpoints::open(ours.path()).unwrap();
        let (incoming, have) = checkpoints
            .receive(list.clone(), last.clone(), Vec::new())
            .unwrap();
        (from..to).for_each(|index| {
            incoming
                .store(index, &source.chunk(10, index).unwrap())
                .unwrap()
        });
        (checkpoints, incoming, have)
    };
    let (checkpoints, incoming, have) = store(0, 5);
    assert_eq!(have, []);
    // Not complete: it is no checkpoint yet, even to one who thinks so.
    assert!(checkpoints.received(&incoming, &view()).is_err());
    assert_eq!(newest(&checkpoints), None);
    // One of the chunks is damaged meanwhile.
    incoming.store(2, &[0; CHUNK as usize]).unwrap();
    let (_, _, have) = store(5, 7);
    assert_eq!(have, [0, 1, 3, 4]);
    let (checkpoints, incoming, have) = store(7, count);
    assert_eq!(have, [0, 1, 3, 4, 5, 6]);
    incoming.store(2, &source.chunk(10, 2).unwrap()).unwrap();
    let loaded = checkpoints.received(&incoming, &view()).unwrap();
    assert_eq!((loaded.summary, loaded.state), (summary(10), state(10)));
    assert_eq!(newest(&Checkpoints::open(ours.path()).unwrap()), Some(10));
    // Another checkpoint begins anew.
    write(&source, 20).unwrap();
    let (list, last) = source.list(20).unwrap();
    let (_, have) = checkpoints.receive(list, last, Vec::new()).unwrap();
    assert_eq!(have, []);
}

#[test]
fn chunks_count_under_another_proof_when_the_first_was_false() {
    let (theirs, ours) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = Checkpoints::open(theirs.path()).unwrap();
    write(&source, 10).unwrap();
    let (list, last) = source.list(10).unwrap();
    let mut forged = last.clone();
    forged.proof.accepts.pop();
    let checkpoints = Checkpoints::open(ours.path()).unwrap();
    let (incoming, _) = checkpoints
        .receive(list.clone(), forged, Vec::new())
        .unwrap();
    let count = list.chunks.len() as u32;
    for index in 0..count {
        incoming
            .store(index, &source.chunk(10, index).unwrap())
            .unwrap();
    }
    let unproven = checkpoints.received(&incoming, &view());
    assert!(matches!(unproven, Err(CheckpointError::Content { .. })));
    let (incoming, have) = checkpoints.receive(list, last, Vec::new()).unwrap();
    assert_eq!(have.len() as u32, count);
    let loaded = checkpoints.received(&incoming, &view()).unwrap();
    assert_eq!((loaded.summary, loaded.state), (summary(10), state(10)));
}

/// The disk is a process of its own whose files may not grow past 64 KiB.
const FULL_DISK: &str = "STEELDB_TEST_FULL_DISK_CHECKPOINT";

#[test]
fn a_full_disk_costs_the_new_checkpoint_and_not_the_old_one() {
    if let Some(dir) = std::env::var_os(FULL_DISK) {
        let checkpoints = Checkpoints::open(dir).unwrap();
        let large = Content::new(&summary(20), vec![7; 200_000].into()).unwrap();
        let last = summary(20).last.unwrap();
        let refused = checkpoints.write(&large, &large.list(CHUNK), last.clone(), Vec::new());
        assert!(matches!(refused, Err(CheckpointError::Io { .. })));
        // No room for one from a peer either.
        let refused = checkpoints.receive(large.list(4_096), last, Vec::new());
        assert!(matches!(refused, Err(CheckpointError::Io { .. })));
        return;
    }
    let dir = TempDir::new().unwrap();
    let checkpoints = Checkpoints::open(dir.path()).unwrap();
    write(&checkpoints, 10).unwrap();
    // The signal is ignored so that the write itself fails, as on a full disk. Units are 512 bytes or a kilobyte.
    let script = r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#;
    let test = "checkpoint::tests::a_full_disk_costs_the_new_checkpoint_and_not_the_old_one";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FULL_DISK, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert!(
        !dir.path().join("new").exists(),
        "its room is free for the log"
    );
    let again = Checkpoints::open(dir.path()).unwrap();
    assert_eq!(
        (again.heights().unwrap(), newest(&again)),
        (vec![10], Some(10))
    );
    write(&again, 20).unwrap();
    assert_eq!(newest(&again), Some(20));
}
