//! A store in memory with many versions of everything, which keeps to snapshot isolation, or has a planted flaw.
//!
//! It shares no code with the checkers: they must find by what clients see what it does wrong.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;

use isolation::{Bank, Form, Generator, Op, Outcome, Plan, Record, final_reads};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: snapshot isolation, in real time.
    None,
    /// Nothing, and one transaction after another.
    Serial,
    /// Who commits first does not win.
    LostUpdate,
    /// Some snapshots are older than their transaction.
    StaleRead,
    /// Uncommitted writes of others are seen.
    DirtyRead,
    /// Each statement takes a snapshot of its own.
    NonRepeatable,
    /// Two sites, each of which sees its own commits at once and the other's later.
    LongFork,
    /// Some transactions that were rolled back leave their writes.
    AbortedRead,
    /// Some commits are answered and lost.
    LostCommit,
    /// Some values of sequences are given again.
    NumberTwice,
    /// Some lists come back in another order.
    Shuffled,
}

/// How long commits of the other site stay unseen, in steps.
const FORK: u64 = 150;
/// How old a stale snapshot is, in steps.
const STALE: u64 = 250;
/// A planted flaw shows in one of so many chances.
const RARELY: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    List(u64),
    Register(u64),
    Account(u64),
    Side(u64, u8),
    Ticket(i64),
}

struct Version {
    at: u64,
    site: bool,
    value: Vec<u64>,
}

struct Open {
    start: u64,
    site: bool,
    writes: BTreeMap<Cell, Vec<u64>>,
}

struct Store {
    flaw: Flaw,
    bank: Bank,
    draws: StdRng,
    now: u64,
    versions: BTreeMap<Cell, Vec<Version>>,
    open: BTreeMap<u64, Open>,
    numbers: [i64; 2],
}

impl Store {
    fn rarely(&mut self, flaw: Flaw) -> bool {
        self.flaw == flaw && self.draws.random_ratio(1, RARELY)
    }

    fn sees(&self, open: &Open, version: &Version) -> bool {
        let delay = match self.flaw == Flaw::LongFork && open.site != version.site {
            true => FORK,
            false => 0,
        };
        version.at + delay <= open.start
    }

    fn initial(&self, cell: Cell) -> Vec<u64> {
        match cell {
            Cell::Account(_) => vec![self.bank.balance as u64],
            Cell::Side(..) => vec![1],
            Cell::Register(_) => vec![0],
            Cell::List(_) | Cell::Ticket(_) => Vec::new(),
        }
    }

    fn read(&self, id: u64, cell: Cell) -> Vec<u64> {
        let open = &self.open[&id];
        if let Some(own) = open.writes.get(&cell) {
            return own.clone();
        }
        if self.flaw == Flaw::DirtyRead {
            let others = self.open.iter().filter(|(other, _)| **other != id);
            if let Some(dirty) = others.filter_map(|(_, o)| o.writes.get(&cell)).next_back() {
                return dirty.clone();
            }
        }
        let mut versions = self.versions.get(&cell).into_iter().flatten();
        let seen = versions.rfind(|version| self.sees(open, version));
        seen.map_or_else(|| self.initial(cell), |version| version.value.clone())
    }

    fn write(&mut self, id: u64, cell: Cell, value: Vec<u64>) {
        let open = self.open.get_mut(&id).expect("it was begun");
        open.writes.insert(cell, value);
    }

    fn number(&mut self, which: usize) -> i64 {
        if !self.rarely(Flaw::NumberTwice) || self.numbers[which] == 0 {
            self.numbers[which] += 1;
        }
        self.numbers[which]
    }

    fn begin(&mut self, id: u64, site: bool) {
        let stale = self.rarely(Flaw::StaleRead);
        let start = if stale {
            self.now.saturating_sub(STALE)
        } else {
            self.now
        };
        let writes = BTreeMap::new();
        self.open.insert(
            id,
            Open {
                start,
                site,
                writes,
            },
        );
    }

