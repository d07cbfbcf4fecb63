//! Several instances in flight: what is decided, and what survives a leader.

use crate::common::{ADMIN, CLIENT, OTHER, Table, change, key, request, signed};
use consensus::{
    Action, Batch, Core, Digest, Entry, Input, Message, Record, Recovered, ReplicaId, Settings,
    Step, sign_accept,
};

/// Twice the first stage of the time-outs, and a little.
const STAGE: u64 = 850;

fn deep(pipeline: usize) -> Table {
    let settings = Settings {
        pipeline,
        ..Settings::default()
    };
    Table::with(4, settings)
}

/// Heights that the leader proposed, each once.
fn proposed(table: &Table) -> Vec<u64> {
    let mut heights: Vec<u64> = table
        .sent
        .iter()
        .filter_map(|(_, _, message)| match message {
            Message::Propose { height, .. } => Some(*height),
            _ => None,
        })
        .collect();
    heights.sort_unstable();
    heights.dedup();
    heights
}

fn orders(table: &Table, i: usize) -> Vec<(u32, u64)> {
    let requests = table.decided[i].iter().flat_map(|d| &d.requests);
    requests.map(|r| (r.client.0, r.seq)).collect()
}

#[test]
fn so_many_instances_are_in_flight_and_no_more_and_they_are_decided_in_order() {
    for depth in [1, 3] {
        let mut table = deep(depth);
        (1..=5).for_each(|seq| table.submit(&request(CLIENT, seq)));
        assert_eq!(proposed(&table), Vec::from_iter(1..=depth as u64));
        table.settle();
        let numbers: Vec<u64> = orders(&table, 3).into_iter().map(|(_, seq)| seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "depth {depth}");
        table.assert_agreement();
    }
}

#[test]
fn another_instance_orders_no_fewer_than_the_one_before_it() {
    let mut table = deep(4);
    let many: Vec<_> = (1..=3).map(|seq| request(CLIENT, seq)).collect();
    table.feed(0, Input::Requests(many));
    table.feed(0, Input::Request(request(OTHER, 1)));
    table.feed(0, Input::Request(request(OTHER, 2)));
    assert_eq!(proposed(&table), [1], "two wait while three are in flight");
    table.feed(0, Input::Request(request(OTHER, 3)));
    assert_eq!(proposed(&table), [1, 2]);
}

#[test]
fn what_is_in_flight_is_not_proposed_again() {
    let mut table = deep(4);
    table.submit(&request(CLIENT, 1));
    // A copy, and a request that waits behind the one in flight.
    table.submit(&request(CLIENT, 1));
    table.submit(&request(CLIENT, 2));
    table.settle();
    assert_eq!(orders(&table, 1), [(CLIENT.0, 1), (CLIENT.0, 2)]);
}

#[test]
fn replicas_with_fewer_instances_than_their_leader_follow() {
    let mut table = deep(4);
    let core = |depth| {
        let settings = Settings {
            pipeline: depth,
            ..Settings::default()
        };
        let (view, now) = (table.genesis.clone(), table.now);
        let core = |i| {
            let (me, key) = (ReplicaId(i), key(i));
            Core::new(
                settings.clone(),
                view.clone(),
                me,
                key,
                Recovered::default(),
                now,
            )
        };
        [1, 2].map(core)
    };
    let [one, two] = core(1);
    (table.cores[1], table.cores[2]) = (Some(one), Some(two));
    for seq in 1..=12 {
        table.submit(&request(CLIENT, seq));
    }
    table.settle();
    table.pass(STAGE);
    assert_eq!(orders(&table, 1).len(), 12);
    assert_eq!(table.regencies(), [0; 4]);
    table.assert_agreement();
}

#[test]
fn nothing_is_accepted_above_what_is_not_accepted() {
    let mut table = deep(3);
    // The WRITEs of the first height are lost.
    table.passes = Box::new(|_, _, message| !matches!(message, Message::Write { height: 1, .. }));
    (1..=3).for_each(|seq| table.submit(&request(CLIENT, seq)));
    table.settle();
    let writes = |table: &Table, at| {
        let of = |m: &Message| matches!(m, Message::Write { height, .. } if *height == at);
        table.sent.iter().filter(|(_, _, m)| of(m)).count()
    };
    assert_eq!(writes(&table, 2), 12, "the second height is written");
    assert_eq!(table.count_sent("ACCEPT"), 0);
    // They are said again.
    table.passes = Box::new(|_, _, _| true);
    table.pass(STAGE / 2);
    assert_eq!(table.heights(), [3; 4]);
    assert_eq!(table.regencies(), [0; 4]);
}

