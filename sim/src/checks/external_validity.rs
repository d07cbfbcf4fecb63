//! External validity: a correct replica writes only what the predicate γ allows at that height,
//! judged again by code that shares nothing with the core's.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Batch, ClientId, Decided, Digest, Height, Request, Settings, View};

use super::Verdict;

/// How far ahead of its oldest unordered request a client may be.
const WINDOW: u64 = 4_096;

/// A client's newest incarnation and the numbers ordered in it.
type Ordered = BTreeMap<ClientId, (u64, BTreeSet<u64>)>;

/// What was ordered, height by height.
#[derive(Debug, Default)]
pub struct ExternalValidity {
    height: Height,
    last: Digest,
    time_ms: u64,
    ordered: Ordered,
    /// Values written above, which others may stand on.
    in_flight: BTreeMap<Digest, (Height, Batch)>,
    /// The latest time that any correct clock ever showed.
    latest_clock: u64,
}

impl ExternalValidity {
    /// A correct replica's clock.
    pub fn clock(&mut self, now: u64) {
        self.latest_clock = self.latest_clock.max(now);
    }

    /// A correct replica decides.
    pub fn decided(&mut self, decided: &Decided) {
        if decided.height != self.height + 1 {
            return;
        }
        (self.height, self.time_ms) = (decided.height, decided.batch.time_ms);
        self.last = decided.batch.digest();
        order(&mut self.ordered, &decided.batch);
        let height = self.height;
        self.in_flight.retain(|_, (at, _)| *at > height);
    }

    /// The values below one, down to the decided ones; none if it stands on something else, as the value of a leader
    /// may that shows different ones to different replicas.
    fn below(&self, height: Height, batch: &Batch) -> Option<Vec<&Batch>> {
        let (mut below, mut after) = (Vec::new(), batch.after);
        while after != self.last {
            let (_, batch) = self.in_flight.get(&after)?;
            below.insert(0, batch);
            after = batch.after;
        }
        (height == self.height + 1 + below.len() as Height).then_some(below)
    }

    /// A correct replica writes a value for the first time. Heights decided by others
    /// meanwhile are passed over: this state knows more than that replica did.
    pub fn writes(
        &mut self,
        settings: &Settings,
        view: &View,
        height: Height,
        batch: &Batch,
        bodies: &[Request],
    ) -> Verdict {
        let verdict = self.judge(settings, view, height, batch, bodies);
        if height > self.height {
            let value = (height, batch.clone());
            self.in_flight.insert(batch.digest(), value);
        }
        verdict
    }

    fn judge(
        &self,
        settings: &Settings,
        view: &View,
        height: Height,
        batch: &Batch,
        bodies: &[Request],
    ) -> Verdict {
        let Some(below) = self.below(height, batch) else {
            return Ok(());
        };
        let time_ms = below.last().map_or(self.time_ms, |batch| batch.time_ms);
        let mut ordered = self.ordered.clone();
        below.iter().for_each(|batch| order(&mut ordered, batch));
        let mut inner = batch.entries.iter().rev().skip(1);
        let fault = if inner.any(|entry| view.administrators.contains(&entry.client)) {
            "a batch that goes on after a change of the view"
        } else if batch.entries.is_empty() {
            "an empty batch"
        } else if batch.entries.len() > settings.max_batch_requests {
            "too many requests"
        } else if bodies
            .iter()
            .any(|r| r.op.len() > settings.max_request_bytes)
        {
            "too long an operation"
        } else if bodies.len() > 1
            && bodies.iter().map(|r| r.op.len()).sum::<usize>() > settings.max_batch_bytes
        {
            "too many bytes"
        } else if batch.time_ms < time_ms {
            "a time before the last batch's"
        } else if batch.time_ms > time_ms.max(self.latest_clock + settings.clock_skew_ms) {
            "a time that no correct clock is near"
        } else if !is_once(&ordered, batch) {
            "a request outside its client's window"
        } else {
            return Ok(());
        };
        Err(format!(
            "external-validity: {fault} was written at height {height}"
        ))
    }
}

fn is_once(ordered: &Ordered, batch: &Batch) -> bool {
    let mut seen = BTreeSet::new();
    let mut incarnations = BTreeMap::new();
    batch.entries.iter().all(|entry| {
        let here = *incarnations
            .entry(entry.client)
            .or_insert(entry.incarnation);
        let none = (0, BTreeSet::new());
        let (newest, numbers) = ordered.get(&entry.client).unwrap_or(&none);
        let numbers = numbers.iter().filter(|_| entry.incarnation == *newest);
        let numbers: BTreeSet<u64> = numbers.copied().collect();
        let low = (1..).take_while(|seq| numbers.contains(seq)).count() as u64;
        here == entry.incarnation
            && seen.insert((entry.client, entry.seq))
            && entry.incarnation >= *newest
            && entry.seq > 0
            && entry.seq <= low + WINDOW
            && !numbers.contains(&entry.seq)
    })
}

fn order(ordered: &mut Ordered, batch: &Batch) {
    for entry in &batch.entries {
        let (incarnation, numbers) = ordered.entry(entry.client).or_default();
        if *incarnation != entry.incarnation {
            (*incarnation, *numbers) = (entry.incarnation, BTreeSet::new());
        }
        numbers.insert(entry.seq);
    }
}
