//! Every case to both sides, and what came of it.

use crate::answer::Compared;
use crate::client::{
    close, copy_data, copy_done, copy_fail, describe, execute, parse, query, raw, sync,
};
use crate::corpus::{self, Case};
use crate::generate;
use crate::peer::Peer;
use crate::sides::{Answers, Plain, Sides};
use bytes::{Buf, BufMut, Bytes};
use harness::Cluster;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What DESIGN.md's issue asks for, and less than there is.
const AT_LEAST: usize = 2_000;

/// In each mode four violations of deferred constraints, and eighteen attempts of the untyped 'now'; no other.
const ABORTS: u64 = 2 * (4 + 18);

/// How a theme is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Simple queries; parameters and results as text.
    Text,
    /// The extended protocol; parameters and results in binary.
    Binary,
}

/// What was compared, and what differed.
#[derive(Default)]
struct Report {
    statements: usize,
    refused: usize,
    differences: Vec<String>,
    /// Cases that are documented to differ, and whether they did, in one mode at least.
    documented: BTreeMap<String, bool>,
}

impl Report {
    fn differ(&mut self, case: &Case, mode: Mode, answers: &Answers) {
        let mut text = format!("{} ({mode:?})\n{}", case.place, case.sql);
        for (side, lines) in [
            ("PostgreSQL", &answers.plain),
            ("SteelDB", &answers.cluster),
        ] {
            let others = if side == "SteelDB" {
                &answers.plain
            } else {
                &answers.cluster
            };
            let _ = write!(text, "\n  {side}:");
            for (at, line) in lines.iter().enumerate() {
                let mark = if others.get(at) == Some(line) {
                    ' '
                } else {
                    '*'
                };
                let _ = write!(text, "\n   {mark}{line}");
            }
        }
        self.differences.push(text);
    }

    fn add(&mut self, other: Report) {
        self.statements += other.statements;
        self.refused += other.refused;
        self.differences.extend(other.differences);
        for (place, differed) in other.documented {
            *self.documented.entry(place).or_default() |= differed;
        }
    }
}

/// One theme in one mode, in a schema of its own.
struct Run<'a> {
    sides: Sides,
    /// For what the test itself asks of the plain server.
    aside: Peer,
    documented: &'a str,
    /// The cluster's servers are of several majors: what they do differently, `docs/versions.md` tells.
    majors: Option<&'a str>,
    mode: Mode,
    report: Report,
}