#[test]
fn what_a_quorum_accepted_in_flight_survives_the_leader_at_its_heights() {
    let mut table = deep(4);
    // Only replica 3 hears ACCEPTs, decides three heights, and is cut off with them.
    table.passes = Box::new(|from, to, message| match message.name() {
        "ACCEPT" => to.0 == 3,
        "PROPOSE" | "WRITE" => true,
        _ => from.0 != 3,
    });
    (1..=3).for_each(|seq| table.submit(&request(CLIENT, seq)));
    table.settle();
    assert_eq!(table.heights(), [0, 0, 0, 3]);
    table.passes = Box::new(|from, to, message| {
        let old = matches!(message, Message::Accept { regency: 0, .. });
        !old && from.0 != 3 && to.0 != 3
    });
    table.crash(0);
    table.pass(4 * STAGE);
    // Two of four cannot go on; with the leader's memory they can.
    assert_eq!(table.heights()[..2], [0; 2]);
    table.restart_whole(0);
    table.submit(&request(OTHER, 1));
    table.pass(8 * STAGE);
    assert!(table.height(1) >= 4, "{:?}", table.heights());
    let order = [(CLIENT.0, 1), (CLIENT.0, 2), (CLIENT.0, 3), (OTHER.0, 1)];
    assert_eq!(orders(&table, 1), order);
    table.assert_agreement();
}

#[test]
fn a_restart_remembers_all_votes_in_flight_and_tells_them() {
    let mut table = deep(3);
    table.passes = Box::new(|_, _, message| message.name() != "ACCEPT");
    (1..=3).for_each(|seq| table.submit(&request(CLIENT, seq)));
    table.settle();
    let before = table.core(2).standing_records();
    assert_eq!(
        before.len(),
        1 + 3 + 3,
        "regency, three WRITEs, three ACCEPTs"
    );
    table.restart_whole(2);
    assert_eq!(table.core(2).standing_records(), before);
    // Its STOPDATA has them all.
    table.crash(0);
    table.pass(3 * STAGE);
    let told = table
        .sent
        .iter()
        .find_map(|(from, _, message)| match message {
            Message::StopData(data) if from.0 == 2 => Some(data.state.votes.clone()),
            _ => None,
        });
    let told = told.expect("replica 2 tells replica 1 where it stands");
    let heights: Vec<u64> = told.iter().map(|votes| votes.height).collect();
    assert_eq!(heights, [1, 2, 3]);
    assert!(told.iter().all(|votes| votes.lock.is_some()));
}

/// The leader alone hears ACCEPTs, decides what is in flight, and shows only the proof of the highest. That proof closes the heights
/// below it to any other value, and opens them to the values that it stands on.
#[test]
fn what_only_a_liar_decided_in_flight_is_decided_again_below_its_proof() {
    let mut table = deep(4);
    table.passes = Box::new(|_, to, message| message.name() != "ACCEPT" || to.0 == 0);
    (1..=3).for_each(|seq| table.submit(&request(CLIENT, seq)));
    table.settle();
    assert_eq!(table.heights(), [3, 0, 0, 0]);
    // From now on it says where it stands, and nothing else. Replica 1 hears that before the third honest state.
    table.passes = Box::new(|from, to, message| match message {
        Message::Accept { regency: 0, .. } => false,
        Message::StopData(_) => from.0 != 3,
        _ => from.0 != 0 || to.0 == 0,
    });
    table.pass(4 * STAGE);
    let proven = table.sent.iter().find_map(|(_, _, message)| match message {
        Message::Sync(sync) => Some(sync.last.as_ref().map(|last| last.height)),
        _ => None,
    });
    assert_eq!(proven, Some(Some(3)), "the SYNC holds the liar's proof");
    assert_eq!(table.heights(), [3; 4]);
    for i in 1..4 {
        let regencies = table.decided[i].iter().map(|decided| decided.proof.regency);
        assert!(
            regencies.into_iter().all(|regency| regency > 0),
            "by their own votes"
        );
    }
    table.submit(&request(CLIENT, 4));
    table.pass(4 * STAGE);
    assert_eq!(table.heights()[1..], [4; 3]);
    let numbers: Vec<u64> = orders(&table, 3).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    table.assert_agreement();
}

