//! Whether what the replicas hold at the end fits what the clients saw.

use std::collections::BTreeMap;

use super::ledger::{Applied, Dump, LaneId};
use super::load::LaneRecord;

/// Broken rules that are told: one is enough to fail.
const TOLD: usize = 50;

/// What one replica holds at the end.
pub struct Held {
    pub replica: u16,
    pub ledger: Dump,
    pub height: u64,
    /// The digest of the whole replicated state, where it can be equal.
    pub state: String,
}

/// The rules that are broken, in words; none when all is well.
///
/// Every acknowledged entry is applied exactly once at every replica; one whose outcome the client never learnt at most once; each in
/// its lane's order; nothing that nobody sent; and all replicas hold the same.
pub fn broken(records: &[LaneRecord], replicas: &[Held]) -> Vec<String> {
    let mut broken = Vec::new();
    let lanes: BTreeMap<LaneId, &LaneRecord> = records.iter().map(|r| (r.id, r)).collect();
    for record in records {
        let (client, lane) = record.id;
        let wrong = record.wrong.iter();
        broken.extend(wrong.map(|what| format!("client {client}, lane {lane}: {what}")));
    }
    for held in replicas {
        let replica = held.replica;
        // Applied twice, or out of order.
        let notes = held.ledger.notes.iter();
        broken.extend(notes.map(|note| format!("replica {replica}: {note}")));
        let applied: BTreeMap<LaneId, &Applied> = held
            .ledger
            .lanes
            .iter()
            .map(|(id, applied)| (*id, applied))
            .collect();
        for (id, record) in &lanes {
            let none = Applied::default();
            let applied = applied.get(id).copied().unwrap_or(&none);
            let says =
                |what: String| format!("replica {replica}, client {}, lane {}: {what}", id.0, id.1);
            broken.extend(lost(record, applied).map(says));
            broken.extend(unsent(record, applied).map(says));
        }
        let strangers = applied.keys().filter(|id| !lanes.contains_key(id));
        broken.extend(strangers.map(|id| format!("replica {replica}: nobody wrote as {id:?}")));
        broken.truncate(TOLD);
    }
    broken.extend(unequal(replicas));
    broken
}

/// Acknowledged, and not applied.
fn lost(record: &LaneRecord, applied: &Applied) -> Option<String> {
    let mut gaps = gaps(applied, record.issued);
    let first = gaps.find(|number| record.acknowledged(*number))?;
    let more = gaps.filter(|number| record.acknowledged(*number)).count();
    Some(format!(
        "entry {first} was acknowledged and is not applied ({more} more)"
    ))
}

/// The numbers up to `last` that are not applied.
fn gaps(applied: &Applied, last: u64) -> impl Iterator<Item = u64> {
    let ends = applied.ranges.iter().map(|range| range.1 + 1);
    let starts = applied.ranges.iter().map(|range| range.0);
    let from = std::iter::once(1).chain(ends);
    let to = starts.chain(std::iter::once(last + 1));
    from.zip(to).flat_map(|(from, to)| from..to)
}

fn unsent(record: &LaneRecord, applied: &Applied) -> Option<String> {
    let last = applied.last();
    (last > record.issued).then(|| {
        format!(
            "entry {last} is applied, and its client sent {} only",
            record.issued
        )
    })
}

fn unequal(replicas: &[Held]) -> impl Iterator<Item = String> {
    let first = replicas.first();
    replicas.iter().skip(1).filter_map(move |held| {
        let first = first?;
        let same = (held.height, &held.state, &held.ledger.digest)
            == (first.height, &first.state, &first.ledger.digest);
        (!same).then(|| {
            format!(
                "replicas {} and {} differ: heights {} and {}, ledgers {} and {}, states {} and {}",
                first.replica,
                held.replica,
                first.height,
                held.height,
                first.ledger.digest,
                held.ledger.digest,
                first.state,
                held.state
            )
        })
    })
}

/// Compares the ledgers' marks while they come in: two replicas at one height must tell the same.
#[derive(Default)]
pub struct Marks {
    seen: BTreeMap<u64, (u16, String)>,
    /// Marks that at least two replicas told, alike.
    pub compared: u64,
}

/// Heights whose marks are remembered.
const REMEMBERED: usize = 10_000;

