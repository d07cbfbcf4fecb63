//! Counts what terminals did. Only what ends inside the measured interval counts, but failures after its end do too: a
//! transaction that was in flight then and failed must not vanish.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::input::Profile;
use crate::report::run::{Kind, Percentiles, Second, Seen};
use crate::transaction::{Counts, VERBS};

/// How a transaction ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed(Counts),
    RolledBack(Counts),
    Failed,
    Unknown,
}

/// The longest response told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Buckets of a chart.
const BUCKETS: usize = 40;

pub struct Meter {
    start: Instant,
    from: Instant,
    until: Option<Instant>,
    tally: Mutex<Tally>,
}

struct Tally {
    kinds: [Count; 5],
    timeline: Vec<Second>,
    /// Responses of NEW-ORDERs that ended in the timeline's last second, in microseconds.
    second: Vec<u64>,
    errors: BTreeMap<String, (String, u64)>,
    reconnects: u64,
    /// Warm-up included, for the progress.
    retries: u64,
}

struct Count {
    committed: u64,
    rolled_back: u64,
    failed: u64,
    unknown: u64,
    retries: BTreeMap<String, u64>,
    statements: Counts,
    response: Histogram<u64>,
}

/// What was found.
pub struct Found {
    pub kinds: Vec<Kind>,
    pub timeline: Vec<Second>,
    pub errors: Vec<Seen>,
    pub reconnects: u64,
}

impl Meter {
    /// The interval ends at `until`; without it, never.
    pub fn new(start: Instant, warmup: Duration, until: Option<Instant>) -> Meter {
        let count = || Count {
            committed: 0,
            rolled_back: 0,
            failed: 0,
            unknown: 0,
            retries: BTreeMap::new(),
            statements: Counts::default(),
            response: Histogram::new_with_bounds(1, LONGEST, 3)
                .expect("the bounds are constants and valid"),
        };
        Meter {
            start,
            from: start + warmup,
            until,
            tally: Mutex::new(Tally {
                kinds: std::array::from_fn(|_| count()),
                timeline: Vec::new(),
                second: Vec::new(),
                errors: BTreeMap::new(),
                reconnects: 0,
                retries: 0,
            }),
        }
    }

    /// Counts an end; a response counts from `since`.
    pub fn ended(&self, profile: Profile, since: Instant, ended: Ended) {
        let mut tally = self.lock();
        let now = Instant::now();
        let good = matches!(ended, Ended::Committed(_) | Ended::RolledBack(_));
        let response = (now.saturating_duration_since(since).as_micros() as u64).max(1);
        if let Some(second) = self.second(&mut tally, now) {
            second.committed += u64::from(good);
            second.failed += u64::from(!good);
            if good && profile == Profile::NewOrder {
                second.new_orders += 1;
                tally.second.push(response);
            }
        }
        if now < self.from || (good && self.is_over(now)) {
            return;
        }
        let count = &mut tally.kinds[profile as usize];
        match ended {
            Ended::Failed => count.failed += 1,
            Ended::Unknown => count.unknown += 1,
            Ended::Committed(counts) | Ended::RolledBack(counts) => {
                count.committed += 1;
                count.rolled_back += u64::from(matches!(ended, Ended::RolledBack(_)));
                count.response.saturating_record(response);
                for (sum, more) in count.statements.iter_mut().zip(counts) {
                    *sum += more;
                }
            }
        }
    }

    /// Counts a retry.
    pub fn retried(&self, profile: Profile, sqlstate: &str) {
        let mut tally = self.lock();
        let now = Instant::now();
        if let Some(second) = self.second(&mut tally, now) {
            second.retries += 1;
            tally.retries += 1;
        }
        if now >= self.from && !self.is_over(now) {
            let retries = &mut tally.kinds[profile as usize].retries;
            *retries.entry(sqlstate.to_owned()).or_default() += 1;
        }
    }

    /// Counts an error that is no mere conflict, warm-up included.
    pub fn seen(&self, sqlstate: &str, message: String) {
        let mut tally = self.lock();
        let error = tally
            .errors
            .entry(sqlstate.to_owned())
            .or_insert((message, 0));
        error.1 += 1;
    }

    pub fn reconnected(&self) {
        self.lock().reconnects += 1;
    }

    /// NEW-ORDERs a minute so far, of the warm-up while it lasts, and retries so far.
    pub fn so_far(&self) -> (f64, u64) {
        let tally = self.lock();
        let now = Instant::now();
        let (began, count) = if now < self.from {
            let count = tally.timeline.iter().map(|second| second.new_orders).sum();
            (self.start, count)
        } else {
            (self.from, tally.kinds[Profile::NewOrder as usize].committed)
        };
        let now = self.until.map_or(now, |until| now.min(until));
        // The first moments of an interval say nothing of a minute.
        let took = (now - began).max(Duration::from_secs(1));
        (a_minute(count, took), tally.retries)
    }

