//! `steeldb bench waterfall`: where the time of a transaction goes, from BEGIN to the answer of its COMMIT.

mod events;
mod path;

use std::path::PathBuf;

use serde::Serialize;

use self::events::Told;
use self::path::STAGES;
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::members;
use crate::table::table;

/// Characters of the longest bar.
const BAR: usize = 40;

/// Show where the time of a transaction went, by what a cluster on this machine has written into its logs
///
/// The cluster must have been started with these settings, and have done work since:
///   STEELDB_LOG=warn,timeline=trace STEELDB_LOG_FORMAT=json steeldb up --detach --data DIR
///   steeldb bench tpcc --data DIR
///   steeldb bench waterfall --data DIR
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The cluster's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Only transactions that hold a statement with this in it
    #[arg(long, default_value = "INSERT INTO new_order", value_name = "TEXT")]
    containing: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    share: f64,
}

#[derive(Debug, Serialize)]
struct Waterfall {
    transactions: usize,
    operations_mean: f64,
    mean_ms: f64,
    stages: Vec<Stage>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let layout = Layout::new(&args.data)?;
    let cluster = members::load(&layout)?;
    let logs: Vec<PathBuf> = cluster
        .replicas
        .iter()
        .map(|replica| layout.log_file(Member::Replica(replica.id)))
        .collect();
    let told = Told::read(&layout.log_file(Member::Proxy), &logs)?;
    let waterfall = Waterfall::of(&told, &args.containing).ok_or_else(|| {
        Failure::new("no transaction can be followed from BEGIN to the answer of its COMMIT")
            .cause(format!("the logs in {} tell of none that contains {:?}", layout.log_dir().display(), args.containing))
            .next("start the cluster with STEELDB_LOG=warn,timeline=trace and STEELDB_LOG_FORMAT=json, and run a load")
    })?;
    if args.json {
        return super::output::print_json(&waterfall);
    }
    println!("{}", waterfall.text());
    Ok(())
}

impl Waterfall {
    fn of(told: &Told, containing: &str) -> Option<Waterfall> {
        let wanted = told.transactions.iter().filter(|(_, transaction)| {
            let mut operations = transaction.operations.values();
            operations.any(|operation| operation.sql.contains(containing))
        });
        let found: Vec<(usize, [f64; STAGES.len()])> = wanted
            .filter_map(|(tx, known)| {
                Some((known.operations.len(), path::stages(told, tx, known)?))
            })
            .collect();
        let count = found.len();
        if count == 0 {
            return None;
        }
        let mean_ms = found
            .iter()
            .map(|(_, stages)| stages.iter().sum::<f64>())
            .sum::<f64>()
            / count as f64;
        let stages = STAGES.iter().enumerate().map(|(place, name)| {
            let mut values: Vec<f64> = found.iter().map(|(_, stages)| stages[place]).collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / count as f64;
            Stage {
                name,
                mean_ms: mean,
                p50_ms: values[count / 2],
                p90_ms: values[count * 9 / 10],
                share: mean / mean_ms,
            }
        });
        Some(Waterfall {
            transactions: count,
            operations_mean: found
                .iter()
                .map(|(operations, _)| *operations as f64)
                .sum::<f64>()
                / count as f64,
            mean_ms,
            stages: stages.collect(),
        })
    }

