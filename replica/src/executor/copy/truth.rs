//! What to believe of what the others say that they hold (no I/O).

use consensus::{Height, ReplicaId};
use std::collections::BTreeMap;
use txn::copy::{Holding, Position};

/// What f+1 replicas hold alike at one height, and who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub height: Height,
    pub holding: Holding,
    pub sources: Vec<ReplicaId>,
}

/// What the members say, of one height each: the last one.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<ReplicaId, (Height, Option<Holding>)>);

impl Claims {
    /// A member keeps a height. An earlier one is not kept any more.
    pub fn keeps(&mut self, from: ReplicaId, height: Height) {
        let newer = self.0.get(&from).is_none_or(|(known, _)| *known < height);
        if newer {
            self.0.insert(from, (height, None));
        }
    }

    /// What a member holds at a height that it keeps. What it said first of that height counts.
    pub fn holds(&mut self, from: ReplicaId, height: Height, holding: Holding) {
        self.keeps(from, height);
        if let Some((kept, claim)) = self.0.get_mut(&from)
            && *kept == height
        {
            claim.get_or_insert(holding);
        }
    }

    /// A member does not keep this height, or not any more.
    pub fn gone(&mut self, from: ReplicaId, height: Height) {
        if self.0.get(&from).is_some_and(|(kept, _)| *kept == height) {
            self.0.remove(&from);
        }
    }

    /// Who keeps which height.
    pub fn keepers(&self) -> impl Iterator<Item = (ReplicaId, Height)> {
        self.0.iter().map(|(from, (height, _))| (*from, *height))
    }

    /// The newest height that at least `enough` members keep.
    pub fn kept(&self, enough: usize) -> Option<Height> {
        let heights = self.0.values().map(|(height, _)| *height);
        let count = |height| self.0.values().filter(|(kept, _)| *kept == height).count();
        heights.filter(|height| count(*height) >= enough).max()
    }

    /// Those that keep this height have all said what they hold.
    pub fn complete(&self, height: Height) -> bool {
        let mut kept = self.0.values().filter(|(kept, _)| *kept == height);
        kept.all(|(_, claim)| claim.is_some())
    }

    /// What at least `enough` members hold alike. With `enough` = f+1 one of those is correct, and correct ones hold the same at one
    /// height: it is the truth, whatever the others say.
    pub fn truth(&self, enough: usize) -> Option<Truth> {
        let claims = || {
            let said = self.0.iter();
            said.filter_map(|(from, (height, claim))| Some((*from, *height, claim.as_ref()?)))
        };
        claims().find_map(|(_, height, holding)| {
            let same = claims()
                .filter(|(_, other, claim)| *other == height && claim.agreed() == holding.agreed());
            let same: Vec<_> = same.collect();
            let positions = positions(same.iter().map(|(.., claim)| &claim.positions), enough);
            (same.len() >= enough).then(|| Truth {
                height,
                holding: Holding {
                    positions,
                    ..holding.clone()
                },
                sources: same.iter().map(|(from, ..)| *from).collect(),
            })
        })
    }
}

/// Where the sequences are to stand: of each the `enough`-th furthest of what the sources say.
///
/// With `enough` = f+1 that is not further than a correct source's, so nobody can push a sequence to its end; and of f+1 correct sources
/// none is behind what the order has handed out, so it is not either. Sources run ahead of the order, each its own way.
fn positions<'a>(said: impl Iterator<Item = &'a Vec<Position>>, enough: usize) -> Vec<Position> {
    let mut by_name: BTreeMap<&str, Vec<&Position>> = BTreeMap::new();
    for position in said.flatten() {
        let known = by_name.entry(&position.sequence).or_default();
        known.push(position);
    }
    let chosen = by_name.into_values().filter_map(|mut known| {
        let upwards = known.iter().filter(|p| p.ascending).count() * 2 > known.len();
        known.sort_by_key(|p| {
            let way = if upwards { p.last } else { !p.last };
            std::cmp::Reverse((way, p.called))
        });
        known.get(enough.checked_sub(1)?).copied().cloned()
    });
    chosen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Digest;

    fn holding(digest: u8, last: i64) -> Holding {
        Holding {
            tables: vec![("public.a".into(), 2, Digest([digest; 32]))],
            positions: vec![Position {
                sequence: "public.s".into(),
                last,
                called: true,
                ascending: true,
            }],
            ..Holding::default()
        }
    }

    fn claims(said: &[(u16, Height, u8, i64)]) -> Claims {
        let mut claims = Claims::default();
        for (from, height, digest, last) in said {
            claims.holds(ReplicaId(*from), *height, holding(*digest, *last));
        }
        claims
    }

    fn sources(said: &[(u16, Height, u8, i64)], enough: usize) -> Option<Vec<u16>> {
        let truth = claims(said).truth(enough)?;
        Some(truth.sources.iter().map(|source| source.0).collect())
    }

    #[test]
    fn the_truth_is_what_two_of_three_hold_alike_at_one_height() {
        assert_eq!(
            sources(&[(0, 9, 7, 0), (1, 9, 1, 0), (3, 9, 1, 0)], 2),
            Some(vec![1, 3])
        );
        assert_eq!(
            sources(&[(0, 9, 7, 0), (1, 9, 1, 0)], 2),
            None,
            "one against one"
        );
        assert_eq!(
            sources(&[(0, 8, 1, 0), (1, 9, 1, 0)], 2),
            None,
            "of two heights"
        );
        // f = 2 of seven: two liars that agree are not enough.
        assert_eq!(
            sources(&[(0, 9, 7, 0), (1, 9, 7, 0), (2, 9, 1, 0)], 3),
            None
        );
    }

    #[test]
    fn what_was_said_of_a_height_stands_until_that_height_is_gone() {
        let mut claims = claims(&[(0, 9, 1, 0), (1, 9, 7, 0)]);
        claims.holds(ReplicaId(1), 9, holding(1, 0));
        assert_eq!(claims.truth(2), None, "not revised");
        claims.holds(ReplicaId(1), 8, holding(1, 0));
        assert_eq!(
            claims.kept(2),
            Some(9),
            "an older height counts for nothing"
        );
        claims.gone(ReplicaId(1), 9);
        assert_eq!(claims.kept(2), None);
        assert!(claims.keepers().eq([(ReplicaId(0), 9)]));
        claims.keeps(ReplicaId(1), 9);
        assert!(!claims.complete(9));
        let both = [(ReplicaId(0), 9), (ReplicaId(1), 9)];
        assert!(claims.keepers().eq(both), "to be released");
        claims.holds(ReplicaId(1), 9, holding(1, 0));
        assert!(claims.complete(9) && claims.truth(2).is_some());
    }

    #[test]
    fn no_liar_pushes_a_sequence_to_its_end_or_holds_it_back() {
        let stands = |lasts: [i64; 3], ascending: bool| {
            let mut claims = Claims::default();
            for (from, last) in lasts.into_iter().enumerate() {
                let mut said = holding(1, last);
                said.positions[0].ascending = ascending;
                claims.holds(ReplicaId(from as u16), 9, said);
            }
            claims.truth(2).unwrap().holding.positions[0].last
        };
        assert_eq!(stands([i64::MAX, 40, 45], true), 45);
        assert_eq!(stands([1, 40, 45], true), 40);
        assert_eq!(stands([i64::MIN, -40, -45], false), -45);
        assert_eq!(stands([-1, -40, -45], false), -40);
    }
}
