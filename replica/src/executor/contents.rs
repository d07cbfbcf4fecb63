//! What replicas hold at the heights at which all compare, and who is the odd one (no I/O).

use consensus::{Digest, Height, ReplicaId};
use std::collections::BTreeMap;

/// Heights of which reports of one replica are kept; reports come within seconds of each other.
const HEIGHTS: usize = 8;
/// Tables of one report, and bytes of a name: two quoted identifiers.
const TABLES: usize = 2;
const NAME: usize = 512;

/// (name, rows, digest)
pub type Contents = Vec<(String, u64, Digest)>;

/// Who does not hold what enough others hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    pub replica: ReplicaId,
    pub height: Height,
    /// What differs.
    pub table: String,
    /// So many hold the same.
    pub others: usize,
}

/// The last reports of each replica: whatever one reports, it pushes out its own only.
#[derive(Default)]
pub struct Reports(BTreeMap<ReplicaId, BTreeMap<Height, Contents>>);

impl Reports {
    /// Takes one replica's report of a height: the first counts. False when it is out of bounds.
    pub fn add(&mut self, height: Height, from: ReplicaId, contents: Contents) -> bool {
        let fits = contents.len() <= TABLES && contents.iter().all(|(name, ..)| name.len() <= NAME);
        if fits {
            let reports = self.0.entry(from).or_default();
            reports.entry(height).or_insert(contents);
            while reports.len() > HEIGHTS {
                reports.pop_first();
            }
        }
        fits
    }

    /// Those that differ, in a table, from what at least `enough` replicas hold alike at a height.
    ///
    /// With `enough` = f+1 one of those is correct, and correct replicas hold the same at one height: whoever differs from
    /// them is wrong. Fewer accusers, f liars among them, never do. A table that a replica lacks shows in its schema.
    pub fn odd(&self, height: Height, enough: usize) -> Vec<Odd> {
        let of_height = |(replica, reports): (&ReplicaId, &BTreeMap<Height, Contents>)| {
            Some((*replica, reports.get(&height)?.clone()))
        };
        let reports: BTreeMap<ReplicaId, Contents> = self.0.iter().filter_map(of_height).collect();
        let held = |table: &str| {
            let of = |contents: &Contents| {
                let found = contents.iter().find(|(name, ..)| name == table)?;
                Some((found.1, found.2))
            };
            let replicas = reports.iter();
            let held = replicas.filter_map(|(replica, contents)| Some((*replica, of(contents)?)));
            held.collect::<Vec<_>>()
        };
        let mut tables: Vec<&str> = reports
            .values()
            .flatten()
            .map(|(name, ..)| &**name)
            .collect();
        tables.sort_unstable();
        tables.dedup();
        let mut odd = Vec::new();
        for table in tables {
            let held = held(table);
            let same = |content| held.iter().filter(|(_, other)| *other == content).count();
            let Some(truth) = held.iter().map(|(_, c)| *c).find(|c| same(*c) >= enough) else {
                continue;
            };
            let differing = held.iter().filter(|(_, content)| *content != truth);
            odd.extend(differing.map(|(replica, _)| Odd {
                replica: *replica,
                height,
                table: table.to_owned(),
                others: same(truth),
            }));
        }
        odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(digest: u8) -> Contents {
        let schema = ("(schema)".to_owned(), 3, Digest([1; 32]));
        vec![schema, ("public.a".to_owned(), 2, Digest([digest; 32]))]
    }

    fn odd(held: &[(u16, u8)], enough: usize) -> Vec<u16> {
        let mut reports = Reports::default();
        for (replica, digest) in held {
            assert!(reports.add(9, ReplicaId(*replica), contents(*digest)));
        }
        let odd = reports.odd(9, enough);
        assert!(odd.iter().all(|odd| odd.table == "public.a"));
        odd.into_iter().map(|odd| odd.replica.0).collect()
    }

    #[test]
    fn whoever_differs_from_two_of_four_is_the_odd_one() {
        assert_eq!(odd(&[(0, 1), (1, 1), (2, 7), (3, 1)], 2), [2]);
        assert_eq!(odd(&[(2, 7), (3, 1), (1, 1)], 2), [2]);
        assert!(odd(&[(0, 1), (1, 1), (2, 1), (3, 1)], 2).is_empty());
    }

    #[test]
    fn a_single_accuser_makes_nobody_odd() {
        assert!(odd(&[(0, 1), (1, 7)], 2).is_empty(), "one against one");
        assert!(odd(&[(0, 7)], 2).is_empty());
        // f = 2 of seven: two liars that agree are not enough against one.
        assert!(odd(&[(0, 1), (5, 7), (6, 7)], 3).is_empty());
    }

    #[test]
    fn replicas_that_looked_at_different_tables_differ_in_nothing() {
        let mut reports = Reports::default();
        for replica in 0..3 {
            reports.add(9, ReplicaId(replica), contents(1));
        }
        let schema = contents(1).swap_remove(0);
        let other = vec![schema, ("public.b".to_owned(), 5, Digest([9; 32]))];
        reports.add(9, ReplicaId(3), other);
        assert!(reports.odd(9, 2).is_empty());
    }

    #[test]
    fn a_report_is_not_revised_and_old_heights_are_forgotten() {
        let mut reports = Reports::default();
        for replica in 0..3 {
            reports.add(1, ReplicaId(replica), contents(1));
        }
        reports.add(1, ReplicaId(2), contents(7));
        assert!(reports.odd(1, 2).is_empty());
        for height in 2..=HEIGHTS as u64 + 1 {
            reports.add(height, ReplicaId(0), contents(1));
        }
        assert!(reports.odd(1, 3).is_empty() && reports.0[&ReplicaId(0)].len() == HEIGHTS);
        assert!(reports.0[&ReplicaId(1)].contains_key(&1), "others' stay");
        let long = vec![("x".repeat(NAME + 1), 0, Digest([0; 32]))];
        assert!(!reports.add(10, ReplicaId(1), long));
    }
}
