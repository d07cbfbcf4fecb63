//! What clients want: transactions drawn from a seed, in the shapes in which anomalies show.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::history::{Form, Op, Record};

/// Lists that are written at a time; few, so that transactions meet.
const LISTS: u64 = 6;
/// A client moves on by one list after so many transactions, so that lists stay short.
const LIST_LIFE: u64 = 12;
const REGISTERS: u64 = 6;
const PAIRS: u64 = 4;
/// The first of a client's values; each client has a range of its own.
const VALUES: u64 = 1 << 32;

/// The bank that the workload expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    pub accounts: u64,
    /// Of each account, at first.
    pub balance: i64,
}

impl Default for Bank {
    fn default() -> Bank {
        Bank {
            accounts: 8,
            balance: 100,
        }
    }
}

impl Bank {
    /// What all accounts hold together, always.
    pub fn total(&self) -> i64 {
        self.balance * self.accounts as i64
    }
}

/// What a client wants to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub form: Form,
    pub ops: Vec<Op>,
    /// End it with ROLLBACK: nothing of it may ever be seen.
    pub rollback: bool,
}

/// The wishes of one client, without end.
pub struct Generator {
    draws: StdRng,
    bank: Bank,
    made: u64,
    next_value: u64,
}

/// The shape of a transaction.
#[derive(Clone, Copy)]
enum Shape {
    /// Any reads and appends.
    Lists,
    /// Reads two lists and appends to one: write skew.
    Skew,
    /// One blind append, alone: what a long fork forks over.
    LoneAppend,
    /// Reads some lists and writes nothing: sees forks, and is the reader of the read-only anomaly.
    Observer,
    /// Any reads and writes of registers.
    Registers,
    Transfer,
    Balances,
    /// Pairs, one of whom must stay on duty.
    Pair,
    /// Values of sequences.
    Numbers,
}

const SHAPES: [(Shape, u32); 9] = [
    (Shape::Lists, 24),
    (Shape::Skew, 12),
    (Shape::LoneAppend, 8),
    (Shape::Observer, 12),
    (Shape::Registers, 14),
    (Shape::Transfer, 10),
    (Shape::Balances, 6),
    (Shape::Pair, 8),
    (Shape::Numbers, 6),
];

impl Generator {
    /// Clients of one run have the same seed.
    pub fn new(seed: u64, client: u32, bank: Bank) -> Generator {
        let own = seed ^ u64::from(client).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Generator {
            draws: StdRng::seed_from_u64(own),
            bank,
            made: 0,
            next_value: (u64::from(client) + 1) * VALUES,
        }
    }

    fn shape(&mut self, shape: Shape) -> Vec<Op> {
        match shape {
            Shape::Lists => self.some(|draw| draw.any_of_lists()),
            Shape::Registers => self.some(|draw| draw.any_of_registers()),
            Shape::Skew => self.skew(),
            Shape::LoneAppend => {
                let key = self.list();
                vec![self.append(key)]
            }
            Shape::Observer => {
                let first = self.list();
                let so_many = self.draws.random_range(1..=3);
                let keys = (0..so_many).map(|next| first + next);
                keys.map(|key| Op::List { key, seen: None }).collect()
            }
            Shape::Transfer => {
                let from = self.draws.random_range(0..self.bank.accounts);
                let step = self.draws.random_range(1..self.bank.accounts);
                vec![Op::Transfer {
                    from,
                    to: (from + step) % self.bank.accounts,
                    amount: self.draws.random_range(1..=20),
                    seen: None,
                }]
            }
            Shape::Balances => vec![Op::Balances { seen: None }],
            Shape::Pair => vec![self.pair()],
            Shape::Numbers => vec![self.number()],
        }
    }

    fn some(&mut self, one: impl Fn(&mut Generator) -> Op) -> Vec<Op> {
        let so_many = self.draws.random_range(1..=4);
        (0..so_many).map(|_| one(self)).collect()
    }

    fn list(&mut self) -> u64 {
        self.made / LIST_LIFE + self.draws.random_range(0..LISTS)
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }

    fn append(&mut self, key: u64) -> Op {
        let value = self.value();
        Op::Append { key, value }
    }

    fn any_of_lists(&mut self) -> Op {
        let key = self.list();
        match self.draws.random_ratio(1, 2) {
            true => self.append(key),
            false => Op::List { key, seen: None },
        }
    }

    fn any_of_registers(&mut self) -> Op {
        let key = self.draws.random_range(0..REGISTERS);
        match self.draws.random_ratio(1, 2) {
            true => Op::Write {
                key,
                value: self.value(),
            },
            false => Op::Read { key, seen: None },
        }
    }

    /// Of the two lists, the withdrawal reads both and the deposit only the one that it appends to: with an
    /// [`Shape::Observer`] between them, the read-only anomaly.
    fn skew(&mut self) -> Vec<Op> {
        let first = self.list();
        let (mine, other) = match self.draws.random_ratio(1, 2) {
            true => (first, first + 1),
            false => (first + 1, first),
        };
        let reads = match self.draws.random_ratio(1, 4) {
            true => vec![mine],
            false => vec![mine, other],
        };
        let mut ops: Vec<Op> = reads
            .into_iter()
            .map(|key| Op::List { key, seen: None })
            .collect();
        ops.push(self.append(mine));
        ops
    }

    fn pair(&mut self) -> Op {
        let pair = self.draws.random_range(0..PAIRS);
        match self.draws.random_range(0..10) {
            0..6 => Op::Leave {
                pair,
                side: self.draws.random_range(0..2),
                seen: None,
            },
            6..8 => Op::Return { pair },
            _ => Op::Watch { pair, seen: None },
        }
    }

    fn number(&mut self) -> Op {
        match self.draws.random_ratio(1, 2) {
            true => Op::Number { seen: None },
            false => Op::Ticket { seen: None },
        }
    }

    fn form(&mut self, ops: &[Op]) -> Form {
        // What is one statement.
        let alone = match ops {
            [Op::Transfer { .. } | Op::Leave { .. }] => false,
            [_] => true,
            _ => false,
        };
        if alone && self.draws.random_ratio(1, 2) {
            return Form::Autocommit;
        }
        match ops.iter().any(Op::writes) {
            false if self.draws.random_ratio(1, 2) => Form::ReadOnly,
            _ => Form::Transaction,
        }
    }
}

impl Iterator for Generator {
    type Item = Plan;

    fn next(&mut self) -> Option<Plan> {
        self.made += 1;
        let shape = SHAPES.choose_weighted(&mut self.draws, |shape| shape.1);
        let shape = shape.expect("the weights are constants and not zero").0;
        let mut ops = self.shape(shape);
        // Sequences are used in the middle of other work too, which may abort.
        if ops.len() > 1 && self.draws.random_ratio(1, 8) {
            let number = self.number();
            ops.insert(1, number);
        }
        let form = self.form(&ops);
        let rollback = form == Form::Transaction && self.draws.random_ratio(1, 20);
        Some(Plan {
            form,
            ops,
            rollback,
        })
    }
}

/// Reads everything that the records touch, in one transaction: run alone, at the end.
pub fn final_reads(records: &[Record]) -> Plan {
    let ops = || records.iter().flat_map(|record| &record.ops);
    let lists: BTreeSet<u64> = ops()
        .filter_map(|op| match op {
            Op::Append { key, .. } | Op::List { key, .. } => Some(*key),
            _ => None,
        })
        .collect();
    let lists = lists.into_iter().map(|key| Op::List { key, seen: None });
    let registers = (0..REGISTERS).map(|key| Op::Read { key, seen: None });
    let pairs = (0..PAIRS).map(|pair| Op::Watch { pair, seen: None });
    let rest = [Op::Balances { seen: None }, Op::Tickets { seen: None }];
    Plan {
        form: Form::ReadOnly,
        ops: lists.chain(registers).chain(pairs).chain(rest).collect(),
        rollback: false,
    }
}