/// A leader shows replica 3 another value than the others, and goes on behind each.
#[test]
fn behind_a_value_that_was_not_decided_nothing_is_accepted() {
    let mut table = deep(3);
    table.crash(0);
    let now = table.now;
    let first = |late: u64| Batch {
        after: Digest::default(),
        time_ms: now + late,
        entries: vec![Entry::of(&request(CLIENT, 1))],
    };
    let behind = |below: &Batch| Batch {
        after: below.digest(),
        time_ms: now + 5,
        entries: vec![Entry::of(&request(CLIENT, 2))],
    };
    for i in 1..4 {
        table.feed(i, Input::Request(request(CLIENT, 1)));
        table.feed(i, Input::Request(request(CLIENT, 2)));
        let below = first(u64::from(i == 3));
        for (height, batch) in [(1, below.clone()), (2, behind(&below))] {
            let (regency, digest) = (0, batch.digest());
            let signature = sign_accept(&key(0), &table.view, height, regency, &digest);
            let votes = [
                Message::Propose {
                    height,
                    regency,
                    batch,
                },
                Message::Write {
                    height,
                    regency,
                    digest,
                },
                Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                },
            ];
            votes.into_iter().for_each(|vote| table.tell(0, i, vote));
        }
    }
    // 0, 1 and 2 decide both heights; replica 3 wrote another history.
    table.settle();
    table.pass(STAGE);
    assert_eq!(table.heights()[..2], [2; 2]);
    let accepts = table
        .sent
        .iter()
        .filter(|(from, _, message)| from.0 == 3 && matches!(message, Message::Accept { .. }));
    assert_eq!(accepts.count(), 0);
    table.pass(4 * STAGE);
    assert_eq!(table.heights(), [2; 3]);
    table.assert_agreement();
}

#[test]
fn a_value_names_the_one_it_stands_on() {
    let mut table = deep(3);
    table.crash(0);
    let entries = vec![Entry::of(&request(CLIENT, 1))];
    let (height, regency) = (1, 0);
    let batch = Batch {
        after: Digest([1; 32]),
        time_ms: table.now,
        entries,
    };
    for i in 1..4 {
        table.feed(i, Input::Request(request(CLIENT, 1)));
        let batch = batch.clone();
        table.tell(
            0,
            i,
            Message::Propose {
                height,
                regency,
                batch,
            },
        );
    }
    assert_eq!(table.count_sent("WRITE"), 0);
}

#[test]
fn nothing_is_in_flight_above_a_change_of_the_view() {
    let mut table = deep(4);
    let step = Step::SetLeader {
        replica: ReplicaId(2),
    };
    let change = change(1, 1, &[step]).verify(&table.view).unwrap();
    table.submit(&request(CLIENT, 1));
    table.submit(&change);
    table.submit(&request(CLIENT, 2));
    assert_eq!(proposed(&table), [1, 2]);
    table.settle();
    table.pass(STAGE);
    assert_eq!(table.heights(), [3; 4]);
    assert_eq!(table.view.id, 2);
    let by = table.decided[0].iter().map(|d| d.requests[0].client);
    assert_eq!(Vec::from_iter(by), [CLIENT, ADMIN, CLIENT]);
    assert_eq!(table.core(1).status().leader, ReplicaId(2));
    table.assert_agreement();
}

/// A proposal at a height far above is no instance in flight.
#[test]
fn instances_beyond_the_bound_take_no_votes() {
    let mut table = deep(3);
    let batch = Batch {
        after: Digest::default(),
        time_ms: table.now,
        entries: vec![Entry::of(
            &signed(CLIENT, 1, 1, "op 1").verify(&table.view).unwrap(),
        )],
    };
    let mut core = table.fresh(1, Recovered::default());
    let mut out: Vec<Action> = Vec::new();
    for height in 4..200 {
        let (from, batch) = (ReplicaId(0), batch.clone());
        let message = Message::Propose {
            height,
            regency: 0,
            batch,
        };
        core.handle(table.now, Input::Message { from, message }, &mut out);
    }
    assert!(
        !out.iter()
            .any(|action| matches!(action, Action::Persist { .. }))
    );
    table.cores[1] = Some(core);
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [1; 4]);
}

/// A log may begin far below the checkpoint that a restart begins with.
#[test]
fn a_vote_in_flight_of_a_view_that_has_ended_binds_no_restart() {
    let mut table = deep(4);
    let step = Step::SetLeader {
        replica: ReplicaId(2),
    };
    let change = change(1, 1, &[step]).verify(&table.view).unwrap();
    table.submit(&change);
    table.settle();
    let summary = table.core(1).summary().clone();
    let votes = |view| {
        let mut recovered = Recovered::from_summary(summary.clone());
        recovered.record(Record::Write {
            view,
            height: 2,
            regency: 0,
            digest: Digest([7; 32]),
            after: Digest([6; 32]),
            value: None,
        });
        let core = table.fresh(1, recovered);
        let standing = core.standing_records().into_iter();
        standing
            .filter(|record| matches!(record, Record::Write { .. }))
            .count()
    };
    assert_eq!((votes(1), votes(2)), (0, 1));
}