impl Run<'_> {
    async fn theme(mut self, schema: &str, cases: &[Case]) -> Report {
        let setup = format!("CREATE SCHEMA {schema}; SET search_path TO {schema};");
        let setup = [Case::new(schema.into(), setup)];
        for case in setup.iter().chain(cases) {
            self.report.statements += case.statements();
            if let Err(why) = self.case(case).await {
                // What follows would be answered out of step.
                let lost = format!("{} ({:?}): {why}\n{}", case.place, self.mode, case.sql);
                self.report.differences.push(lost);
                break;
            }
        }
        self.report
    }

    async fn case(&mut self, case: &Case) -> Result<(), String> {
        if let Some(rule) = &case.refused {
            return self.refused(case, rule).await;
        }
        if let Some(name) = &case.differs {
            let heading = format!("**{name}**");
            assert!(
                self.documented.contains(&heading),
                "{}: docs/sql-support.md has no {heading}",
                case.place
            );
        }
        let by_majors = case.majors.as_ref().zip(self.majors);
        if let Some((name, told)) = by_majors {
            let heading = format!("**{name}**");
            assert!(
                told.contains(&heading),
                "{}: docs/versions.md has no {heading}",
                case.place
            );
        }
        let asked = match (case.with.is_empty(), self.mode) {
            (true, Mode::Text) if case.rows.is_none() => self.simple(case).await?,
            (true, _) if case.is_string() => self.simple(case).await?,
            (true, _) => self.extended(case).await?,
            (false, _) => self.prepared(case).await?,
        };
        if asked.plain != asked.cluster && case.differs.is_none() && by_majors.is_none() {
            self.report.differ(case, self.mode, &asked);
        }
        if case.differs.is_some() {
            let differed = asked.plain != asked.cluster;
            let place = format!("{} {}", case.place, case.sql);
            self.report.documented.insert(place, differed);
        }
        Ok(())
    }

    /// Refused by a rule that the documentation names, and with an SQLSTATE that says so.
    async fn refused(&mut self, case: &Case, rule: &str) -> Result<(), String> {
        assert!(
            self.documented.contains(rule),
            "{}: docs/sql-support.md has no rule with: {rule}",
            case.place
        );
        let answer = self.sides.ask_cluster(&query(&case.sql), 1).await?;
        let refused =
            |line: &&String| line.starts_with("E C=0A000") || line.starts_with("E C=42501");
        if !answer.iter().any(|line| refused(&line)) {
            let answers = Answers {
                plain: vec![format!("(to be refused: {rule})")],
                cluster: answer,
            };
            self.report.differ(case, self.mode, &answers);
        }
        self.report.refused += 1;
        Ok(())
    }

    async fn ask(
        &mut self,
        case: &Case,
        messages: Vec<Vec<u8>>,
        readies: usize,
    ) -> Result<Answers, String> {
        let sql = case.sql.to_ascii_lowercase();
        let how = Compared {
            ordered: sql.contains("order by"),
            volatile: case.volatile,
            any_row: sql.starts_with("update"),
            majors: self.majors.is_some(),
        };
        self.sides.ask(&messages.concat(), readies, how).await
    }

    async fn simple(&mut self, case: &Case) -> Result<Answers, String> {
        let mut messages = vec![query(&case.sql)];
        copy(case, &mut messages);
        self.ask(case, messages, 1).await
    }

    /// The unnamed statement without parameters, described before it is executed.
    async fn extended(&mut self, case: &Case) -> Result<Answers, String> {
        let binary = self.mode == Mode::Binary && !case.volatile;
        let mut messages = vec![
            parse("", &case.sql),
            bind("", &[], binary),
            describe('P', ""),
        ];
        match case.rows {
            // A portal that holds rows lives until the Sync: one too many Executes shows how it ends.
            Some(rows) => messages.extend((0..4).map(|_| execute("", rows))),
            None => messages.push(execute("", 0)),
        }
        copy(case, &mut messages);
        messages.push(sync());
        self.ask(case, messages, 1).await
    }

    /// A named statement, described, bound once for each line of parameters, closed.
    async fn prepared(&mut self, case: &Case) -> Result<Answers, String> {
        let binary = self.mode == Mode::Binary && !case.volatile;
        let mut messages = vec![parse("named", &case.sql), describe('S', "named"), sync()];
        let types = match binary {
            true => self.types(&case.sql).await,
            false => None,
        };
        for values in &case.with {
            let text = values.iter().map(|value| {
                value
                    .as_ref()
                    .map(|value| Bytes::copy_from_slice(value.as_bytes()))
            });
            let text: Vec<_> = text.collect();
            let bytes = match &types {
                Some(types) => self.encoded(types, &text).await,
                None => None,
            };
            let bound = match bytes {
                Some(bytes) => bind("named", &bytes, true),
                None => bind("named", &text, false),
            };
            messages.extend([
                bound,
                describe('P', ""),
                execute("", case.rows.unwrap_or(0)),
                sync(),
            ]);
        }
        messages.extend([close('S', "named"), sync()]);
        self.ask(case, messages, case.with.len() + 2).await
    }

    /// The parameters' types, if the statement can be described outside of its transaction and none is a user's.
    async fn types(&mut self, sql: &str) -> Option<Vec<u32>> {
        let messages = [parse("", sql), describe('S', ""), sync()].concat();
        let frames = self.aside.ask(&messages, 1).await.ok()?;
        let mut body = frames.iter().find(|frame| frame[0] == b't')?.slice(5..);
        let types: Vec<_> = (0..body.get_u16()).map(|_| body.get_u32()).collect();
        types.iter().all(|oid| *oid < 16_384).then_some(types)
    }

    /// The values in binary, as the plain server itself writes them.
    async fn encoded(
        &mut self,
        types: &[u32],
        text: &[Option<Bytes>],
    ) -> Option<Vec<Option<Bytes>>> {
        if types.len() != text.len() {
            return None;
        }
        let mut encoded = Vec::new();
        for (oid, value) in types.iter().zip(text) {
            let mut typed = b"\0SELECT $1\0\0\x01".to_vec();
            typed.put_u32(*oid);
            let bound = bind_with("", std::slice::from_ref(value), 0, 1);
            let messages = [raw(b'P', &typed), bound, execute("", 0), sync()].concat();
            let frames = self.aside.ask(&messages, 1).await.ok()?;
            let mut row = frames.iter().find(|frame| frame[0] == b'D')?.slice(7..);
            let length = row.get_i32();
            encoded.push((length >= 0).then_some(row));
        }
        Some(encoded)
    }
}

fn copy(case: &Case, messages: &mut Vec<Vec<u8>>) {
    if let Some(data) = &case.data {
        messages.push(copy_data(data.as_bytes()));
    }
    match &case.fail {
        Some(reason) => messages.push(copy_fail(reason)),
        None if case.data.is_some() => messages.push(copy_done()),
        None => {}
    }
}

fn bind(statement: &str, values: &[Option<Bytes>], binary: bool) -> Vec<u8> {
    bind_with(statement, values, u16::from(binary), u16::from(binary))
}

