//! External validity: a correct replica writes only what the predicate γ allows at that height,
//! judged again by code that shares nothing with the core's.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Batch, ClientId, Decided, Height, Request, Settings, View};

use super::Verdict;

/// How far ahead of its oldest unordered request a client may be.
const WINDOW: u64 = 4_096;

/// A client's newest incarnation and the numbers ordered in it.
type Ordered = BTreeMap<ClientId, (u64, BTreeSet<u64>)>;

/// What was ordered, height by height.
#[derive(Debug, Default)]
pub struct ExternalValidity {
    height: Height,
    time_ms: u64,
    ordered: Ordered,
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
        for entry in &decided.batch.entries {
            let (incarnation, numbers) = self.ordered.entry(entry.client).or_default();
            if *incarnation != entry.incarnation {
                (*incarnation, *numbers) = (entry.incarnation, BTreeSet::new());
            }
            numbers.insert(entry.seq);
        }
    }

    /// A correct replica writes a value for the first time. Heights decided by others
    /// meanwhile are passed over: this state knows more than that replica did.
    pub fn writes(
        &self,
        settings: &Settings,
        view: &View,
        height: Height,
        batch: &Batch,
        bodies: &[Request],
    ) -> Verdict {
        if height != self.height + 1 {
            return Ok(());
        }
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
        } else if batch.time_ms < self.time_ms {
            "a time before the last batch's"
        } else if batch.time_ms > self.time_ms.max(self.latest_clock + settings.clock_skew_ms) {
            "a time that no correct clock is near"
        } else if !self.is_once(batch) {
            "a request outside its client's window"
        } else {
            return Ok(());
        };
        Err(format!(
            "external-validity: {fault} was written at height {height}"
        ))
    }

    fn is_once(&self, batch: &Batch) -> bool {
        let mut seen = BTreeSet::new();
        let mut incarnations = BTreeMap::new();
        batch.entries.iter().all(|entry| {
            let here = *incarnations
                .entry(entry.client)
                .or_insert(entry.incarnation);
            let none = (0, BTreeSet::new());
            let (newest, numbers) = self.ordered.get(&entry.client).unwrap_or(&none);
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
}
