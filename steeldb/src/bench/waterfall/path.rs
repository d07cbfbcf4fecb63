//! The way of one transaction, cut into stages that follow each other and add up to the whole.

use consensus::{Mode, Sizes};

use super::events::{Moment, Replica, Told, Transaction};

/// The stages, in order.
pub const STAGES: [&str; 14] = [
    "BEGIN: ordered, snapshot taken",
    "operations: proxy to master",
    "operations: PostgreSQL at the master",
    "operations: master to proxy",
    "application between operations",
    "COMMIT: proxy to leader",
    "held until the last height is done",
    "agreed: PROPOSE, WRITE, ACCEPT",
    "until the last replica begins to judge",
    "judged: the last replica has run it",
    "own votes durable",
    "votes exchanged, verdict",
    "PostgreSQL commits at a quorum",
    "answers to the proxy",
];

/// Milliseconds of each stage, or nothing where a part of the way was not told (an abort, a restart).
pub fn stages(told: &Told, tx: &str, transaction: &Transaction) -> Option<[f64; STAGES.len()]> {
    let begin = transaction.begin?;
    let operations: Vec<_> = transaction.operations.values().collect();
    let mut stages = [0.0; STAGES.len()];
    let ms = |from: Moment, to: Moment| (to - from).max(0) as f64 / 1000.0;
    // The first operation waits for the snapshot.
    let first = operations.first()?;
    stages[0] = ms(begin, first.run?);
    let mut answered = None;
    for operation in operations {
        let (run, ran, back) = (operation.run?, operation.ran?, operation.answered?);
        if let Some(before) = answered {
            let sent = operation.sent?;
            stages[4] += ms(before, sent);
            stages[1] += ms(sent, run);
        }
        stages[2] += ms(run, ran);
        stages[3] += ms(ran, back);
        answered = Some(back);
    }
    let commit = transaction.commit?;
    stages[4] += ms(answered?, commit);
    let mut at = commit;
    for (stage, milestone) in stages[5..]
        .iter_mut()
        .zip(milestones(told, tx, transaction)?)
    {
        // What several replicas do overlaps: a milestone that was reached before counts nothing.
        *stage = ms(at, milestone);
        at = at.max(milestone);
    }
    Some(stages)
}

/// When each stage of the commit was over.
fn milestones(told: &Told, tx: &str, transaction: &Transaction) -> Option<[Moment; 9]> {
    let replicas = &told.replicas;
    let height = replicas
        .iter()
        .find_map(|replica| replica.heights.get(tx))?;
    let leader = replicas
        .iter()
        .find(|replica| replica.proposed.contains_key(height))?;
    let all = |of: &dyn Fn(&Replica) -> Option<Moment>| -> Option<Vec<Moment>> {
        let mut moments = replicas.iter().map(of).collect::<Option<Vec<_>>>()?;
        moments.sort_unstable();
        Some(moments)
    };
    let judged = all(&|replica| replica.judged.get(tx).copied())?;
    let last_judged = *judged.last()?;
    // The part of a replica's votes that holds this one is the first after it was judged there.
    let voted = all(&|replica| {
        let judged = *replica.judged.get(tx)?;
        let parts = replica.voted.get(height)?;
        parts.iter().copied().find(|part| *part >= judged)
    })?;
    let n = replicas.len();
    let even = Sizes {
        mode: Mode::Byzantine,
        n,
        f: Mode::Byzantine.max_faulty(n),
        weighted: false,
    };
    let quorum = even.quorum();
    let nth = |moments: Vec<Moment>| moments.get(quorum - 1).copied();
    Some([
        *leader.requests.get(&transaction.seq?)?,
        leader.proposed[height],
        *leader.decided.get(height)?,
        *all(&|replica| replica.judge.get(tx).copied())?.last()?,
        last_judged,
        *voted.last()?,
        nth(all(&|replica| replica.verdict.get(tx).copied())?)?,
        nth(all(&|replica| replica.applied.get(tx).copied())?)?,
        transaction.committed?,
    ])
}
