//! `steeldb reconfigure advise`: gathers what all replicas measure and asks the advisor.

use cluster::Cluster;
use consensus::advisor::{Advice, Choice, Claims, advise as best};
use consensus::{ReplicaId, Step, View};

use crate::commands::status;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::operator::Operator;
use crate::progress::Progress;

/// What is advised, and the steps that make it so if it pays.
pub struct Advised {
    advice: Advice,
    pub steps: Option<Vec<Step>>,
    /// Replicas that told nothing.
    silent: Vec<u16>,
}

/// Asks the replicas and compares.
pub async fn advise(
    layout: &Layout,
    cluster: &Cluster,
    progress: &Progress,
) -> Result<Advised, Failure> {
    let operator = Operator::connect(layout, cluster).await?;
    progress.step("asking the replicas for their round trips");
    let statuses = status::ask(layout, cluster, &operator.shim).await;
    let trips = |trips: &[(u16, u64)]| trips.iter().map(|(to, ms)| (ReplicaId(*to), *ms)).collect();
    let claims: Claims = statuses
        .iter()
        .map(|(from, status)| (*from, trips(&status.round_trips)))
        .collect();
    let members = cluster.replicas.iter().map(|replica| replica.id);
    let silent: Vec<u16> = members
        .filter(|id| {
            claims
                .get(&ReplicaId(*id))
                .is_none_or(|trips| trips.is_empty())
        })
        .collect();
    let view = cluster.membership();
    // The regency that at least one correct replica is in.
    let mut regencies: Vec<u64> = statuses.values().map(|status| status.regency).collect();
    regencies.sort_unstable_by(|a, b| b.cmp(a));
    let regency = regencies.get(usize::from(cluster.f)).copied().unwrap_or(0);
    let advice = best(&view, view.leader(regency), &claims).ok_or_else(|| {
        Failure::new("nothing can be advised")
            .cause(format!(
                "no quorum of replicas has measured its round trips to each other (nothing from {silent:?})"
            ))
            .next(format!("steeldb status --data {}", layout.root().display()))
    })?;
    let steps = advice.is_worth_it().then(|| steps(&view, &advice.best));
    Ok(Advised {
        advice,
        steps,
        silent,
    })
}

fn steps(view: &View, best: &Choice) -> Vec<Step> {
    let fast = (best.fast != view.fast).then(|| Step::SetFast {
        replicas: best.fast.clone(),
    });
    // A new view begins with regency 0, whoever led before: the leader is always named.
    let leader = Step::SetLeader {
        replica: best.leader,
    };
    fast.into_iter().chain([leader]).collect()
}

impl Advised {
    /// What to tell the operator.
    pub fn text(&self, layout: &Layout, applied: bool) -> String {
        let Advice {
            now,
            now_takes,
            best,
            best_takes,
        } = &self.advice;
        let takes = now_takes.map_or("not to be predicted".to_owned(), |ms| format!("{ms} ms"));
        let mut lines = vec![
            format!("now:      {}, consensus {takes}", describe(now)),
            format!("proposed: {}, consensus {best_takes} ms", describe(best)),
        ];
        if !self.silent.is_empty() {
            let silent: Vec<String> = self.silent.iter().map(u16::to_string).collect();
            let silent = silent.join(", ");
            lines.push(format!(
                "no measurements from {silent}: counted as infinitely far"
            ));
        }
        lines.push(match (&self.steps, applied) {
            (None, _) => "a change would not pay".to_owned(),
            (Some(_), true) => "applied as proposed".to_owned(),
            (Some(steps), false) => {
                let data = layout.root().display();
                format!(
                    "to apply: steeldb reconfigure --data {data} set{}",
                    options(steps)
                )
            }
        });
        lines.join("\n")
    }
}

/// The options of `set` that ask for the same steps.
fn options(steps: &[Step]) -> String {
    let option = |step: &Step| match step {
        Step::SetFast { replicas } if replicas.is_empty() => " --fast none".to_owned(),
        Step::SetFast { replicas } => {
            let ids: Vec<String> = replicas.iter().map(|id| id.0.to_string()).collect();
            format!(" --fast {}", ids.join(","))
        }
        Step::SetLeader { replica } => format!(" --leader {}", replica.0),
        _ => String::new(),
    };
    steps.iter().map(option).collect()
}

fn describe(choice: &Choice) -> String {
    let fast: Vec<String> = choice.fast.iter().map(|id| id.0.to_string()).collect();
    let weights = match fast.is_empty() {
        true => "all weigh the same".to_owned(),
        false => format!("{} weigh more", fast.join(", ")),
    };
    format!("replica {} leads, {weights}", choice.leader.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_line_to_apply_asks_for_the_same_steps() {
        let best = Choice {
            leader: ReplicaId(4),
            fast: [ReplicaId(0), ReplicaId(4)].into(),
        };
        let asked = steps(&View::default(), &best);
        assert_eq!(options(&asked), " --fast 0,4 --leader 4");
        let even = Choice {
            leader: ReplicaId(1),
            fast: BTreeSet::new(),
        };
        let weighted = View {
            fast: best.fast.clone(),
            ..View::default()
        };
        assert_eq!(options(&steps(&weighted, &even)), " --fast none --leader 1");
        let unchanged = steps(&View::default(), &even);
        assert_eq!(options(&unchanged), " --leader 1", "the weights stay");
    }
}
