//! The service of the fault measurements: a ledger that remembers which entries were applied, so that it can be asked afterwards.
//!
//! Each lane of a client writes entries numbered 1, 2, 3, …, one after another. The ledger keeps the numbers that it applied as
//! ranges, notes whatever was applied twice or out of its lane's order, and chains everything with its place in the order into one
//! digest. It keeps the newest entries' contents too, so that its state has some weight.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use order::node::{Context, Service};
use serde::{Deserialize, Serialize};

/// Contents kept of each lane.
const KEPT: usize = 1_000;
/// Notes of broken rules that are kept: one is enough to fail.
const NOTES: usize = 100;
/// Gaps that a lane may have: each is an operation whose client gave it up.
const MAX_RANGES: usize = 10_000;
/// The digest is marked at each height that this divides, to be compared between replicas.
pub const MARK_EVERY: u64 = 64;

/// What the digest is for.
const DOMAIN: &[u8] = b"steeldb bench ledger";

/// A client's number and the number of its lane.
pub type LaneId = (u32, u16);

/// One entry, as its client sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub lane: u16,
    pub number: u64,
    /// Length of what it carries.
    pub bytes: usize,
}

impl Entry {
    pub fn encode(&self) -> Bytes {
        let mut op = Vec::with_capacity(10 + self.bytes);
        op.extend(self.lane.to_be_bytes());
        op.extend(self.number.to_be_bytes());
        op.resize(10 + self.bytes, self.number as u8);
        op.into()
    }
}

/// What a ledger has applied of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// First and last numbers of unbroken runs, ascending.
    pub ranges: Vec<(u64, u64)>,
    /// Entries applied.
    pub count: u64,
}

impl Applied {
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    pub fn has(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= number);
        after > 0 && number <= self.ranges[after - 1].1
    }

    fn add(&mut self, number: u64) {
        self.count += 1;
        match self.ranges.last_mut() {
            Some(range) if range.1 + 1 == number => range.1 = number,
            _ => self.ranges.push((number, number)),
        }
    }
}

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The last height that applied something.
    pub height: u64,
    /// Over everything applied, each with its place.
    digest: [u8; 32],
    lanes: BTreeMap<LaneId, Applied>,
    kept: BTreeMap<LaneId, VecDeque<Bytes>>,
    /// Rules that were broken.
    pub notes: Vec<String>,
}

impl State {
    pub fn digest(&self) -> String {
        hex::encode(self.digest)
    }

    fn apply(&mut self, context: &Context, op: &[u8]) -> u64 {
        let Some((head, content)) = op.split_at_checked(10) else {
            return 0;
        };
        let (lane, number) = head.split_at(2);
        let lane = (
            context.client.0,
            u16::from_be_bytes(lane.try_into().expect("two bytes were split off")),
        );
        let number = u64::from_be_bytes(number.try_into().expect("eight bytes remain of ten"));
        let applied = self.lanes.entry(lane).or_default();
        if number <= applied.last() {
            let what = match applied.has(number) {
                true => "applied twice",
                false => "applied after a later one of its lane",
            };
            note(&mut self.notes, lane, number, what, context);
        } else if applied.ranges.len() < MAX_RANGES {
            applied.add(number);
        } else {
            note(
                &mut self.notes,
                lane,
                number,
                "beyond the gaps that a lane may have",
                context,
            );
        }
        let count = applied.count;
        let kept = self.kept.entry(lane).or_default();
        kept.push_back(Bytes::copy_from_slice(content));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        self.chain(context, op);
        count
    }

    fn chain(&mut self, context: &Context, op: &[u8]) {
        self.height = context.height;
        let place = [
            u64::from(context.client.0),
            context.height,
            u64::from(context.index),
            context.time_ms,
        ];
        let place: Vec<u8> = place.into_iter().flat_map(u64::to_be_bytes).collect();
        self.digest = consensus::Digest::of(DOMAIN, &[&self.digest, &place, op]).0;
    }
}

fn note(notes: &mut Vec<String>, lane: LaneId, number: u64, what: &str, context: &Context) {
    if notes.len() < NOTES {
        let (client, lane) = lane;
        notes.push(format!(
            "entry {number} of client {client}, lane {lane}: {what}, at height {} index {}",
            context.height, context.index
        ));
    }
}

/// What a replica tells of its ledger when it is asked at the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dump {
    pub height: u64,
    pub digest: String,
    pub lanes: Vec<(LaneId, Applied)>,
    pub notes: Vec<String>,
}

/// Where the ledger stands, seen by the service's thread and by who asks about it.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Looked>>);

#[derive(Default)]
struct Looked {
    state: State,
    /// The digest after everything below the height, a multiple of [`MARK_EVERY`].
    mark: Option<(u64, String)>,
}

impl Shared {
    fn look(&self) -> MutexGuard<'_, Looked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn mark(&self) -> Option<(u64, String)> {
        self.look().mark.clone()
    }

    /// The rules broken so far.
    pub fn notes(&self) -> usize {
        self.look().state.notes.len()
    }

    pub fn dump(&self) -> Dump {
        let looked = self.look();
        let state = &looked.state;
        Dump {
            height: state.height,
            digest: state.digest(),
            lanes: state
                .lanes
                .iter()
                .map(|(id, applied)| (*id, applied.clone()))
                .collect(),
            notes: state.notes.clone(),
        }
    }
}

