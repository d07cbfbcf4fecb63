//! An operation of which the master says nothing is given to all replicas, which bring it to the master and bring back what it says
//! (docs/decisions/0030-errands.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{ReplicaId, View};
use tokio::time::{Instant, sleep_until};
use txn::TxId;
use txn::client::{ClientMessage, ReplicaMessage};
use txn::errand::Errand;

use super::{Inner, Waiting, encode};

/// How often it is looked whether somebody else is to be asked.
const LOOK: Duration = Duration::from_millis(100);
/// How long the answer is waited for, while the link to the master stands, before each time; then as before the last one.
const PAUSES: [u64; 7] = [2_000, 2_000, 2_000, 4_000, 8_000, 16_000, 30_000];
/// While there is no link to it.
const UNLINKED: [u64; 4] = [200, 500, 1_000, 2_000];

/// An operation that waits for the master's answer.
pub(crate) struct Waits<'a> {
    inner: Arc<Inner>,
    epoch: u64,
    message: &'a ClientMessage,
    signed: Option<Bytes>,
    times: usize,
    since: Instant,
}

impl Inner {
    /// What is to be done about an operation that was just sent to this epoch's master.
    pub fn errand<'a>(self: &Arc<Inner>, epoch: u64, message: &'a ClientMessage) -> Waits<'a> {
        Waits {
            inner: self.clone(),
            epoch,
            message,
            signed: None,
            times: 0,
            since: Instant::now(),
        }
    }

    /// A replica says what the master has told it. What f+1 say alike one correct replica has heard of it.
    pub(super) fn brought(&self, waiting: &mut Waiting, from: ReplicaId, tx: TxId, message: Bytes) {
        let told = match consensus::decode(&message) {
            Ok(told @ ReplicaMessage::Operation { tx: of, step, .. }) if of == tx => {
                waiting.operations.contains_key(&(tx, step)).then_some(told)
            }
            Ok(told @ ReplicaMessage::Doomed { tx: of, .. }) if of == tx => {
                let mut steps = waiting.operations.keys();
                steps.any(|(of, _)| *of == tx).then_some(told)
            }
            _ => None,
        };
        let Some(told) = told else {
            return;
        };
        let said = waiting.brought.entry(tx).or_default();
        match count(said, &self.view(), from, message) {
            Count::Enough => {
                waiting.brought.remove(&tx);
                self.master_says(waiting, told);
            }
            Count::Never => {
                waiting.brought.remove(&tx);
                Inner::malformed(waiting, tx);
            }
            Count::TooFew => {}
        }
    }
}

/// What replicas have brought of one transaction, of each the last.
pub(crate) type Said = BTreeMap<ReplicaId, Bytes>;

#[derive(Debug, PartialEq, Eq)]
enum Count {
    Enough,
    TooFew,
    /// Correct replicas among these were told different things: the master lies.
    Never,
}

fn count(said: &mut Said, view: &View, from: ReplicaId, message: Bytes) -> Count {
    if view.replica_key(from).is_none() {
        return Count::TooFew;
    }
    said.insert(from, message.clone());
    let alike = |one: &Bytes| said.values().filter(|other| *other == one).count();
    if alike(&message) >= view.one_correct() {
        return Count::Enough;
    }
    // f of them may lie, and what two correct ones heard of an honest master is the same.
    match said.len() >= view.quorum() {
        true => Count::Never,
        false => Count::TooFew,
    }
}

impl Waits<'_> {
    /// Ends when the others are to be asked; there is no hurry in dropping it.
    pub async fn due(&self) {
        // Most operations are answered before anything is looked at.
        let mut look = self.since + pause(false, 0);
        loop {
            sleep_until(look).await;
            look = Instant::now() + LOOK;
            let linked = self.inner.connected();
            let linked = linked.contains(&self.inner.master_of(self.epoch));
            if self.since.elapsed() >= pause(linked, self.times) {
                return;
            }
        }
    }

    /// Gives it to all replicas.
    pub fn send(&mut self) {
        let inner = &self.inner;
        let signed = self.signed.get_or_insert_with(|| {
            let author = inner.author();
            let errand = Errand::new(inner.me, self.epoch, self.message, author.key());
            encode(&ClientMessage::Errand(errand))
        });
        if self.times == 0 {
            tracing::debug!(
                epoch = self.epoch,
                "the master is silent: the others bring it an operation"
            );
        }
        inner.broadcast(signed);
        self.times += 1;
        self.since = Instant::now();
    }
}

fn pause(linked: bool, times: usize) -> Duration {
    let pauses: &[u64] = if linked { &PAUSES } else { &UNLINKED };
    Duration::from_millis(pauses[times.min(pauses.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{PublicKey, SigningKey};

    fn view() -> View {
        let key = |id: u16| PublicKey::of(&SigningKey::from_bytes(&[id as u8; 32]));
        let replicas = (0..4).map(|id| (ReplicaId(id), key(id)));
        View {
            f: 1,
            replicas: replicas.collect(),
            ..View::default()
        }
    }

    fn say(said: &mut Said, from: u16, what: &'static str) -> Count {
        count(said, &view(), ReplicaId(from), what.into())
    }

    #[test]
    fn what_two_replicas_bring_alike_counts_and_no_lie_of_one() {
        let mut said = Said::new();
        assert_eq!(say(&mut said, 1, "lie"), Count::TooFew);
        assert_eq!(say(&mut said, 1, "lie"), Count::TooFew, "once each");
        assert_eq!(say(&mut said, 9, "lie"), Count::TooFew, "no member");
        assert_eq!(say(&mut said, 2, "truth"), Count::TooFew);
        assert_eq!(say(&mut said, 3, "truth"), Count::Enough);
    }

    #[test]
    fn a_master_that_tells_everybody_something_else_lies() {
        let mut said = Said::new();
        assert_eq!(say(&mut said, 1, "a"), Count::TooFew);
        assert_eq!(say(&mut said, 2, "b"), Count::TooFew);
        assert_eq!(say(&mut said, 3, "c"), Count::Never);
    }

    #[test]
    fn a_dead_link_is_waited_for_less_than_a_slow_statement() {
        assert!(pause(false, 0) < pause(true, 0));
        assert_eq!(pause(true, 6), pause(true, 60));
        assert_eq!(pause(false, 3), pause(false, 60));
    }
}
