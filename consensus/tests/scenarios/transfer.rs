//! State transfer between one sink and its peers, some of which lie: what comes out is the true state or nothing.
#![allow(clippy::unwrap_used)] // its helpers panic as tests do

use crate::common::ADMIN;
use crate::common::transferring::{CHUNK, World, checkpoints};
use bytes::Bytes;
use consensus::transfer::{ChunkList, Content, Sink, Source, StateMessage, TransferLimits};
use consensus::{Digest, Height, ReplicaId};

#[test]
fn the_highest_checkpoint_comes_whole_from_the_one_that_keeps_it() {
    let mut world = World::new(4, &[(1, &[4]), (2, &[8]), (3, &[12])]);
    world.want(0);
    world.run(5_000);
    world.assert_received(12);
    let chunks = world.begun.as_ref().unwrap().chunks.len();
    assert!(world.sent.iter().all(|(who, _)| who.0 == 3) && world.sent.len() == chunks);
    assert_eq!(world.most_under_way, world.limits.in_flight);
}

#[test]
fn a_root_that_only_f_vouch_for_is_not_fetched() {
    let mut world = World::new(4, &[(1, &[4]), (2, &[8]), (3, &[12])]);
    // It offers a state of its own invention, at a height that nobody reached too.
    world.lies(3, |message| match message {
        StateMessage::Offer { .. } => Some(StateMessage::Offer {
            roots: vec![(12, Digest([7; 32])), (1 << 40, Digest([7; 32]))],
            kept: vec![12, 1 << 40],
        }),
        other => Some(other),
    });
    world.want(0);
    world.run(5_000);
    world.assert_received(8);
}

#[test]
fn a_source_that_sends_a_wrong_chunk_is_left_and_not_asked_again() {
    for wrong in [
        Bytes::new(),
        vec![9; CHUNK as usize].into(),
        vec![9; 5_000_000].into(),
    ] {
        let mut world = World::new(4, &[(1, &[4]), (2, &[8]), (3, &[12])]);
        world.lies(3, move |message| match message {
            StateMessage::Chunk {
                height, index: 3, ..
            } => Some(StateMessage::Chunk {
                height,
                index: 3,
                bytes: wrong.clone(),
            }),
            other => Some(other),
        });
        world.want(0);
        world.run(10_000);
        world.assert_received(8);
    }
}

#[test]
fn what_is_here_of_a_checkpoint_counts_when_another_source_has_the_same() {
    let mut world = World::new(4, &[(1, &[12]), (3, &[12])]);
    world.lies(1, |message| match message {
        StateMessage::Chunk { index, .. } if index >= 7 => None,
        other => Some(other),
    });
    world.want(0);
    world.run(10_000);
    world.assert_received(12);
    let chunks = world.begun.as_ref().unwrap().chunks.len();
    let second = world.sent.iter().filter(|(who, _)| who.0 == 3).count();
    assert_eq!(second, chunks - 7, "only what the first did not send");
}

#[test]
fn false_lists_are_refused_before_room_is_made_for_them() {
    type Bend = fn(&mut ChunkList);
    let bends: [Bend; 6] = [
        |list| list.chunks[2] = Digest([1; 32]),
        |list| list.length = u64::MAX,
        |list| list.chunk_bytes = 0,
        |list| list.chunk_bytes = u32::MAX,
        |list| list.chunks = vec![Digest([1; 32]); 1 << 19],
        |list| list.height = 1 << 50,
    ];
    for bend in bends {
        let mut world = World::new(4, &[(1, &[4]), (3, &[12])]);
        world.lies(3, move |message| match message {
            StateMessage::List { mut list, last } => {
                bend(&mut list);
                Some(StateMessage::List { list, last })
            }
            other => Some(other),
        });
        world.want(0);
        world.run(10_000);
        world.assert_received(4);
        assert!(world.sent.iter().all(|(who, _)| who.0 == 1));
    }
}

#[test]
fn a_list_without_the_proof_of_its_last_decision_is_refused() {
    let mut world = World::new(4, &[(1, &[4]), (3, &[12])]);
    world.lies(3, |message| match message {
        StateMessage::List { list, mut last } => {
            last.proof.accepts.pop();
            Some(StateMessage::List { list, last })
        }
        other => Some(other),
    });
    world.want(0);
    world.run(10_000);
    world.assert_received(4);
}

