//! Whether the consistency conditions of Clause 3.3.2 hold: a badge, and the list of them.

use crate::report::run::{Condition, Run};

use super::html::{Html, tag, tag_with};

/// What the conditions say of one run or of several.
#[derive(PartialEq, Eq)]
pub enum Verdict {
    /// How many conditions, after how many of how many rounds.
    Holds {
        conditions: usize,
        checked: usize,
        rounds: usize,
    },
    /// Which are broken.
    Broken(String),
    /// Nobody knows.
    Unchecked,
}

impl Verdict {
    /// One broken condition breaks all. The rounds of a system change one database, so that a check after the last round is
    /// one of them all; runs are in the order in which they ran.
    pub fn of(runs: &[&Run]) -> Verdict {
        let conditions = runs.iter().flat_map(|run| &run.conditions);
        let mut broken: Vec<u8> = conditions.filter(|c| !c.holds).map(|c| c.number).collect();
        broken.sort_unstable();
        broken.dedup();
        if !broken.is_empty() {
            let numbers: Vec<String> = broken.iter().map(u8::to_string).collect();
            let plural = if broken.len() > 1 { "s" } else { "" };
            return Verdict::Broken(format!("condition{plural} {}", numbers.join(", ")));
        }
        // The run's own word counts too: a page must not say `ok` where the run does not.
        let said = |run: &&&Run| !["ok", "not checked"].contains(&run.consistency.as_str());
        if let Some(run) = runs.iter().find(said) {
            return Verdict::Broken(run.consistency.clone());
        }
        match runs.last().map_or(0, |run| run.conditions.len()) {
            0 => Verdict::Unchecked,
            conditions => Verdict::Holds {
                conditions,
                checked: runs.iter().filter(|run| !run.conditions.is_empty()).count(),
                rounds: runs.len(),
            },
        }
    }

    pub fn badge(&self) -> Html {
        match self {
            Verdict::Holds { .. } => tag("span class=\"badge ok\"", "✓\u{a0}consistency ok"),
            Verdict::Broken(which) => tag(
                "strong class=\"badge broken\"",
                format!("✗ CONSISTENCY BROKEN: {which}"),
            ),
            Verdict::Unchecked => tag(
                "span class=\"badge unknown\"",
                "?\u{a0}consistency not checked",
            ),
        }
    }

    /// The end of a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Verdict::Holds {
                conditions,
                checked,
                rounds,
            } => {
                let when = match checked == rounds {
                    true => String::new(),
                    false => format!(" (checked after {checked} of {rounds} rounds)"),
                };
                format!("all {conditions} consistency conditions hold{when}")
            }
            Verdict::Broken(which) => format!("the data is not consistent: {which}"),
            Verdict::Unchecked => "the consistency conditions were not checked".to_owned(),
        }
    }
}

/// Each condition with its rule; a broken one with what breaks it.
pub fn list(conditions: &[Condition]) -> Html {
    let item = |condition: &Condition| {
        let (class, sign) = match condition.holds {
            true => ("holds", "✓ holds"),
            false => ("broken", "✗ BROKEN"),
        };
        let detail = condition
            .detail
            .as_deref()
            .filter(|detail| !detail.is_empty());
        tag_with(
            "li",
            &[("class", class.to_owned())],
            [
                tag("b", format!("{}", condition.number)),
                tag("span class=\"sign\"", sign),
                tag("span", condition.rule.as_str()),
                detail.map_or_else(Html::default, |detail| tag("code", detail)),
            ],
        )
    };
    tag(
        "ul class=\"conditions\"",
        conditions.iter().map(item).collect::<Html>(),
    )
}