    /// Each stage's bar begins where the one before it ends.
    fn text(&self) -> String {
        let mut before = 0.0;
        let rows: Vec<Vec<String>> = self
            .stages
            .iter()
            .map(|stage| {
                let column = |share: f64| (share * BAR as f64).round() as usize;
                let (from, to) = (column(before), column(before + stage.share));
                before += stage.share;
                let bar = format!("{}{}", " ".repeat(from), "█".repeat((to - from).max(1)));
                let ms = |value: f64| format!("{value:.2}");
                vec![
                    stage.name.to_owned(),
                    ms(stage.mean_ms),
                    ms(stage.p50_ms),
                    ms(stage.p90_ms),
                    format!("{:.0} %", 100.0 * stage.share),
                    bar,
                ]
            })
            .collect();
        format!(
            "{}\n\n{} transactions of {:.1} operations on average, {:.1} ms from BEGIN to the answer of COMMIT (mean)",
            table(&["STAGE", "MEAN ms", "P50", "P90", "SHARE", ""], &rows),
            self.transactions,
            self.operations_mean,
            self.mean_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// A log of one process: (microseconds, fields).
    fn log(dir: &std::path::Path, name: &str, events: &[(u32, &str)]) -> PathBuf {
        let mut text =
            String::from("a line that is not ours\n{\"timestamp\":\"x\",\"target\":\"net\"}\n");
        for (micros, fields) in events {
            writeln!(text, "{{\"timestamp\":\"2026-11-28T12:00:00.{micros:06}Z\",\"level\":\"TRACE\",{fields},\"target\":\"timeline\"}}").unwrap();
        }
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn stages_follow_each_other_and_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let proxy = log(
            dir.path(),
            "proxy",
            &[
                (0, r#""at":"begin","tx":"t""#),
                (
                    100,
                    r#""at":"operation","tx":"t","step":0,"sql":"INSERT INTO new_order VALUES (1)""#,
                ),
                (4_000, r#""at":"answer","tx":"t","step":0"#),
                (
                    5_000,
                    r#""at":"operation","tx":"t","step":1,"sql":"SELECT 1""#,
                ),
                (8_000, r#""at":"answer","tx":"t","step":1"#),
                (9_000, r#""at":"commit","tx":"t","seq":7"#),
                (30_000, r#""at":"committed","tx":"t""#),
                (40_000, r#""at":"begin","tx":"aborted""#),
            ],
        );
        let replica = |id: usize| {
            let late = 100 * id as u32;
            let mut events = vec![
                (15_000 + late, r#""at":"decided","height":3"#.to_owned()),
                (
                    15_500 + late,
                    r#""at":"ordered","tx":"t","height":3,"index":0"#.to_owned(),
                ),
                (
                    16_000 + late,
                    r#""at":"judge","tx":"t","height":3"#.to_owned(),
                ),
                (
                    20_000 + late,
                    r#""at":"judged","tx":"t","height":3,"index":0"#.to_owned(),
                ),
                (22_000 + late, r#""at":"voted","height":3"#.to_owned()),
                (
                    24_000 + late,
                    r#""at":"verdict","tx":"t","height":3,"index":0"#.to_owned(),
                ),
                (
                    26_000 + late,
                    r#""at":"applied","tx":"t","height":3,"index":0"#.to_owned(),
                ),
            ];
            if id == 0 {
                for (step, from) in [(0, 2_000), (1, 6_000)] {
                    for (offset, at) in [(0, "came"), (100, "run"), (1_100, "ran")] {
                        events.push((
                            from + offset,
                            format!(r#""at":"{at}","tx":"t","step":{step}"#),
                        ));
                    }
                }
                events.push((10_000, r#""at":"request","client":"c","seq":7"#.to_owned()));
                events.push((12_000, r#""at":"proposed","height":3"#.to_owned()));
            }
            let events: Vec<(u32, &str)> = events
                .iter()
                .map(|(at, fields)| (*at, fields.as_str()))
                .collect();
            log(dir.path(), &format!("replica-{id}"), &events)
        };
        let logs: Vec<PathBuf> = (0..4).map(replica).collect();
        let told = Told::read(&proxy, &logs).unwrap();
        let found = Waterfall::of(&told, "INSERT INTO new_order").unwrap();
        assert_eq!((found.transactions, found.operations_mean), (1, 2.0));
        let means: Vec<f64> = found
            .stages
            .iter()
            .map(|stage| (stage.mean_ms * 10.0).round() / 10.0)
            .collect();
        // BEGIN to the first run; then the operations; COMMIT to the last replica's judgement and the third's verdict.
        assert_eq!(
            means,
            [
                2.1, 1.1, 2.0, 1.8, 2.0, 1.0, 2.0, 3.0, 1.3, 4.0, 2.0, 1.9, 2.0, 3.8
            ]
        );
        assert!((found.mean_ms - 30.0).abs() < 0.01, "{}", found.mean_ms);
        assert!(found.text().lines().count() > STAGES.len());
        assert!(Waterfall::of(&told, "DELETE").is_none());
    }
}