/// Where the view may have changed, only the content tells by whose keys the proof is to be checked.
#[test]
fn a_source_whose_proof_turns_out_false_in_the_end_is_not_asked_again() {
    let mut world = World::new(4, &[(1, &[12]), (3, &[12])]);
    world.view.administrators = [ADMIN].into();
    world.sink = Sink::new(world.view.clone(), ReplicaId(0), world.limits.clone());
    world.lies(1, |message| match message {
        StateMessage::List { list, mut last } => {
            last.proof.accepts.pop();
            Some(StateMessage::List { list, last })
        }
        other => Some(other),
    });
    world.want(0);
    world.run(10_000);
    assert_eq!(world.finished.take(), Some(12));
    let chunks = world.sent.len();
    let list = world.begun.clone().unwrap();
    assert_eq!(chunks, list.chunks.len());
    // The runtime has opened it and found the proof false.
    world.at_sink(|sink, now, out| sink.disproven(now, 12, out));
    world.run(10_000);
    world.assert_received(12);
    assert_eq!(world.sent.len(), chunks, "its chunks were true and count");
    let listed = world.listed.clone();
    assert_eq!(listed, [ReplicaId(1), ReplicaId(3)]);
    // It is not asked again though the other one is gone, and nobody else keeps it.
    world.finished = None;
    world.at_sink(|sink, now, out| sink.disproven(now, 12, out));
    world.run(10_000);
    assert_eq!((world.finished, world.listed), (None, listed));
}

#[test]
fn a_silent_source_is_left_and_one_that_was_only_slow_is_forgiven() {
    let mut world = World::new(4, &[(3, &[12])]);
    world.lies(3, |message| match message {
        StateMessage::Offer { .. } => Some(message),
        _ => None,
    });
    world.want(0);
    world.run(8_000);
    assert_eq!((world.finished, world.sink.is_busy()), (None, true));
    // Its link works again.
    world.lies.clear();
    world.run(30_000);
    world.assert_received(12);
}

#[test]
fn two_liars_of_seven_cannot_vouch_for_each_other() {
    let mut world = World::new(7, &[(1, &[4]), (4, &[8]), (5, &[12]), (6, &[12])]);
    for liar in [5, 6] {
        world.lies(liar, |message| match message {
            StateMessage::Offer { .. } => {
                let roots = vec![(16, Digest([7; 32]))];
                Some(StateMessage::Offer {
                    roots,
                    kept: vec![16],
                })
            }
            other => Some(other),
        });
    }
    world.want(0);
    world.run(10_000);
    world.assert_received(8);
}

#[test]
fn a_receiver_that_crashed_goes_on_where_it_was() {
    let mut world = World::new(4, &[(3, &[12])]);
    world.lies(3, |message| match message {
        StateMessage::Chunk { index, .. } if index >= 9 => None,
        other => Some(other),
    });
    world.want(0);
    world.run(500);
    assert_eq!(world.written.len(), 9);
    world.lies.clear();
    world.to_sink.clear();
    world.sink = Sink::new(world.view.clone(), ReplicaId(0), world.limits.clone());
    world.sent.clear();
    world.want(0);
    world.run(5_000);
    world.assert_received(12);
    let chunks = world.begun.as_ref().unwrap().chunks.len();
    assert_eq!(world.sent.len(), chunks - 9);
}

#[test]
fn a_source_keeps_its_rate_and_a_receiver_its_bound_in_flight() {
    let mut world = World::new(4, &[(3, &[12])]);
    let slow = TransferLimits {
        bytes_per_second: 1_000,
        ..world.limits.clone()
    };
    let mut source = Source::new(slow, 10);
    let kept = world.disks[&ReplicaId(3)][&12].clone();
    source.remember(12, kept.list.root());
    source.keep(1_000, &kept.list);
    world.sources.insert(ReplicaId(3), source);
    world.want(0);
    world.run(20_000);
    world.assert_received(12);
    let (first, last) = (world.sent[0].1, world.sent.last().unwrap().1);
    let bytes = (world.sent.len() as u64 - 1) * u64::from(CHUNK);
    assert!(
        bytes * 1_000 / (last - first) <= 1_100,
        "{bytes} bytes in {} ms",
        last - first
    );

    // A receiver that asks for everything at once is not served at once, nor are its questions hoarded.
    let mut greedy = Source::new(
        TransferLimits {
            bytes_per_second: 1_000,
            ..world.limits.clone()
        },
        10,
    );
    greedy.remember(12, kept.list.root());
    greedy.keep(1_000, &kept.list);
    let mut out = Vec::new();
    for _ in 0..1_000 {
        for index in 0..kept.list.chunks.len() as u32 {
            let message = StateMessage::FetchChunk { height: 12, index };
            greedy.hear(world.now, ReplicaId(0), &message, &mut out);
        }
    }
    assert!(out.len() <= 2, "{}", out.len());
    for step in 1..100 {
        greedy.tick(world.now + step * 1_000, &mut out);
    }
    assert!(out.len() <= 2 + world.limits.in_flight);
}

