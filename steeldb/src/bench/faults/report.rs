//! What a run of faults shows, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::chaos::Happened;
use super::schedule::Fault;
use crate::bench::group::answers::Answers;
use crate::bench::group::scene::Ended;

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub partitions: bool,
    pub tentative: bool,
    pub replicas: usize,
    pub clients: usize,
    pub rate: f64,
    pub seconds: f64,
    pub issued: u64,
    pub acknowledged: u64,
    /// Entries whose outcome a client never learnt.
    pub unknown: u64,
    pub answers_per_second: f64,
    pub latency_ms: [f64; 3],
    pub faults: Vec<One>,
    pub by_kind: Vec<Kind>,
    pub regency_changes: u64,
    /// Marks of running replicas that were compared, and were equal.
    pub marks_compared: u64,
    pub height: u64,
    pub memory_limit_mib: u64,
    pub peak_memory_mib: Vec<u64>,
    pub disk_limit_mib: u64,
    pub peak_disk_mib: Vec<u64>,
    /// Broken rules; none when all is well.
    pub broken: Vec<String>,
}

/// One fault.
#[derive(Debug, Serialize)]
pub struct One {
    pub number: usize,
    pub fault: String,
    pub replicas: Vec<u16>,
    pub from_s: f64,
    pub to_s: f64,
    /// The longest time without an answer to any client: from the fault to its end; beyond f, after its end.
    pub silence_ms: f64,
    /// The longest that an entry took which was answered between the fault and the catching up.
    pub slowest_ms: f64,
    /// The longest time without an answer from the fault's end until all had caught up.
    pub after_ms: f64,
    pub caught_up_s: f64,
}

/// All faults of a kind.
#[derive(Debug, Serialize)]
pub struct Kind {
    pub fault: String,
    pub count: usize,
    pub silence_ms: Spread,
    pub slowest_ms: Spread,
    pub after_ms: Spread,
    pub caught_up_s: Spread,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub worst: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut all: Vec<f64> = values.collect();
        all.sort_by(f64::total_cmp);
        Spread {
            median: all.get(all.len() / 2).copied().unwrap_or(0.0),
            worst: all.last().copied().unwrap_or(0.0),
        }
    }
}

/// How the run was asked for.
pub struct Asked {
    pub seed: u64,
    pub partitions: bool,
    pub tentative: bool,
    pub clients: usize,
    pub rate: f64,
    pub memory_limit_mib: u64,
    pub disk_limit_mib: u64,
}

pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

fn mib(bytes: &[u64]) -> Vec<u64> {
    bytes.iter().map(|bytes| bytes >> 20).collect()
}

fn one(number: usize, happened: &Happened, answers: &Answers) -> One {
    let Happened {
        from,
        to,
        caught_up,
        ..
    } = *happened;
    let silence = match happened.fault {
        Fault::One(..) => answers.longest_silence(from, to),
        Fault::Beyond(_) => answers.until_next(to).unwrap_or_default(),
    };
    One {
        number,
        fault: happened.fault.to_string(),
        replicas: happened.victims.clone(),
        from_s: from.as_secs_f64(),
        to_s: to.as_secs_f64(),
        silence_ms: ms(silence),
        slowest_ms: ms(answers.slowest(from, caught_up)),
        after_ms: ms(answers.longest_silence(to, caught_up)),
        caught_up_s: (caught_up - to).as_secs_f64(),
    }
}