/// The service.
pub struct Ledger {
    shared: Shared,
    /// Results are filled up to this length.
    reply: usize,
    /// What a tentative execution may have to go back to.
    saved: Option<State>,
}

impl Ledger {
    pub fn new(shared: Shared, reply: usize) -> Ledger {
        Ledger {
            shared,
            reply,
            saved: None,
        }
    }
}

impl Service for Ledger {
    /// Applies an entry; the result is how many of its lane are applied now. What is no entry is passed over.
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        let mut looked = self.shared.look();
        let begun = looked.state.height / MARK_EVERY;
        if context.height / MARK_EVERY > begun && looked.state.height > 0 {
            let mark = context.height / MARK_EVERY * MARK_EVERY;
            looked.mark = Some((mark, looked.state.digest()));
        }
        let count = looked.state.apply(context, op);
        let mut result = count.to_be_bytes().to_vec();
        result.resize(self.reply.max(result.len()), 0);
        result.into()
    }

    fn query(&self, _: &[u8]) -> Bytes {
        self.shared.look().state.digest().into()
    }

    fn snapshot(&self) -> Bytes {
        postcard::to_stdvec(&self.shared.look().state)
            .expect("these types have no unserialisable parts")
            .into()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let state = postcard::from_bytes(state).map_err(|error| error.to_string())?;
        *self.shared.look() = Looked { state, mark: None };
        Ok(())
    }

    /// A copy in memory: the kept contents are shared with it.
    fn save(&mut self) -> Bytes {
        self.saved = Some(self.shared.look().state.clone());
        Bytes::new()
    }

    fn settle(&mut self) {
        self.saved = None;
    }

    fn rollback(&mut self, _: &[u8]) -> Result<(), String> {
        let saved = self.saved.take();
        self.shared.look().state = saved.ok_or("there is nothing to go back to")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use consensus::ClientId;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Shared::default(), 0)
    }

    fn execute(ledger: &mut Ledger, height: u64, number: u64) -> u64 {
        let context = Context {
            client: ClientId(70_000),
            height,
            index: 0,
            time_ms: height,
        };
        let entry = Entry {
            lane: 3,
            number,
            bytes: 20,
        };
        let result = ledger.execute(&context, &entry.encode());
        u64::from_be_bytes(result[..].try_into().unwrap())
    }

    #[test]
    fn what_is_applied_twice_or_out_of_order_is_noted() {
        let mut ledger = ledger();
        for (height, number) in [(1, 1), (2, 2), (3, 5)] {
            execute(&mut ledger, height, number);
        }
        assert_eq!(ledger.shared.notes(), 0, "a client may give an entry up");
        assert_eq!(execute(&mut ledger, 4, 2), 3, "it counts once");
        execute(&mut ledger, 5, 4);
        let dump = ledger.shared.dump();
        assert_eq!(dump.lanes[0].1.ranges, [(1, 2), (5, 5)]);
        assert!(dump.notes[0].contains("applied twice"), "{:?}", dump.notes);
        assert!(dump.notes[1].contains("after a later one"));
    }

    #[test]
    fn equal_histories_have_equal_marks_and_others_do_not() {
        let run = |numbers: &[u64]| {
            let mut ledger = ledger();
            for (height, number) in (1..).zip(numbers) {
                execute(&mut ledger, height * MARK_EVERY - 1, *number);
            }
            (ledger.shared.mark().unwrap(), ledger.shared.dump().digest)
        };
        assert_eq!(run(&[1, 2, 3]), run(&[1, 2, 3]));
        assert_ne!(run(&[1, 3, 4]).0, run(&[1, 2, 4]).0);
        // A mark is taken before its height, whatever comes at it.
        assert_eq!(run(&[1, 2, 3]).0, run(&[1, 2, 4]).0);
    }

    #[test]
    fn a_restored_ledger_goes_on_as_the_first_would() {
        let mut first = ledger();
        execute(&mut first, 1, 1);
        let mut second = ledger();
        second.restore(&first.snapshot()).unwrap();
        execute(&mut first, 2, 2);
        execute(&mut second, 2, 2);
        assert_eq!(first.snapshot(), second.snapshot());
        assert!(second.restore(b"nonsense").is_err());
    }

    #[test]
    fn what_was_executed_tentatively_can_be_undone_until_it_is_settled() {
        let mut ledger = ledger();
        execute(&mut ledger, 1, 1);
        let before = ledger.snapshot();
        let saved = ledger.save();
        execute(&mut ledger, 2, 2);
        ledger.rollback(&saved).unwrap();
        assert_eq!(ledger.snapshot(), before);
        let saved = ledger.save();
        execute(&mut ledger, 2, 2);
        ledger.settle();
        assert!(ledger.rollback(&saved).is_err());
    }
}