    /// Closes the count.
    pub fn found(&self) -> Found {
        let mut tally = self.lock();
        // Seconds in which nothing ended are there too, up to the last.
        let last = self.until.map(|until| until - Duration::from_nanos(1));
        self.second(
            &mut tally,
            last.map_or(Instant::now(), |last| last.min(Instant::now())),
        );
        tally.close_second();
        let all: u64 = tally.kinds.iter().map(|count| count.committed).sum();
        let kinds = Profile::ALL.into_iter().zip(&tally.kinds);
        let seen = |(sqlstate, (message, count)): (&String, &(String, u64))| Seen {
            sqlstate: sqlstate.clone(),
            message: message.clone(),
            count: *count,
        };
        Found {
            kinds: kinds
                .map(|(profile, count)| count.kind(profile, all))
                .collect(),
            timeline: tally.timeline.clone(),
            errors: tally.errors.iter().map(seen).collect(),
            reconnects: tally.reconnects,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// The timeline's second, which ends with the interval.
    fn second<'a>(&self, tally: &'a mut Tally, now: Instant) -> Option<&'a mut Second> {
        if self.is_over(now) {
            return None;
        }
        let at = now.saturating_duration_since(self.start).as_secs() as usize;
        while tally.timeline.len() <= at {
            tally.close_second();
            let at_s = tally.timeline.len() as u32;
            tally.timeline.push(Second {
                at_s,
                ..Second::default()
            });
        }
        tally.timeline.get_mut(at)
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rate.
pub fn a_minute(count: u64, took: Duration) -> f64 {
    match took.as_secs_f64() {
        0.0 => 0.0,
        seconds => count as f64 * 60.0 / seconds,
    }
}

impl Tally {
    fn close_second(&mut self) {
        self.second.sort_unstable();
        if let (Some(last), Some(middle)) = (
            self.timeline.last_mut(),
            self.second.get(self.second.len() / 2),
        ) {
            last.new_order_p50_ms = Some(*middle as f64 / 1e3);
        }
        self.second.clear();
    }
}

impl Count {
    fn kind(&self, profile: Profile, all: u64) -> Kind {
        let at = |quantile| self.response.value_at_quantile(quantile) as f64 / 1e3;
        Kind {
            name: profile.name().to_owned(),
            committed: self.committed,
            rolled_back: self.rolled_back,
            failed: self.failed,
            unknown: self.unknown,
            retries: self.retries.clone(),
            share: self.committed as f64 / all.max(1) as f64,
            response_ms: Percentiles {
                mean: self.response.mean() / 1e3,
                p50: at(0.5),
                p90: at(0.9),
                p95: at(0.95),
                p99: at(0.99),
                p999: at(0.999),
                max: self.response.max() as f64 / 1e3,
            },
            histogram: buckets(&self.response),
            statements: VERBS
                .iter()
                .zip(self.statements)
                .map(|(verb, count)| ((*verb).to_owned(), count))
                .collect(),
        }
    }
}

/// Edges of equal ratio from the least to the greatest.
fn buckets(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let least = histogram.min().max(1) as f64;
    // A little above the greatest, so that all lie below an edge.
    let ratio = (histogram.max() as f64 * 1.001 / least).powf(1.0 / BUCKETS as f64);
    let edge = |bucket: usize| least * ratio.powi(bucket as i32 + 1) / 1e3;
    let mut buckets: Vec<(f64, u64)> = (0..BUCKETS).map(|bucket| (edge(bucket), 0)).collect();
    for value in histogram.iter_recorded() {
        let place = (value.value_iterated_to() as f64 / least).ln() / ratio.ln();
        buckets[(place.max(0.0) as usize).min(BUCKETS - 1)].1 += value.count_at_value();
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_stands_in_a_bucket_below_its_edge() {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST, 3).unwrap();
        for value in [900, 1_000, 1_000, 5_000, 1_000_000] {
            histogram.record(value).unwrap();
        }
        let buckets = buckets(&histogram);
        assert_eq!(buckets.len(), BUCKETS);
        assert_eq!(buckets.iter().map(|bucket| bucket.1).sum::<u64>(), 5);
        assert_eq!(buckets[BUCKETS - 1].1, 1, "the greatest");
        let below_2ms = buckets.iter().filter(|bucket| bucket.0 < 2.0);
        assert_eq!(below_2ms.map(|bucket| bucket.1).sum::<u64>(), 3);
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_interval_leaves_the_warmup_out_and_keeps_late_failures() {
        let committed = Ended::Committed([3, 1, 0, 0]);
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let warming = Meter::new(now, hour, Some(now + 2 * hour));
        warming.ended(Profile::NewOrder, now, committed);
        let found = warming.found();
        assert_eq!(found.kinds[0].committed, 0);
        assert_eq!(found.timeline[0].new_orders, 1, "the timeline has it");
        assert!(found.timeline[0].new_order_p50_ms.is_some());

        let measuring = Meter::new(now, Duration::ZERO, None);
        measuring.ended(Profile::NewOrder, now, committed);
        measuring.ended(Profile::NewOrder, now, Ended::RolledBack([2, 0, 0, 0]));
        measuring.retried(Profile::Payment, "40001");
        let found = measuring.found();
        assert_eq!(found.kinds[0].committed, 2, "with those rolled back");
        assert_eq!(found.kinds[0].rolled_back, 1);
        assert_eq!(found.kinds[0].statements["select"], 5);
        assert_eq!(found.kinds[1].retries["40001"], 1);

        let began = now - Duration::from_secs(9);
        let quiet = Meter::new(began, Duration::ZERO, Some(began + Duration::from_secs(3)));
        quiet.ended(Profile::NewOrder, began, committed);
        let timeline = quiet.found().timeline;
        assert_eq!(timeline.len(), 3, "with the seconds in which nothing ended");
        assert!(timeline.iter().all(|second| second.committed == 0));

        let over = Meter::new(now, Duration::ZERO, Some(now));
        over.ended(Profile::Delivery, now, committed);
        over.ended(Profile::Delivery, now, Ended::Unknown);
        let found = over.found();
        assert_eq!((found.kinds[3].committed, found.kinds[3].unknown), (0, 1));
    }
}
