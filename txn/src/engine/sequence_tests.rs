//! No value of a sequence is given to two committed transactions (decision 33).

use super::group::{CLIENT, Group4, key, step, view};
use super::*;
use crate::operation::{SequenceUse, SequenceValues, Step};
use crate::ordered::Auto;

const NAME: &str = "public.s";

fn gave(first: i64, count: u64) -> SequenceUse {
    SequenceUse::Given { first, count }
}

fn set(value: i64) -> SequenceUse {
    SequenceUse::Set {
        value,
        called: true,
    }
}

/// A step that used the sequence like this.
fn using(uses: &[SequenceUse]) -> Step {
    let mut step = step(false);
    step.evidence.sequences = vec![SequenceValues {
        sequence: NAME.into(),
        uses: uses.to_vec(),
    }];
    step
}

/// A height with the commits of these, each of one step, all judged COMMIT where they are judged.
fn commit_all(group: &mut Group4, of: Vec<(TxId, Vec<Step>)>) -> Height {
    let many = of.len() as u32;
    let batch = of.into_iter().map(|(tx, steps)| group.commit_of(tx, steps));
    let batch = batch.collect();
    let height = group.decide(batch);
    for _ in 0..many {
        for (replica, index) in (0..4).flat_map(|replica| (0..many).map(move |i| (replica, i))) {
            if group.judgements(replica, height, index) > 0 {
                group.judge(replica, height, index, Ballot::Commit);
            }
        }
        group.exchange();
    }
    height
}

fn commit(group: &mut Group4, tx: TxId, uses: &[SequenceUse]) -> Verdict {
    let height = commit_all(group, vec![(tx, vec![using(uses)])]);
    verdicts(group, height)[0]
}

fn verdicts(group: &Group4, height: Height) -> Vec<Verdict> {
    let all: Vec<_> = (0..4)
        .map(|replica| group.verdicts(replica, height))
        .collect();
    assert!(all.iter().all(|of| *of == all[0]), "{all:?}");
    let of = all[0].clone().expect("the height is final");
    of.into_iter().map(|(_, verdict)| verdict).collect()
}

/// A transaction of its own for these.
fn run(group: &mut Group4, uses: &[SequenceUse]) -> Verdict {
    let tx = group.begin();
    commit(group, tx, uses)
}