/// A Bind of the unnamed portal with one format for all parameters and one for all columns.
fn bind_with(statement: &str, values: &[Option<Bytes>], parameters: u16, results: u16) -> Vec<u8> {
    let mut body = format!("\0{statement}\0").into_bytes();
    body.put_u16(1);
    body.put_u16(parameters);
    body.put_u16(values.len() as u16);
    for value in values {
        match value {
            Some(value) => {
                body.put_i32(value.len() as i32);
                body.put_slice(value);
            }
            None => body.put_i32(-1),
        }
    }
    body.put_u16(1);
    body.put_u16(results);
    raw(b'B', &body)
}

/// A number from the environment, for longer runs.
fn asked(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

const DOCUMENTED: &str = include_str!("../../docs/sql-support.md");
const OF_MAJORS: &str = include_str!("../../docs/versions.md");

/// The themes in these modes, in a cluster and at a server of replica 0's major.
async fn compare(
    cluster: &Cluster,
    themes: &[(String, Vec<Case>)],
    modes: &[Mode],
    majors: Option<&str>,
) -> Report {
    let plain = Plain::start().await;
    let mut report = Report::default();
    let mut seconds = BTreeMap::new();
    for (name, cases) in themes {
        for mode in modes {
            let run = Run {
                sides: Sides::open(&plain, cluster).await,
                aside: plain.peer().await,
                documented: DOCUMENTED,
                majors,
                mode: *mode,
                report: Report::default(),
            };
            let schema = format!("{name}_{}", format!("{mode:?}").to_lowercase());
            let started = std::time::Instant::now();
            report.add(run.theme(&schema, cases).await);
            seconds.insert(schema, started.elapsed().as_secs_f64());
        }
    }
    println!(
        "{} statements, {} refusals, seconds {seconds:.1?}",
        report.statements / modes.len(),
        report.refused / modes.len()
    );
    println!(
        "(commits, aborts, adoptions) {:?}",
        cluster.verdicts().await
    );
    report
}

/// Of the environment's choice.
fn themes() -> Vec<(String, Vec<Case>)> {
    let only = std::env::var("DIFFERENTIAL_THEME").ok();
    let seed = asked("DIFFERENTIAL_SEED", 1);
    let mut themes = corpus::read();
    for number in 0..asked("DIFFERENTIAL_SEEDS", 1) {
        let seed = (seed + number) as u64;
        let cases = generate::cases(seed, asked("DIFFERENTIAL_STATEMENTS", 1_000));
        themes.push((format!("seed_{seed}"), cases));
    }
    themes.retain(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    themes
}

fn assert_alike(report: &Report) {
    assert!(
        report.differences.is_empty(),
        "{} differences\n\n{}",
        report.differences.len(),
        report.differences.join("\n\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_answers_as_one_postgresql_does() {
    let whole = std::env::var("DIFFERENTIAL_THEME").is_err();
    let cluster = Cluster::start().await;
    let mut report = compare(&cluster, &themes(), &[Mode::Text, Mode::Binary], None).await;
    for (place, differed) in &report.documented {
        if !differed {
            let alike = format!("{place}\n  is documented to differ and does not");
            report.differences.push(alike);
        }
    }
    assert_alike(&report);
    let aborts: Vec<u64> = cluster.verdicts().await.iter().map(|v| v.1).collect();
    assert!(!whole || aborts == [ABORTS; 4], "aborts {aborts:?}");
    cluster.audit().await;
    cluster.end().await;
    // Each statement ran in both modes.
    let statements = report.statements / 2;
    assert!(!whole || statements >= AT_LEAST, "{statements} statements");
}

/// The same with replicas on several majors: `DIFFERENTIAL_MAJORS=0,0,16,16` runs everything on such a cluster (0: the machine's
/// own, which replica 0 has to run). Without it four majors run the themes that are about data and definitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_several_majors_answers_as_one_postgresql_does() {
    let chosen = std::env::var("DIFFERENTIAL_MAJORS").ok();
    let mut majors = [0, 16, 17, 18];
    let mut modes = [Mode::Text, Mode::Binary].as_slice();
    let mut themes = themes();
    if let Some(chosen) = &chosen {
        for (major, text) in majors.iter_mut().zip(chosen.split(',')) {
            *major = text.parse().unwrap();
        }
    } else {
        themes.retain(|(name, _)| SHORT.contains(&name.as_str()));
        modes = &modes[..1];
    }
    assert_eq!(majors[0], 0, "what replica 0 runs is compared with");
    let cluster = Cluster::start_on(majors).await;
    let report = compare(&cluster, &themes, modes, Some(OF_MAJORS)).await;
    assert_alike(&report);
    cluster.audit().await;
    cluster.end().await;
}

/// What the short form runs.
const SHORT: [&str; 3] = ["composite", "numbers", "tables"];
