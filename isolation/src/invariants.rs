//! What must hold whatever the order: money, tickets, values of sequences; and pairs, if the order is serial.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Anomaly;
use crate::generate::Bank;
use crate::history::{Op, Outcome, Record};

fn of_outcome(records: &[Record], outcome: Outcome) -> impl Iterator<Item = (&Record, &Op)> {
    let records = records.iter().filter(move |r| r.outcome == outcome);
    records.flat_map(|record| record.ops.iter().map(move |op| (record, op)))
}

/// Every reader finds all accounts, none of them overdrawn, and the same total.
pub fn bank(records: &[Record], bank: &Bank) -> Vec<Anomaly> {
    let read = of_outcome(records, Outcome::Committed).filter_map(|(record, op)| match op {
        Op::Balances { seen: Some(seen) } => Some((record, seen)),
        _ => None,
    });
    let wrong = read.filter(|(_, seen)| {
        seen.len() as u64 != bank.accounts
            || seen.iter().sum::<i64>() != bank.total()
            || seen.iter().any(|balance| *balance < 0)
    });
    wrong
        .map(|(record, seen)| {
            let text = format!(
                "T{} read the balances {seen:?}, together {}; it must be {} accounts with {} together and none below 0",
                record.id,
                seen.iter().sum::<i64>(),
                bank.accounts,
                bank.total()
            );
            Anomaly::new("bank-total", [record.id], text)
        })
        .collect()
}

/// Readers that found nobody of a pair on duty, though everybody who left saw the other one there.
pub fn pairs(records: &[Record]) -> Vec<Anomaly> {
    let empty = of_outcome(records, Outcome::Committed).filter_map(|(record, op)| match op {
        Op::Watch { pair, seen } | Op::Leave { pair, seen, .. } if *seen == Some([false; 2]) => {
            Some((record.id, pair))
        }
        _ => None,
    });
    empty
        .map(|(id, pair)| {
            let text = format!("T{id} found nobody of pair {pair} on duty: write skew");
            Anomaly::new("write-skew", [id], text)
        })
        .collect()
}

/// No two committed transactions got the same value of a sequence.
pub fn numbers(records: &[Record]) -> Vec<Anomaly> {
    let mut holders: BTreeMap<(&str, i64), Vec<u64>> = BTreeMap::new();
    for (record, op) in of_outcome(records, Outcome::Committed) {
        match op {
            Op::Number { seen: Some(value) } => holders.entry(("the sequence", *value)),
            Op::Ticket { seen: Some(value) } => holders.entry(("the serial column", *value)),
            _ => continue,
        }
        .or_default()
        .push(record.id);
    }
    let twice = holders.into_iter().filter(|(_, ids)| ids.len() > 1);
    twice
        .map(|((what, value), ids)| {
            let text = format!(
                "value {value} of {what} was given to each of {}",
                names(&ids)
            );
            Anomaly::new("value-given-twice", ids, text)
        })
        .collect()
}

/// Rows of committed transactions are there for whoever begins later, rows of aborted ones for nobody.
pub fn tickets(records: &[Record]) -> Vec<Anomaly> {
    let given = |outcome| -> Vec<(&Record, i64)> {
        of_outcome(records, outcome)
            .filter_map(|(record, op)| match op {
                Op::Ticket { seen: Some(value) } => Some((record, *value)),
                _ => None,
            })
            .collect()
    };
    let (committed, aborted) = (given(Outcome::Committed), given(Outcome::Aborted));
    // A key that an aborted transaction saw may be another's row: a sequence's values are not bound to it then.
    let others: BTreeSet<i64> = committed
        .iter()
        .copied()
        .chain(given(Outcome::Unknown))
        .map(|(_, value)| value)
        .collect();
    let mut found = Vec::new();
    for (reader, op) in of_outcome(records, Outcome::Committed) {
        let Op::Tickets { seen: Some(seen) } = op else {
            continue;
        };
        let seen: BTreeSet<i64> = seen.iter().copied().collect();
        for (writer, value) in &committed {
            if writer.ended < reader.begun && !seen.contains(value) {
                let text = format!(
                    "T{} did not find ticket {value}, which T{} had inserted and committed before",
                    reader.id, writer.id
                );
                found.push(Anomaly::new("lost-row", [writer.id, reader.id], text));
            }
        }
        for (writer, value) in &aborted {
            if seen.contains(value) && !others.contains(value) {
                let text = format!(
                    "T{} found ticket {value}, which T{} had inserted and which was rolled back",
                    reader.id, writer.id
                );
                found.push(Anomaly::new("aborted-row", [writer.id, reader.id], text));
            }
        }
    }
    found
}

fn names(ids: &[u64]) -> String {
    let names: Vec<String> = ids.iter().map(|id| format!("T{id}")).collect();
    names.join(", ")
}
