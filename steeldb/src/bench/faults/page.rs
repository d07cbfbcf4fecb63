//! The report of a run of faults as files: a page for people, a picture, the figures for programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::chaos::Happened;
use super::report::{Report, Spread};
use super::schedule::{Fault, Victim};
use crate::bench::chart::{Chart, Mark};
use crate::bench::group::answers::Answers;
use crate::failure::Failure;

/// The picture has at most so many values.
const VALUES: f64 = 600.0;

impl Report {
    /// Writes `faults.md`, `faults.svg` and `faults.json` into the directory.
    pub fn write(&self, dir: &Path, chart: &Chart) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new("cannot write the report").cause(error))?;
        let files = [
            ("faults.md", self.markdown()),
            ("faults.svg", chart.svg()),
            ("faults.json", json),
        ];
        std::fs::create_dir_all(dir)
            .and_then(|()| {
                files
                    .iter()
                    .try_for_each(|(name, text)| std::fs::write(dir.join(name), text))
            })
            .map_err(|error| {
                Failure::new(format!("cannot write the report to {}", dir.display()))
                    .cause(error)
                    .next("give another place with --report DIR")
            })
    }

    fn verdict(&self) -> String {
        match self.broken.is_empty() {
            true => "Every acknowledged entry is applied exactly once at every replica, in its client's order; \
                 all replicas are equal; nothing was served without a quorum."
                .to_owned(),
            false => format!("**BROKEN**: {}", self.broken.join("; ")),
        }
    }

    pub fn markdown(&self) -> String {
        let Report {
            seed,
            seconds,
            clients,
            rate,
            ..
        } = self;
        let [p50, p99, max] = self.latency_ms;
        let partitions = match self.partitions {
            true => "each in a network namespace of its own",
            false => "without partitions",
        };
        let tentative = match self.tentative {
            true => "; executed tentatively, after the WRITE quorum",
            false => "",
        };
        let list = |all: &[u64]| {
            all.iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut text = format!(
            "# Faults under load\n\n{}\n\n![throughput over time with the faults](faults.svg)\n\n\
             {seconds:.0} s with seed {seed}; {} replicas as processes, {partitions}; {clients} clients, {rate:.0} entries a second{}.\n\n\
             | | |\n| --- | --- |\n\
             | entries acknowledged, of so many sent | {} of {} |\n\
             | outcome never learnt by the client | {} |\n\
             | answers a second, over all | {:.0} |\n\
             | latency p50, p99, greatest | {p50:.1}, {p99:.0}, {max:.0} ms |\n\
             | faults; regencies begun | {}; {} |\n\
             | heights; equal marks compared while it ran | {}; {} |\n\
             | most memory resident, each replica (bound {}) | {} MiB |\n\
             | most disk, each replica (bound {}) | {} MiB |\n",
            self.verdict(),
            self.replicas,
            tentative,
            self.acknowledged,
            self.issued,
            self.unknown,
            self.answers_per_second,
            self.faults.len(),
            self.regency_changes,
            self.height,
            self.marks_compared,
            self.memory_limit_mib,
            list(&self.peak_memory_mib),
            self.disk_limit_mib,
            list(&self.peak_disk_mib),
        );
        text += "\n## By kind of fault\n\n\
             Median / worst. *Silence*: the longest time in which no client was answered, from the fault to its end; \
             beyond f, where none can be, from its end to the next answer. *After*: the same from the fault's end until all had caught up. \
             *Slowest*: the longest that any entry took.\n\n\
             | fault | times | silence, ms | after, ms | slowest, ms | caught up, s |\n| --- | --- | --- | --- | --- | --- |\n";
        for kind in &self.by_kind {
            let spread = |s: Spread, places: usize| {
                format!("{:.*} / {:.*}", places, s.median, places, s.worst)
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                kind.fault,
                kind.count,
                spread(kind.silence_ms, 0),
                spread(kind.after_ms, 0),
                spread(kind.slowest_ms, 0),
                spread(kind.caught_up_s, 1),
            );
        }
        text += "\n## Every fault\n\n| | fault | replicas | from, s | to, s | silence, ms | after, ms | slowest, ms | caught up, s |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for one in &self.faults {
            let replicas: Vec<u64> = one.replicas.iter().map(|id| u64::from(*id)).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} |",
                one.number,
                one.fault,
                list(&replicas),
                one.from_s,
                one.to_s,
                one.silence_ms,
                one.after_ms,
                one.slowest_ms,
                one.caught_up_s,
            );
        }
        text
    }
}

/// Throughput over time with the faults as numbered bands.
pub fn chart(happened: &[Happened], answers: &Answers, length: Duration) -> Chart {
    let step = Duration::from_secs_f64((length.as_secs_f64() / VALUES).max(0.25));
    let mark = |(number, happened): (usize, &Happened)| Mark {
        from: happened.from,
        to: happened.to,
        label: number.to_string(),
        kind: match happened.fault {
            Fault::One(Victim::Leader, _) => 0,
            Fault::One(Victim::Follower(_), _) => 1,
            Fault::Beyond(_) => 2,
        },
    };
    let counts = answers.per(step).into_iter();
    Chart {
        title: "Entries acknowledged a second; faults by their number in the table".into(),
        unit: "entries/s".into(),
        step,
        values: counts
            .map(|count| count as f64 / step.as_secs_f64())
            .collect(),
        marks: (1..).zip(happened).map(mark).collect(),
        key: vec![
            ("the leader is faulty", "#cc0000"),
            ("a follower is faulty", "#3d85c6"),
            ("beyond f: nothing can be ordered", "#666666"),
        ],
    }
}
