//! Latencies by site, beside those that were published.

use std::time::Duration;

use serde::Serialize;
use testbed::Links;

use super::systems::ROWS;
use crate::bench::group::answers::Answers;

#[derive(Debug, Serialize)]
pub struct Report {
    pub seconds: u64,
    pub interval_ms: u64,
    pub bytes: u32,
    pub links: String,
    pub systems: Vec<Measured>,
    pub broken: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Measured {
    pub system: String,
    pub replicas: usize,
    pub rows: Vec<Row>,
}

/// One site's client, or all of them.
#[derive(Debug, Serialize)]
pub struct Row {
    pub site: String,
    pub requests: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    /// What the mean delays alone come to, for one request.
    pub alone_ms: Option<f64>,
    /// Of Table 5.8.
    pub published_p50_ms: Option<u32>,
    pub published_p90_ms: Option<u32>,
}

impl Row {
    pub fn new(
        site: &str,
        answers: &Answers,
        (from, to): (Duration, Duration),
        published: Option<(u32, u32)>,
    ) -> Row {
        let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        let [p50, p90] = answers.quantiles(from, to, [0.5, 0.9]).map(ms);
        Row {
            site: site.to_owned(),
            requests: answers.between(from, to),
            p50_ms: p50,
            p90_ms: p90,
            alone_ms: None,
            published_p50_ms: published.map(|row| row.0),
            published_p90_ms: published.map(|row| row.1),
        }
    }
}

impl Report {
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}; {} s, a request of {} bytes every {} ms from each site; \
             median / 90th percentile in ms (Table 5.8's) [what the mean delays alone come to]\n\n| client |",
            self.links, self.seconds, self.bytes, self.interval_ms
        );
        for system in &self.systems {
            text += &format!(" {}, n = {} |", system.system, system.replicas);
        }
        text += &format!("\n|{}\n", " --- |".repeat(self.systems.len() + 1));
        let links = Links::five_regions();
        let sites = ROWS.iter().map(|site| links.sites()[*site].as_str());
        for site in sites.chain(["all"]) {
            text += &format!("| {site} |");
            for system in &self.systems {
                let row = system.rows.iter().find(|row| row.site == site);
                text += &row.map_or_else(|| " – |".to_owned(), Row::cell);
            }
            text.push('\n');
        }
        let all = |system: &Measured| system.rows.last().map_or(0.0, |row| row.p50_ms);
        for pair in self.systems.chunks(2) {
            if let [one, other] = pair {
                let (before, after) = (all(one), all(other));
                text += &format!(
                    "\n{} against {}: median {:.0} % less",
                    other.system,
                    one.system,
                    (1.0 - after / before) * 100.0
                );
            }
        }
        text
    }
}

impl Row {
    /// With what the delays alone come to.
    pub fn beside(self, alone: Duration) -> Row {
        let alone_ms = Some(alone.as_secs_f64() * 1e3);
        Row { alone_ms, ..self }
    }

    fn cell(&self) -> String {
        let published = match (self.published_p50_ms, self.published_p90_ms) {
            (Some(p50), Some(p90)) => format!(" ({p50} / {p90})"),
            _ => String::new(),
        };
        let alone = self
            .alone_ms
            .map_or(String::new(), |ms| format!(" [{ms:.0}]"));
        format!(
            " {:.0} / {:.0}{published}{alone} |",
            self.p50_ms, self.p90_ms
        )
    }
}