#[test]
fn a_checkpoint_that_is_being_fetched_stays_but_not_for_ever() {
    let (_, made) = checkpoints(4);
    let list = |height: Height| ChunkList {
        height,
        ..made[0].list.clone()
    };
    let mut source = Source::new(TransferLimits::default(), 10);
    assert_eq!(source.keep(0, &list(4)), [4]);
    assert_eq!(source.keep(0, &list(8)), [4, 8]);
    let fetch = |source: &mut Source, now: u64, height: Height| {
        let message = StateMessage::FetchChunk { height, index: 0 };
        source.hear(now, ReplicaId(1), &message, &mut Vec::new());
    };
    fetch(&mut source, 100, 4);
    assert_eq!(source.keep(1_000, &list(12)), [4, 8, 12]);
    // Only one beside the two newest.
    fetch(&mut source, 1_500, 8);
    assert_eq!(source.keep(2_000, &list(16)), [8, 12, 16]);
    fetch(&mut source, 11_000, 8);
    assert_eq!(source.keep(12_000, &list(20)), [8, 16, 20]);
    // Nobody asks any more.
    assert_eq!(source.keep(30_000, &list(24)), [20, 24]);
    // Somebody asks for ever.
    for now in (30_000..700_000).step_by(5_000) {
        fetch(&mut source, now, 20);
    }
    assert_eq!(source.keep(700_000, &list(28)), [24, 28]);
}

#[test]
fn an_endless_stream_that_nobody_asked_for_changes_nothing() {
    let mut world = World::new(4, &[(3, &[12])]);
    world.lies(3, |message| match message {
        StateMessage::Offer { .. } | StateMessage::List { .. } => Some(message),
        _ => None,
    });
    world.want(0);
    world.run(500);
    let list = world.begun.clone().unwrap();
    // Right chunks, but from another; wrong indices; another height; a list once more.
    for index in (0..200).chain([u32::MAX]) {
        let bytes = Bytes::from(vec![1; 100]);
        let chunk = |height| StateMessage::Chunk {
            height,
            index,
            bytes: bytes.clone(),
        };
        world.at_sink(|sink, now, out| sink.hear(now, ReplicaId(2), chunk(12), out));
        world.at_sink(|sink, now, out| sink.hear(now, ReplicaId(3), chunk(8), out));
        world.at_sink(|sink, now, out| sink.hear(now, ReplicaId(9), chunk(12), out));
    }
    assert_eq!(
        (world.begun.as_ref(), world.written.len()),
        (Some(&list), 0)
    );
    world.lies.clear();
    world.run(5_000);
    world.assert_received(12);
}

#[test]
fn a_transfer_that_the_log_overtook_ends() {
    let mut world = World::new(4, &[(3, &[12])]);
    world.lies(3, |message| match message {
        StateMessage::Chunk { .. } => None,
        other => Some(other),
    });
    world.want(0);
    world.run(300);
    world.sink.reached(11);
    assert!(world.sink.is_busy(), "12 is still of use");
    world.sink.reached(12);
    assert!(!world.sink.is_busy());
}

/// Its order has all decisions; what its service lacks of them is nowhere any more.
#[test]
fn a_service_that_is_behind_its_order_gets_a_state_all_the_same() {
    let mut world = World::new(4, &[(3, &[12])]);
    world.sink.reached(20);
    world.at_sink(|sink, now, out| sink.want_behind(now, 5, out));
    world.run(5_000);
    world.assert_received(12);
}

#[test]
fn every_bit_of_a_checkpoint_is_covered_by_its_root() {
    let (view, made) = checkpoints(4);
    let checkpoint = &made[0];
    let bytes = checkpoint.content.piece(0, usize::MAX);
    assert_eq!(bytes.len() as u64, checkpoint.content.length());
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let index = at / CHUNK as usize;
        let chunk = bent.chunks(CHUNK as usize).nth(index).unwrap();
        assert!(!checkpoint.list.holds(index as u32, chunk), "byte {at}");
    }
    // Hostile bytes are no checkpoint, whatever they claim.
    let last = checkpoint.summary.last.clone().unwrap();
    for hostile in [vec![], vec![0xff; 8], vec![0xff; 40], bytes[..20].to_vec()] {
        assert!(Content::open(&hostile.into(), last.clone(), &view).is_err());
    }
    let other = made[1].summary.last.clone().unwrap();
    assert!(Content::open(&bytes.into(), other, &view).is_err());
}