impl Report {
    pub fn new(
        asked: &Asked,
        happened: &[Happened],
        ended: &Ended,
        regency_changes: u64,
        answers: &Answers,
        broken: Vec<String>,
    ) -> Report {
        let faults: Vec<One> = (1..)
            .zip(happened)
            .map(|(number, happened)| one(number, happened, answers))
            .collect();
        let last = ended
            .records
            .iter()
            .filter_map(|record| record.answers.last());
        let end = last.map(|answer| answer.at).max().unwrap_or_default();
        let records = || ended.records.iter();
        Report {
            seed: asked.seed,
            partitions: asked.partitions,
            tentative: asked.tentative,
            replicas: ended.replicas.len(),
            clients: asked.clients,
            rate: asked.rate,
            seconds: end.as_secs_f64(),
            issued: records().map(|record| record.issued).sum(),
            acknowledged: answers.len() as u64,
            unknown: records().map(|record| record.unknown.len() as u64).sum(),
            answers_per_second: answers.len() as f64 / end.as_secs_f64().max(1e-3),
            latency_ms: answers
                .quantiles(Duration::ZERO, end, [0.5, 0.99, 1.0])
                .map(ms),
            by_kind: kinds(&faults),
            faults,
            regency_changes,
            marks_compared: ended.marks_compared,
            height: ended.replicas.first().map_or(0, |held| held.height),
            memory_limit_mib: asked.memory_limit_mib,
            peak_memory_mib: mib(&ended.peak_memory),
            disk_limit_mib: asked.disk_limit_mib,
            peak_disk_mib: mib(&ended.peak_disk),
            broken,
        }
    }
}

fn kinds(faults: &[One]) -> Vec<Kind> {
    let mut by_kind: BTreeMap<&str, Vec<&One>> = BTreeMap::new();
    for one in faults {
        by_kind.entry(&one.fault).or_default().push(one);
    }
    by_kind
        .into_iter()
        .map(|(fault, all)| {
            let spread = |of: fn(&One) -> f64| Spread::of(all.iter().map(|one| of(one)));
            Kind {
                fault: fault.to_owned(),
                count: all.len(),
                silence_ms: spread(|one| one.silence_ms),
                slowest_ms: spread(|one| one.slowest_ms),
                after_ms: spread(|one| one.after_ms),
                caught_up_s: spread(|one| one.caught_up_s),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{Hurt, Victim};
    use super::*;
    use crate::bench::group::load::{Answer, LaneRecord};

    #[test]
    fn a_kind_gathers_its_faults_and_the_page_names_what_is_broken() {
        let secs = Duration::from_secs_f64;
        let answers = [0.5, 1.0, 2.2, 3.0, 4.0, 4.3, 5.0].map(|at| Answer {
            at: secs(at),
            took: Duration::from_millis(5),
        });
        let records = vec![LaneRecord {
            id: (65_536, 0),
            issued: 7,
            unknown: Vec::new(),
            answers: answers.to_vec(),
            wrong: None,
        }];
        let happened = [(1.1, 1.5), (4.1, 4.5)].map(|(from, to)| Happened {
            fault: Fault::One(Victim::Leader, Hurt::Kill),
            victims: vec![0],
            from: secs(from),
            done: secs(from),
            to: secs(to),
            caught_up: secs(to + 0.2),
        });
        let answers = Answers::of(&records);
        let ended = Ended {
            records,
            replicas: Vec::new(),
            peak_memory: vec![3 << 20],
            peak_disk: vec![5 << 20],
            marks_compared: 1,
        };
        let asked = Asked {
            seed: 1,
            partitions: false,
            tentative: true,
            clients: 1,
            rate: 1.0,
            memory_limit_mib: 1,
            disk_limit_mib: 1,
        };
        let report = Report::new(
            &asked,
            &happened,
            &ended,
            2,
            &answers,
            vec!["a rule".into()],
        );
        assert_eq!(report.by_kind.len(), 1);
        let kind = &report.by_kind[0];
        assert_eq!((kind.fault.as_str(), kind.count), ("leader killed", 2));
        assert_eq!(
            (kind.silence_ms.median, kind.silence_ms.worst),
            (1100.0, 1100.0)
        );
        let text = report.markdown();
        assert!(
            text.contains("BROKEN**: a rule") && text.contains("| leader killed | 2 |"),
            "{text}"
        );
    }
}
