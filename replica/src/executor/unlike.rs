//! Replicas tell each other at the start of a link what their PostgreSQL is: who is unlike the others stops.

use super::{Executor, Fatal};
use crate::postgres::{Differences, Fingerprint, MayDiffer};
use consensus::{Height, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use txn::peer::PeerMessage;

/// What is told of one peer: differences, and characters of each. A liar may name as many as it likes.
const LINES: usize = 20;
const LINE: usize = 200;

/// How this replica's server compares with the others'.
pub struct Likeness {
    own: Fingerprint,
    may_differ: MayDiffer,
    /// Peers whose servers must not differ as they do.
    refused: BTreeSet<ReplicaId>,
    /// What was told already of peers' servers that may differ.
    declared: BTreeMap<ReplicaId, String>,
}

impl Likeness {
    pub fn new(own: Fingerprint, may_differ: MayDiffer) -> Likeness {
        Likeness {
            own,
            may_differ,
            refused: BTreeSet::new(),
            declared: BTreeMap::new(),
        }
    }

    /// For peers.
    pub fn hello(&self, height: Height) -> PeerMessage {
        let fingerprint = serde_json::to_string(&self.own);
        PeerMessage::Hello {
            fingerprint: fingerprint.expect("maps of strings and numbers are always valid JSON"),
            height,
        }
    }

    fn compare(&self, told: &str) -> Differences {
        match serde_json::from_str::<Fingerprint>(told) {
            Ok(theirs) => self.own.compare(&theirs, &self.may_differ),
            Err(error) => Differences {
                refused: vec![format!(
                    "what it says of its server cannot be read ({error}): is it of another version of SteelDB?"
                )],
                declared: Vec::new(),
            },
        }
    }
}

fn listed(lines: &[String]) -> String {
    let cut = |line: &String| line.chars().take(LINE).collect::<String>();
    let told: Vec<String> = lines.iter().take(LINES).map(cut).collect();
    let more = lines.len().saturating_sub(LINES);
    let and = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("{}{and}", told.join("; "))
}

impl Executor {
    /// Servers must be alike but for what the configuration lets differ; who differs from most others stops, with the
    /// difference named.
    pub(super) fn hello(&mut self, from: ReplicaId, told: &str) {
        let found = self.likeness.compare(told);
        if !found.declared.is_empty() {
            let text = listed(&found.declared);
            if self.likeness.declared.get(&from) != Some(&text) {
                tracing::warn!(
                    peer = from.0,
                    "PostgreSQL servers differ as the configuration allows: {text}"
                );
                self.likeness.declared.insert(from, text);
            }
        }
        if found.refused.is_empty() {
            self.likeness.refused.remove(&from);
            return;
        }
        let text = format!("replica {}: {}", from.0, listed(&found.refused));
        tracing::error!(peer = from.0, "PostgreSQL servers differ: {text}");
        self.last_error = Some(format!("PostgreSQL is unlike that of {text}"));
        self.likeness.refused.insert(from);
        if self.likeness.refused.len() >= self.view.one_correct() {
            self.fail(Fatal::Unlike(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(version: u32) -> Fingerprint {
        Fingerprint {
            version,
            collations: BTreeMap::new(),
            extensions: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_told_is_read_again_and_what_cannot_be_is_refused() {
        let may_differ = MayDiffer {
            majors: [15, 16].into(),
            icu: false,
        };
        let here = Likeness::new(fingerprint(150_018), may_differ.clone());
        let there = Likeness::new(fingerprint(160_014), may_differ);
        let PeerMessage::Hello { fingerprint, .. } = there.hello(0) else {
            panic!("no hello")
        };
        let found = here.compare(&fingerprint);
        assert_eq!(
            (found.refused.len(), &*found.declared),
            (
                0,
                &["server version: 15.18 here, 16.14 there".to_owned()][..]
            )
        );
        assert!(here.compare("").refused[0].contains("cannot be read"));
    }

    #[test]
    fn a_liar_cannot_fill_the_log() {
        let lines = vec!["x".repeat(5_000); 5_000];
        let text = listed(&lines);
        assert!(text.len() < (LINES + 1) * (LINE + 2));
        assert!(text.ends_with("; and 4980 more"));
    }
}