impl Marks {
    /// What is broken by this replica's mark, if it is.
    pub fn see(&mut self, replica: u16, height: u64, digest: &str) -> Option<String> {
        let (first, known) = self
            .seen
            .entry(height)
            .or_insert_with(|| (replica, digest.to_owned()));
        if *first == replica {
            return None;
        }
        if known != digest {
            return Some(format!(
                "replicas {first} and {replica} differ before height {height}: {known} and {digest}"
            ));
        }
        self.compared += 1;
        while self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = (65_536, 0);

    fn record(issued: u64, unknown: &[u64]) -> LaneRecord {
        LaneRecord {
            id: LANE,
            issued,
            unknown: unknown.to_vec(),
            answers: Vec::new(),
            wrong: None,
        }
    }

    fn held(replica: u16, ranges: &[(u64, u64)]) -> Held {
        let applied = Applied {
            ranges: ranges.to_vec(),
            count: ranges.iter().map(|range| range.1 + 1 - range.0).sum(),
        };
        Held {
            replica,
            height: 9,
            state: "s".into(),
            ledger: Dump {
                height: 9,
                digest: "d".into(),
                lanes: vec![(LANE, applied)],
                notes: Vec::new(),
            },
        }
    }

    fn found(record: LaneRecord, replicas: &[Held]) -> String {
        broken(&[record], replicas).join("\n")
    }

    #[test]
    fn what_fits_breaks_nothing() {
        assert_eq!(
            found(record(5, &[]), &[held(0, &[(1, 5)]), held(1, &[(1, 5)])]),
            ""
        );
        // The client gave 2 and 5 up: 2 was never applied, 5 was.
        assert_eq!(found(record(5, &[2, 5]), &[held(0, &[(1, 1), (3, 5)])]), "");
        assert_eq!(found(record(5, &[5]), &[held(0, &[(1, 4)])]), "");
    }

    #[test]
    fn a_lost_entry_is_found_wherever_it_is() {
        for ranges in [&[(2, 5)][..], &[(1, 2), (4, 5)], &[(1, 4)]] {
            let told = found(record(5, &[]), &[held(0, &[(1, 5)]), held(1, ranges)]);
            assert!(
                told.contains("replica 1") && told.contains("acknowledged"),
                "{told}"
            );
        }
        let mut empty = held(0, &[]);
        empty.ledger.lanes.clear();
        assert!(
            found(record(3, &[]), &[empty])
                .contains("entry 1 was acknowledged and is not applied (2 more)")
        );
    }

    #[test]
    fn what_nobody_sent_is_found() {
        assert!(found(record(5, &[]), &[held(0, &[(1, 6)])]).contains("sent 5 only"));
        let mut stranger = held(0, &[(1, 5)]);
        let applied = stranger.ledger.lanes[0].1.clone();
        stranger.ledger.lanes.push(((7, 7), applied));
        assert!(found(record(5, &[]), &[stranger]).contains("nobody wrote"));
    }

    #[test]
    fn notes_wrong_answers_and_differences_are_told() {
        let mut noted = held(0, &[(1, 5)]);
        noted.ledger.notes.push("applied twice".into());
        assert!(found(record(5, &[]), &[noted]).contains("applied twice"));
        let mut wrong = record(5, &[]);
        wrong.wrong = Some("says 7".into());
        assert!(found(wrong, &[held(0, &[(1, 5)])]).contains("says 7"));
        for change in [
            |held: &mut Held| held.height = 8,
            |held: &mut Held| held.state = "t".into(),
            |held: &mut Held| held.ledger.digest = "e".into(),
        ] {
            let mut other = held(1, &[(1, 5)]);
            change(&mut other);
            let told = found(record(5, &[]), &[held(0, &[(1, 5)]), other]);
            assert!(told.contains("replicas 0 and 1 differ"), "{told}");
        }
    }

    #[test]
    fn marks_of_one_height_must_be_equal() {
        let mut marks = Marks::default();
        assert_eq!(marks.see(0, 64, "a"), None);
        assert_eq!(marks.see(0, 64, "a"), None);
        assert_eq!((marks.see(1, 64, "a"), marks.compared), (None, 1));
        assert_eq!(marks.see(1, 128, "b"), None);
        assert!(marks.see(2, 128, "c").unwrap().contains("height 128"));
    }
}