fn repeats(group: &Group4) -> Vec<i64> {
    let told = group.done[2].iter().filter_map(|action| match action {
        Action::Repeated { repeat, .. } => Some(repeat.value),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_value_that_was_given_to_a_commit_is_not_given_again() {
    let mut group = Group4::new();
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    for (first, count) in [(1, 1), (5, 1), (3, 2), (0, 2), (5, 9), (-9, 99)] {
        assert_eq!(
            run(&mut group, &[gave(first, count)]),
            Verdict::Abort,
            "{first}, {count}"
        );
    }
    assert_eq!(repeats(&group), [1, 5, 3, 1, 5, 1]);
    assert_eq!(run(&mut group, &[gave(6, 1)]), Verdict::Commit);
    // Nobody was asked to judge what the order refuses.
    assert_eq!(group.judgements(1, group.height, 0), 1);
    assert_eq!(
        run(&mut group, &[gave(7, 1), gave(9, 1), gave(7, 1)]),
        Verdict::Abort
    );
}

#[test]
fn what_was_aborted_was_given_to_nobody() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit_of = group.commit_of(tx, vec![using(&[gave(1, 1 << 40)])]);
    let height = group.decide(vec![commit_of]);
    (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Abort));
    group.exchange();
    assert_eq!(verdicts(&group, height), [Verdict::Abort]);
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
}

#[test]
fn transactions_may_commit_in_another_order_than_they_drew() {
    let mut group = Group4::new();
    let txs: Vec<TxId> = (0..3).map(|_| group.begin()).collect();
    for (place, value) in [(2, 3), (0, 1), (1, 2)] {
        assert_eq!(
            commit(&mut group, txs[place], &[gave(value, 1)]),
            Verdict::Commit
        );
    }
    // However long it takes, and however much comes and goes meanwhile.
    let slow = group.begin();
    for value in (0..100).map(|i| 5 + 2 * i) {
        assert_eq!(run(&mut group, &[gave(value, 1)]), Verdict::Commit);
    }
    assert_eq!(commit(&mut group, slow, &[gave(4, 1)]), Verdict::Commit);
    assert_eq!(run(&mut group, &[gave(4, 1)]), Verdict::Abort);
}

#[test]
fn where_a_sequence_was_set_or_went_round_it_begins_anew() {
    let again = |anew: SequenceUse| {
        let mut group = Group4::new();
        assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
        let uses = [gave(6, 1), anew, gave(1, 2)];
        assert_eq!(run(&mut group, &uses), Verdict::Commit);
        let again = run(&mut group, &[gave(2, 1)]);
        assert_eq!(run(&mut group, &[gave(3, 4)]), Verdict::Commit);
        again
    };
    assert_eq!(again(set(0)), Verdict::Abort);
    // What is given then nobody can tell, and it is not remembered.
    assert_eq!(again(SequenceUse::Anew), Verdict::Commit);
    assert_eq!(again(SequenceUse::Cycled), Verdict::Commit);
    // What it took before is compared all the same.
    let mut group = Group4::new();
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    assert_eq!(run(&mut group, &[gave(5, 1), set(0)]), Verdict::Abort);
    assert_eq!(
        run(&mut group, &[gave(4, 1)]),
        Verdict::Abort,
        "an abort sets nothing"
    );
}

#[test]
fn a_change_of_the_schema_may_make_any_sequence_begin_anew_and_what_only_adds_none() {
    let mut group = Group4::new();
    let changes = |group: &mut Group4, adds_only: bool| {
        let tx = group.begin();
        let mut step = step(true);
        step.evidence.adds_only = adds_only;
        let height = commit_all(group, vec![(tx, vec![step])]);
        assert_eq!(verdicts(group, height), [Verdict::Commit]);
    };
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    changes(&mut group, true);
    assert_eq!(run(&mut group, &[gave(5, 1)]), Verdict::Abort);
    changes(&mut group, false);
    assert_eq!(run(&mut group, &[gave(5, 1)]), Verdict::Commit);
}

#[test]
fn of_two_in_one_height_the_first_that_commits_has_the_value() {
    let mut group = Group4::new();
    let both = |group: &mut Group4| {
        let txs = [group.begin(), group.begin(), group.begin()];
        let uses = [gave(1, 2), gave(2, 2), gave(9, 1)];
        let items = txs.into_iter().zip(uses);
        items
            .map(|(tx, what)| group.commit_of(tx, vec![using(&[what])]))
            .collect::<Vec<_>>()
    };
    let batch = both(&mut group);
    let height = group.decide(batch);
    // The second one waits for the verdict on the first; the third has nothing to do with them.
    assert_eq!(
        [0, 1, 2].map(|index| group.judgements(3, height, index)),
        [1, 0, 1]
    );
    (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Commit));
    (0..4).for_each(|replica| group.judge(replica, height, 2, Ballot::Commit));
    group.exchange();
    assert_eq!(
        verdicts(&group, height),
        [Verdict::Commit, Verdict::Abort, Verdict::Commit]
    );
    assert_eq!(repeats(&group), [2]);

    let mut group = Group4::new();
    let batch = both(&mut group);
    let height = group.decide(batch);
    (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Abort));
    (0..4).for_each(|replica| group.judge(replica, height, 2, Ballot::Commit));
    group.exchange();
    assert_eq!(group.judgements(3, height, 1), 1, "nobody else has it");
    (0..4).for_each(|replica| group.judge(replica, height, 1, Ballot::Commit));
    group.exchange();
    assert_eq!(
        verdicts(&group, height),
        [Verdict::Abort, Verdict::Commit, Verdict::Commit]
    );
}

