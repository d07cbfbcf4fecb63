//! All the sizes, numbers of clients and modes that the order is compared by, one after another.

use super::consensus::{Auth, PIPELINE, Shape, measure};
use super::report::Report;
use crate::failure::Failure;
use crate::table::table;

const BYTES: [u32; 3] = [0, 100, 1024];
const CLIENTS: [u16; 4] = [1, 50, 200, 1000];
/// Seconds.
const WARMUP: u64 = 1;
const DURATION: u64 = 2;

/// Every combination, with replicas and disk as in `of`.
pub async fn measure_all(of: &Shape) -> Result<Vec<Report>, Failure> {
    let mut pipelines = vec![1, PIPELINE];
    pipelines.dedup();
    let mut reports = Vec::new();
    for auth in [Auth::Macs, Auth::Signatures] {
        for &pipeline in &pipelines {
            for bytes in BYTES {
                for clients in CLIENTS {
                    let shape = Shape {
                        clients,
                        request: bytes,
                        reply: bytes,
                        duration: DURATION,
                        warmup: WARMUP,
                        auth,
                        pipeline,
                        rate: None,
                        ..of.clone()
                    };
                    reports.push(measure(&shape).await?);
                }
            }
        }
    }
    Ok(reports)
}

/// One line for each.
pub fn text(reports: &[Report]) -> String {
    let heads = [
        "AUTH", "PIPELINE", "BYTES", "CLIENTS", "OPS/S", "MEAN ms", "P50", "P99", "CPU µs", "BATCH",
    ];
    let row = |report: &Report| {
        let latency = &report.latency_ms;
        vec![
            report.auth.name().to_owned(),
            report.pipeline.to_string(),
            format!("{}/{}", report.request_bytes, report.reply_bytes),
            report.clients.to_string(),
            format!("{:.0}", report.ops_per_second),
            format!("{:.2}", latency.mean),
            format!("{:.2}", latency.p50),
            format!("{:.2}", latency.p99),
            format!("{:.0}", report.replica_cpu_us_per_op),
            format!("{:.1}", report.batch),
        ]
    };
    let rows: Vec<Vec<String>> = reports.iter().map(row).collect();
    let note = "CPU: of all replicas together, an operation. Latency from making a request to the quorum's last reply.";
    format!("{}\n{note}", table(&heads, &rows))
}
