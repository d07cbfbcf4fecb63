//! What was measured, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::consensus::Auth;

/// Nanoseconds in a millisecond.
const MS: f64 = 1e6;

/// One measurement. Times in the unit that the name ends with.
#[derive(Debug, Serialize)]
pub struct Report {
    pub replicas: u16,
    pub f: u16,
    pub clients: usize,
    pub request_bytes: usize,
    pub reply_bytes: usize,
    pub auth: Auth,
    /// Instances in flight at most.
    pub pipeline: u16,
    /// Requests a second of an open loop; none: closed loops.
    pub rate: Option<u32>,
    /// Whether the decision log was made durable.
    pub fsync: bool,
    pub cores: usize,
    pub seconds: f64,
    pub operations: u64,
    pub ops_per_second: f64,
    pub latency_ms: Latency,
    /// Of all replica processes together.
    pub replica_cpu_us_per_op: f64,
    /// Of the process that holds the clients.
    pub client_cpu_us_per_op: f64,
    /// Requests in a decided batch, mean.
    pub batch: f64,
    /// Of all replicas together.
    pub fsyncs_per_op: f64,
    /// Requests that a client sent again, and that a replica refused, since the start.
    pub repeated: u64,
    pub refused: u64,
}

/// From signing a request to the quorum's last reply.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(latencies: &Histogram<u64>) -> Latency {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / MS;
        Latency {
            mean: latencies.mean() / MS,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: latencies.max() as f64 / MS,
        }
    }
}

/// A time's share of each of so many operations, in microseconds; 0 when there were none.
pub fn us_per_op(time: Duration, operations: u64) -> f64 {
    per(time.as_secs_f64() * 1e6, operations)
}

/// A share of each of so many; 0 when there were none.
pub fn per(amount: f64, count: u64) -> f64 {
    match count {
        0 => 0.0,
        count => amount / count as f64,
    }
}

impl Report {
    pub fn text(&self) -> String {
        let Latency {
            mean,
            p50,
            p90,
            p99,
            max,
        } = self.latency_ms;
        let disk = match self.fsync {
            true => "log made durable",
            false => "log not made durable (--no-fsync)",
        };
        let paced = self
            .rate
            .map_or_else(String::new, |rate| format!(" at {rate} requests/s"));
        let mut text = format!(
            "{} replicas (f = {}), {} clients{paced}, {}, {}/{} bytes, {disk}, {} cores\n\
             throughput   {:.0} operations/s ({} in {:.1} s)\n\
             latency      mean {mean:.3} ms, p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, max {max:.3}\n\
             replica CPU  {:.0} µs an operation, all {} together\n\
             client CPU   {:.0} µs an operation\n\
             batches      {:.1} requests; {:.2} fsyncs an operation, all replicas together",
            self.replicas,
            self.f,
            self.clients,
            self.auth.name(),
            self.request_bytes,
            self.reply_bytes,
            self.cores,
            self.ops_per_second,
            self.operations,
            self.seconds,
            self.replica_cpu_us_per_op,
            self.replicas,
            self.client_cpu_us_per_op,
            self.batch,
            self.fsyncs_per_op,
        );
        if self.repeated + self.refused > 0 {
            let (repeated, refused) = (self.repeated, self.refused);
            text += &format!("\nrequests     {repeated} sent again, {refused} refused");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = super::super::client::histogram();
        for ms in 1..=100 {
            latencies.record(ms * 1_000_000).unwrap();
        }
        let told = Latency::of(&latencies);
        for (is, should) in [
            (told.p50, 50.0),
            (told.p99, 99.0),
            (told.max, 100.0),
            (told.mean, 50.5),
        ] {
            assert!((is - should).abs() < should / 500.0, "{is} {should}");
        }
    }

    #[test]
    fn nothing_done_costs_nothing() {
        assert_eq!(us_per_op(Duration::from_secs(1), 0), 0.0);
        assert_eq!(us_per_op(Duration::from_secs(1), 1_000), 1_000.0);
    }
}
