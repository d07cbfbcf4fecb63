//! Lists and registers: dependencies between transactions, and their cycles, found by `adya`.

use std::collections::BTreeMap;
use std::time::Duration;

use adya::history::{Interner, Mop, Op as Event, OpType, ReadValue, Scalar};
use adya::{History, Opts, Report, Workload};

use crate::check::{Anomaly, Expect, Level, Order};
use crate::history::{Op, Outcome, Record};

/// For the search in one component of the graph. It is cheap where there are no anomalies.
const SEARCH: Duration = Duration::from_secs(30);

/// Says of a history of nothing that it says nothing.
const EMPTY: &str = "empty-transaction-graph";

/// Everything that the level forbids.
pub fn forbidden(records: &[Record], expect: &Expect) -> Vec<Anomaly> {
    let model = match (expect.level, expect.order) {
        (Level::Snapshot, Order::RealTime) => "strong-snapshot-isolation",
        (Level::Snapshot, Order::Session) => "strong-session-snapshot-isolation",
        (Level::Serializable, Order::RealTime) => "strict-serializable",
        (Level::Serializable, Order::Session) => "strong-session-serializable",
    };
    both(records, model, expect.order)
}

/// Cycles of anti-dependencies alone: what snapshot isolation allows and serializability does not.
pub fn allowed(records: &[Record], expect: &Expect) -> Vec<Anomaly> {
    let mut all = both(records, "serializable", expect.order);
    all.retain(|anomaly| anomaly.kind.starts_with("G2"));
    all
}

fn both(records: &[Record], model: &str, order: Order) -> Vec<Anomaly> {
    let workloads = [Workload::ListAppend, Workload::RwRegister];
    let all = workloads.map(|workload| {
        let history = history(records, workload, order);
        let options = Opts {
            models: vec![model.to_owned()],
            timeout: SEARCH,
            // The first committer wins: who read a version and wrote the next one replaced just that.
            wfr_keys: true,
            // What committed before another began is older; what a session wrote before is older.
            linearizable_keys: order == Order::RealTime,
            sequential_keys: order == Order::Session,
            ..Opts::default()
        };
        anomalies(records, adya::check(&history, workload, &options))
    });
    all.into_iter().flatten().collect()
}

fn anomalies(records: &[Record], report: Report) -> Vec<Anomaly> {
    let found = report.anomalies.into_values().flatten();
    found
        .filter(|found| found.kind != EMPTY)
        .map(|found| {
            let reader = found.ops.iter().any(|id| reads_only(records, *id));
            let note = match found.kind.starts_with("G2") && reader {
                true => " (the read-only anomaly: one of them writes nothing)",
                false => "",
            };
            Anomaly {
                text: format!("{}{note}", found.explanation.trim_end()),
                kind: found.kind,
                transactions: found.ops,
            }
        })
        .collect()
}

fn reads_only(records: &[Record], id: u64) -> bool {
    let record = records.iter().find(|record| record.id == id);
    record.is_some_and(|record| !record.ops.iter().any(Op::writes))
}

/// The part of the records that the workload knows.
fn history(records: &[Record], workload: Workload, order: Order) -> History {
    let mut names = Interner::default();
    let processes = processes(records, order);
    let mut events: Vec<((u64, bool), Event)> = Vec::new();
    for (record, process) in records.iter().zip(processes) {
        let (kind, ended) = match record.outcome {
            Outcome::Committed => (OpType::Ok, record.ended),
            Outcome::Aborted => (OpType::Fail, record.ended),
            // Its effect may come at any time.
            Outcome::Unknown => (OpType::Info, u64::MAX),
        };
        let event = |kind, time: u64, value| Event {
            index: record.id,
            kind,
            process: Some(process),
            value,
            time: i64::try_from(time).ok(),
        };
        let value = mops(record, workload, &mut names);
        if value.is_empty() {
            continue;
        }
        let asked = value.iter().map(asked).collect();
        // Of equal times the beginning comes first: whoever may have met did.
        events.push((
            (record.begun, false),
            event(OpType::Invoke, record.begun, asked),
        ));
        events.push(((ended, true), event(kind, ended, value)));
    }
    events.sort_by_key(|(when, _)| *when);
    let events = events.into_iter().map(|(_, event)| event).collect();
    History::from_ops(events, names)
}

/// Who ran each record: a session, until it does not know what became of a transaction of its own. Where only the sessions
/// of one proxy are promised to see what they did, a session that moves is a new one.
fn processes(records: &[Record], order: Order) -> Vec<i64> {
    let mut by_begin: Vec<usize> = (0..records.len()).collect();
    by_begin.sort_by_key(|at| records[*at].begun);
    let mut current: BTreeMap<u64, (i64, u16)> = BTreeMap::new();
    let mut processes = vec![0; records.len()];
    let mut next = 0;
    for at in by_begin {
        let record = &records[at];
        let known = current.get(&record.session).filter(|(_, proxy)| {
            // Real time holds everywhere.
            order == Order::RealTime || *proxy == record.proxy
        });
        let process = known.map_or(next, |(process, _)| *process);
        next = next.max(process + 1);
        processes[at] = process;
        match record.outcome {
            Outcome::Unknown => current.remove(&record.session),
            _ => current.insert(record.session, (process, record.proxy)),
        };
    }
    processes
}

/// What a transaction that did not commit has read counts for nothing: answers are provisional until the commit.
fn mops(record: &Record, workload: Workload, names: &mut Interner) -> Vec<Mop> {
    let committed = record.outcome == Outcome::Committed;
    let mut name = |number: u64| names.intern(Scalar::Int(number as i64));
    let ops = record.ops.iter();
    ops.filter_map(|op| match (workload, op) {
        (Workload::ListAppend, Op::Append { key, value }) => Some(Mop::Append {
            key: name(*key),
            value: name(*value),
        }),
        (
            Workload::ListAppend,
            Op::List {
                key,
                seen: Some(all),
            },
        ) if committed => Some(Mop::Read {
            key: name(*key),
            value: ReadValue::List(all.iter().map(|one| name(*one)).collect()),
        }),
        (Workload::RwRegister, Op::Write { key, value }) => Some(Mop::Write {
            key: name(*key),
            value: name(*value),
        }),
        (
            Workload::RwRegister,
            Op::Read {
                key,
                seen: Some(one),
            },
        ) if committed => Some(Mop::Read {
            key: name(*key),
            value: match one {
                0 => ReadValue::Nil,
                _ => ReadValue::Scalar(name(*one)),
            },
        }),
        _ => None,
    })
    .collect()
}

fn asked(done: &Mop) -> Mop {
    match done {
        Mop::Read { key, .. } => Mop::Read {
            key: *key,
            value: ReadValue::Nil,
        },
        write => write.clone(),
    }
}