    fn run(&mut self, id: u64, op: &mut Op) {
        if self.flaw == Flaw::NonRepeatable {
            let now = self.now;
            self.open.get_mut(&id).expect("it was begun").start = now;
        }
        let duty =
            |store: &Store, pair| [0, 1].map(|side| store.read(id, Cell::Side(pair, side)) == [1]);
        match op {
            Op::Append { key, value } => {
                let mut list = self.read(id, Cell::List(*key));
                list.push(*value);
                self.write(id, Cell::List(*key), list);
            }
            Op::List { key, seen } => {
                let mut list = self.read(id, Cell::List(*key));
                if list.len() > 1 && self.rarely(Flaw::Shuffled) {
                    list.swap(0, 1);
                }
                *seen = Some(list);
            }
            Op::Write { key, value } => self.write(id, Cell::Register(*key), vec![*value]),
            Op::Read { key, seen } => *seen = Some(self.read(id, Cell::Register(*key))[0]),
            Op::Transfer {
                from,
                to,
                amount,
                seen,
            } => {
                let balance =
                    |store: &Store, account| store.read(id, Cell::Account(account))[0] as i64;
                let (a, b) = (balance(self, *from), balance(self, *to));
                *seen = Some((a, b));
                if a >= *amount {
                    self.write(id, Cell::Account(*from), vec![(a - *amount) as u64]);
                    self.write(id, Cell::Account(*to), vec![(b + *amount) as u64]);
                }
            }
            Op::Balances { seen } => {
                let accounts = 0..self.bank.accounts;
                *seen = Some(
                    accounts
                        .map(|a| self.read(id, Cell::Account(a))[0] as i64)
                        .collect(),
                );
            }
            Op::Leave { pair, side, seen } => {
                let both = duty(self, *pair);
                *seen = Some(both);
                if both == [true; 2] {
                    self.write(id, Cell::Side(*pair, *side), vec![0]);
                }
            }
            Op::Return { pair } => {
                self.write(id, Cell::Side(*pair, 0), vec![1]);
                self.write(id, Cell::Side(*pair, 1), vec![1]);
            }
            Op::Watch { pair, seen } => *seen = Some(duty(self, *pair)),
            Op::Number { seen } => *seen = Some(self.number(0)),
            Op::Ticket { seen } => {
                let value = self.number(1);
                *seen = Some(value);
                self.write(id, Cell::Ticket(value), vec![1]);
            }
            Op::Tickets { seen } => {
                let given = 1..=self.numbers[1];
                *seen = Some(
                    given
                        .filter(|n| !self.read(id, Cell::Ticket(*n)).is_empty())
                        .collect(),
                );
            }
        }
    }

    /// Whether it committed.
    fn end(&mut self, id: u64, rollback: bool) -> bool {
        let open = self.open.remove(&id).expect("it was begun");
        let conflict = open.writes.keys().any(|cell| {
            let versions = self.versions.get(cell).into_iter().flatten();
            versions
                .into_iter()
                .any(|version| !self.sees(&open, version))
        });
        let checked = !matches!(
            self.flaw,
            Flaw::LostUpdate | Flaw::NonRepeatable | Flaw::DirtyRead
        );
        let commits = !(rollback || conflict && checked);
        let lost = commits && self.rarely(Flaw::LostCommit);
        let kept = rollback && self.flaw == Flaw::AbortedRead;
        if (commits && !lost) || kept {
            for (cell, value) in open.writes {
                let version = Version {
                    at: self.now,
                    site: open.site,
                    value,
                };
                self.versions.entry(cell).or_default().push(version);
            }
        }
        commits
    }
}

struct Client {
    generator: Generator,
    under_way: Option<(Plan, Record)>,
}

/// A history of so many transactions of six sessions.
pub fn run(seed: u64, flaw: Flaw, transactions: u64) -> Vec<Record> {
    let bank = Bank::default();
    let mut store = Store {
        flaw,
        bank,
        draws: StdRng::seed_from_u64(seed),
        now: 1,
        versions: BTreeMap::new(),
        open: BTreeMap::new(),
        numbers: [0; 2],
    };
    let client = |number| Client {
        generator: Generator::new(seed, number, bank),
        under_way: None,
    };
    let mut clients: Vec<Client> = (0..6).map(client).collect();
    let (mut records, mut begun) = (Vec::new(), 0);
    while records.len() < transactions as usize {
        let at = store.draws.random_range(0..clients.len());
        loop {
            store.now += 1;
            let client = &mut clients[at];
            if client.under_way.is_none() {
                begun += 1;
                let plan = client.generator.next().expect("it is endless");
                client.under_way = Some(begin(&mut store, begun, at as u64, plan));
            }
            step(&mut store, client, &mut records);
            if flaw != Flaw::Serial || client.under_way.is_none() {
                break;
            }
        }
    }
    // The rest was never answered.
    for client in &mut clients {
        if let Some((_, mut record)) = client.under_way.take() {
            let _ = store.end(record.id, true);
            record.outcome = Outcome::Aborted;
            records.push(record);
        }
    }
    store.now += 2 * FORK;
    let mut last = Client {
        generator: Generator::new(seed, 99, bank),
        under_way: Some(begin(&mut store, begun + 1, 99, final_reads(&records))),
    };
    while last.under_way.is_some() {
        store.now += 1;
        step(&mut store, &mut last, &mut records);
    }
    records
}

fn begin(store: &mut Store, id: u64, session: u64, plan: Plan) -> (Plan, Record) {
    store.begin(id, session.is_multiple_of(2));
    let record = Record {
        id,
        session,
        proxy: (session % 2) as u16,
        form: Form::Transaction,
        begun: store.now,
        ended: store.now,
        outcome: Outcome::Unknown,
        error: None,
        ops: Vec::new(),
    };
    store.now += 1;
    (plan, record)
}

/// One statement, or the end.
fn step(store: &mut Store, client: &mut Client, records: &mut Vec<Record>) {
    let Some((plan, mut record)) = client.under_way.take() else {
        return;
    };
    let next = plan.ops.get(record.ops.len()).cloned();
    record.ended = store.now;
    match next {
        Some(mut op) => {
            store.run(record.id, &mut op);
            record.ops.push(op);
            client.under_way = Some((plan, record));
        }
        None => {
            record.outcome = match store.end(record.id, plan.rollback) {
                true => Outcome::Committed,
                false => Outcome::Aborted,
            };
            store.now += 1;
            record.ended = store.now;
            records.push(record);
        }
    }
}
