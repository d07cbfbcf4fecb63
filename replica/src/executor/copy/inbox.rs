//! What peers say to one that copies, on its way to it. Nobody takes another one's place.

use super::WINDOW;
use consensus::ReplicaId;
use net::Share;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use txn::copy::CopyMessage;

/// Messages of one peer that may wait: a window, and as many words about what it keeps. Their bytes are counted with all frames that
/// wait.
const WAITING: usize = 2 * WINDOW as usize;

/// What a message takes up until it is dropped.
pub type Place = (Share, OwnedSemaphorePermit);

/// Where messages are put.
pub struct Post {
    messages: mpsc::UnboundedSender<(ReplicaId, CopyMessage, Place)>,
    places: BTreeMap<ReplicaId, Arc<Semaphore>>,
    source: watch::Receiver<Option<ReplicaId>>,
}

/// Where they are taken.
pub struct Inbox {
    messages: mpsc::UnboundedReceiver<(ReplicaId, CopyMessage, Place)>,
    source: watch::Sender<Option<ReplicaId>>,
}

pub fn inbox() -> (Post, Inbox) {
    let (put, taken) = mpsc::unbounded_channel();
    let (ask, source) = watch::channel(None);
    let post = Post {
        messages: put,
        places: BTreeMap::new(),
        source,
    };
    let inbox = Inbox {
        messages: taken,
        source: ask,
    };
    (post, inbox)
}

impl Post {
    /// Chunks of another one than the source are dropped, and what is more than one peer may have here: a source that sends more than it
    /// was asked for loses it.
    pub fn put(&mut self, from: ReplicaId, message: CopyMessage, share: Share) {
        let is_chunk = matches!(message, CopyMessage::Chunk { .. });
        if is_chunk && *self.source.borrow() != Some(from) {
            return;
        }
        let places = self.places.entry(from);
        let places = places.or_insert_with(|| Arc::new(Semaphore::new(WAITING)));
        if let Ok(place) = places.clone().try_acquire_owned() {
            // The one that copies is gone only when it has ended.
            let _ = self.messages.send((from, message, (share, place)));
        }
    }
}

impl Inbox {
    /// From now on chunks of this one are taken, and of no other.
    pub fn take_from(&self, source: ReplicaId) {
        self.source.send_replace(Some(source));
    }

    /// The next message; `None` when the replica stops.
    pub async fn next(&mut self) -> Option<(ReplicaId, CopyMessage, Place)> {
        self.messages.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use txn::copy::Part;

    fn chunk() -> CopyMessage {
        CopyMessage::Chunk {
            height: 9,
            part: Part::Schema,
            number: 0,
            last: false,
            payload: Vec::new(),
            hash: Default::default(),
        }
    }

    fn taken(inbox: &mut Inbox) -> Vec<u16> {
        let next = || inbox.messages.try_recv().ok();
        std::iter::from_fn(next).map(|(from, ..)| from.0).collect()
    }

    #[test]
    fn no_peer_takes_the_place_of_another_one_at_one_that_copies() {
        let (mut post, mut inbox) = inbox();
        let mut put = |from, message| post.put(ReplicaId(from), message, Share::default());
        for _ in 0..1_000 {
            put(1, CopyMessage::Keeping { height: 9 });
        }
        put(2, CopyMessage::Keeping { height: 9 });
        let mut wanted = vec![1; WAITING];
        wanted.push(2);
        assert_eq!(taken(&mut inbox), wanted);

        put(2, chunk());
        assert!(taken(&mut inbox).is_empty(), "nobody was asked");
        inbox.take_from(ReplicaId(2));
        put(1, chunk());
        put(2, chunk());
        assert_eq!(taken(&mut inbox), [2], "and its places are free again");
    }
}