#[test]
fn in_one_height_a_sequence_that_was_set_begins_anew_for_those_behind() {
    let mut group = Group4::new();
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    let txs = [group.begin(), group.begin(), group.begin()];
    let uses = [vec![set(0)], vec![gave(1, 1)], vec![gave(1, 1)]];
    let items = txs.into_iter().zip(uses);
    let height = commit_all(
        &mut group,
        items.map(|(tx, uses)| (tx, vec![using(&uses)])).collect(),
    );
    assert_eq!(
        verdicts(&group, height),
        [Verdict::Commit, Verdict::Commit, Verdict::Abort]
    );
}

#[test]
fn an_autocommit_write_is_given_nothing_again_either() {
    let mut group = Group4::new();
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    for (value, wanted) in [(5, Verdict::Abort), (6, Verdict::Commit)] {
        let (epoch, ran_at) = (group.engines[0].epoch(), group.height);
        group.seq += 1;
        let (tx, step) = (group.auto(), using(&[gave(value, 1)]));
        let word = group.word(tx, epoch, std::slice::from_ref(&step));
        let auto = Auto {
            tx,
            epoch,
            ran_at,
            settings: vec![],
            step,
            word: Some(Box::new(word)),
        };
        let placed = group.place(CLIENT, Ordered::Auto(auto));
        let height = group.decide(vec![placed]);
        (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Commit));
        group.exchange();
        assert_eq!(verdicts(&group, height), [wanted], "{value}");
    }
}

#[test]
fn who_begins_with_a_state_knows_what_was_given() {
    let mut group = Group4::new();
    assert_eq!(run(&mut group, &[gave(1, 5)]), Verdict::Commit);
    let mut state = group.engines[3].ordered_state();
    state.complete(group.engines[3].settled());
    let bytes = postcard::to_stdvec(&state).unwrap();
    let mut fresh = Engine::new(ReplicaId(3), key(3), view());
    fresh.restore(postcard::from_bytes(&bytes).unwrap());
    group.engines[3] = fresh;
    group.done[3].clear();
    // It refuses it as the others do: nobody votes.
    assert_eq!(run(&mut group, &[gave(5, 1)]), Verdict::Abort);
    assert_eq!(run(&mut group, &[gave(6, 1)]), Verdict::Commit);
}

#[test]
fn what_sequences_gave_counts_under_the_masters_word_alone() {
    let mut group = Group4::new();
    let victim = group.begin();
    // A client says that it was given what another one holds, or what the master's word is about is something else.
    let steps = vec![using(&[gave(1, 1)])];
    let (epoch, other) = (group.engines[0].epoch(), vec![using(&[gave(2, 1)])]);
    let tx = group.begin();
    let forged = [
        None,
        Some(group.word(tx, epoch, &other)),
        Some(group.word(victim, epoch, &steps)),
    ];
    for word in forged {
        let tx = group.begin();
        let commit = Ordered::Commit(crate::ordered::Commit {
            tx,
            epoch,
            steps: steps.clone(),
            word,
        });
        let placed = group.place(CLIENT, commit);
        let height = group.decide(vec![placed]);
        group.exchange();
        assert_eq!(verdicts(&group, height), [Verdict::Abort], "{word:?}");
        assert_eq!(group.judgements(2, height, 0), 0);
    }
    assert_eq!(commit(&mut group, victim, &[gave(1, 1)]), Verdict::Commit);
}

#[test]
fn a_number_of_a_transaction_is_none_of_an_autocommit_write() {
    let mut group = Group4::new();
    let tx = group.begin();
    let auto = Auto {
        tx,
        epoch: group.engines[0].epoch(),
        ran_at: group.height,
        settings: vec![],
        step: step(false),
        word: None,
    };
    let placed = group.place(CLIENT, Ordered::Auto(auto));
    let height = group.decide(vec![placed]);
    group.exchange();
    assert_eq!(verdicts(&group, height), [Verdict::Abort]);
    assert!(group.engines[2].is_open(&tx));
}
