//! The readable account of one run.

use consensus::Message;

/// Lines, kept or printed, or nothing.
#[derive(Debug, Default)]
pub struct Trace {
    /// Whether to print.
    pub on: bool,
}

impl Trace {
    /// Writes one line; `line` is made only if somebody reads it.
    pub fn line(&self, now: u64, line: impl FnOnce() -> String) {
        if self.on {
            println!("{:>6}.{:03} {}", now / 1000, now % 1000, line());
        }
    }
}

/// A message in a few words.
pub fn words(message: &Message) -> String {
    let name = message.name();
    match message {
        Message::Propose {
            height,
            regency,
            batch,
        } => {
            let (digest, count) = (batch.digest(), batch.entries.len());
            format!("{name} height {height} regency {regency} value {digest} ({count} requests)")
        }
        Message::Write {
            height,
            regency,
            digest,
        }
        | Message::Accept {
            height,
            regency,
            digest,
            ..
        } => {
            format!("{name} height {height} regency {regency} value {digest}")
        }
        Message::AskVouch { entries, doubted } => {
            format!("{name} {} requests, doubted {doubted}", entries.len())
        }
        Message::Vouch { digests } => format!("{name} {} requests", digests.len()),
        Message::Refuse {
            regency,
            height,
            entries,
            ..
        } => {
            let count = entries.len();
            format!("{name} height {height} regency {regency} ({count} requests)")
        }
        Message::Stop { regency, .. } => format!("{name} regency {regency}"),
        Message::StopData(data) => {
            let s = &data.state;
            format!(
                "{name} regency {} decided {} votes {:?}",
                s.regency, s.decided, s.votes
            )
        }
        Message::Sync(sync) => {
            let from: Vec<_> = sync.states.iter().map(|(s, _)| s.replica.0).collect();
            let last = sync.last.as_ref().map_or(0, |last| last.height);
            format!("{name} regency {} of {from:?} decided {last}", sync.regency)
        }
        Message::Status {
            regency,
            free_from,
            decided,
            ..
        } => {
            format!("{name} regency {regency} free from {free_from:?} decided {decided}")
        }
        Message::Forward { requests } => format!("{name} {} requests", requests.len()),
        Message::Decisions { decisions } => {
            let heights: Vec<_> = decisions.iter().map(|d| d.height).collect();
            format!("{name} {heights:?}")
        }
        Message::Gone { from, oldest } => format!("{name} {from}, the log begins at {oldest}"),
        Message::State(_) | Message::Ping { .. } | Message::Pong { .. } => name.to_owned(),
        Message::FetchDecisions { from, max } => format!("{name} from {from} max {max}"),
        Message::FetchBatch { height, digest } => format!("{name} height {height} value {digest}"),
        Message::FetchBodies { height, .. }
        | Message::Bodies { height, .. }
        | Message::BatchOf { height, .. } => {
            format!("{name} height {height}")
        }
    }
}
