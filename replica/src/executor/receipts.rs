//! Receipts: this replica vouches for a committed transaction when somebody asks (DESIGN.md, 10).
//!
//! Nothing is done for them beforehand but remembering where the last transactions stand: the decision and its verdicts are read
//! back from the log, where they are durable, so a receipt can be asked for as far back as the log reaches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus::{ClientId, Decided, Digest, Height, PublicKey, SigningKey, View, ViewCertificate};
use order::log::{Log, Position};
use tokio::time::Instant;
use txn::TxId;
use txn::client::ReplicaMessage;
use txn::limits;
use txn::receipt::{Fact, Given, Refusal, Signed, Wanted, cluster_digest};
use txn::tally::Verdict;

use super::{Executor, Note, record};

/// Read and signed at a time; each holds one decided batch in memory.
const AT_ONCE: usize = 2;
/// How long one waits for its height to be final here.
const WAITS: Duration = Duration::from_secs(20);

/// What a replica knows for receipts, and who waits for one.
pub struct Receipts {
    genesis: View,
    cluster: Digest,
    /// The changes of the view so far, by their decisions. Every replica replays its whole log at a start, so they are all here.
    views: Vec<ViewCertificate>,
    /// The keys that a view named for this replica, or will.
    keys: Vec<SigningKey>,
    places: BTreeMap<TxId, (Height, u32)>,
    oldest: VecDeque<TxId>,
    waiting: VecDeque<Asked>,
    running: usize,
}

struct Asked {
    client: ClientId,
    id: u64,
    height: Height,
    index: u32,
    since: Instant,
}

/// Everything that a signature needs, away from the executor.
struct Job {
    log: Log,
    /// What has been appended when the height was final here.
    end: Position,
    height: Height,
    index: u32,
    key: SigningKey,
    genesis: View,
    cluster: Digest,
    view: u64,
    views: Vec<ViewCertificate>,
}

impl Receipts {
    pub fn new(genesis: View, keys: Vec<SigningKey>) -> Receipts {
        Receipts {
            cluster: cluster_digest(&genesis),
            genesis,
            views: Vec::new(),
            keys,
            places: BTreeMap::new(),
            oldest: VecDeque::new(),
            waiting: VecDeque::new(),
            running: 0,
        }
    }

    /// A decision changed the view.
    pub fn view_changed(&mut self, decided: &Decided) {
        self.views.extend(ViewCertificate::of(decided));
    }

    /// A transaction is committed at this place.
    pub fn committed(&mut self, tx: TxId, height: Height, index: u32) {
        if self.places.insert(tx, (height, index)).is_none() {
            self.oldest.push_back(tx);
        }
        if self.oldest.len() > limits::RECEIPTS_BY_NAME
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    fn place(&self, wanted: Wanted) -> Option<(Height, u32)> {
        match wanted {
            Wanted::Place { height, index } => Some((height, index)),
            Wanted::Transaction(tx) => self.places.get(&tx).copied(),
        }
    }

    fn is_full(&self, client: ClientId) -> bool {
        let own = self.waiting.iter().filter(|a| a.client == client);
        self.waiting.len() >= limits::RECEIPTS_WAITING
            || own.count() >= limits::RECEIPTS_WAITING_PER_CLIENT
    }
}

impl Executor {
    /// A client asks for this replica's part of a receipt.
    pub(super) fn receipt(&mut self, client: ClientId, id: u64, wanted: Wanted) {
        let refuse = |refusal| ReplicaMessage::Receipt {
            id,
            given: Given::Refused(refusal),
        };
        // It may be decided elsewhere already, but not so far ahead.
        let last = self.engine.decided_height() + limits::AUTO_WINDOW;
        let place = self.receipts.place(wanted);
        let Some((height, index)) = place.filter(|(height, _)| (1..=last).contains(height)) else {
            return self.tell(client, &refuse(Refusal::Unknown));
        };
        if self.receipts.is_full(client) {
            return self.tell(client, &refuse(Refusal::Busy));
        }
        self.receipts.waiting.push_back(Asked {
            client,
            id,
            height,
            index,
            since: Instant::now(),
        });
        self.run_receipts();
    }

    /// Signs what is final here by now, and gives up what has waited too long.
    pub(super) fn run_receipts(&mut self) {
        let last = self.engine.final_height();
        let waiting = &mut self.receipts.waiting;
        waiting.retain(|asked| asked.since.elapsed() < WAITS);
        while self.receipts.running < AT_ONCE {
            let mut waiting = self.receipts.waiting.iter();
            let Some(at) = waiting.position(|asked| asked.height <= last) else {
                return;
            };
            if let Some(asked) = self.receipts.waiting.remove(at) {
                self.sign_receipt(&asked);
            }
        }
    }

    fn sign_receipt(&mut self, asked: &Asked) {
        let (client, id) = (asked.client, asked.id);
        let named = self.view.replica_key(self.me);
        let mut keys = self.receipts.keys.iter();
        let Some(key) = keys.find(|key| named == Some(&PublicKey::of(key))) else {
            let given = Given::Refused(Refusal::NoMember);
            return self.tell(client, &ReplicaMessage::Receipt { id, given });
        };
        let job = Job {
            log: self.log.clone(),
            end: self.log.end(),
            height: asked.height,
            index: asked.index,
            key: key.clone(),
            genesis: self.receipts.genesis.clone(),
            cluster: self.receipts.cluster,
            view: self.view.id,
            views: self.receipts.views.clone(),
        };
        self.receipts.running += 1;
        let notes = self.bench.notes.clone();
        #[cfg(feature = "lies")]
        let lies = self.bench.lies.clone();
        tokio::spawn(async move {
            let given = job.run().await;
            #[cfg(feature = "lies")]
            let given = lies.receipt(given);
            let message = ReplicaMessage::Receipt { id, given };
            let _ = notes.send(Note::ReceiptMade { client, message });
        });
    }

    pub(super) fn receipt_made(&mut self, client: ClientId, message: &ReplicaMessage) {
        self.receipts.running -= 1;
        self.tell(client, message);
        self.run_receipts();
    }
}

impl Job {
    async fn run(self) -> Given {
        // The decision, the votes and the verdict were appended before; a log that fails stops the replica.
        if self.log.durable(self.end).await.is_err() {
            return Given::Refused(Refusal::Unknown);
        }
        let made = tokio::task::spawn_blocking(move || self.sign()).await;
        match made {
            Ok(Ok(signed)) => Given::Signed(Box::new(signed)),
            Ok(Err(refusal)) => Given::Refused(refusal),
            Err(_) => Given::Refused(Refusal::Unknown),
        }
    }

    fn sign(self) -> Result<Signed, Refusal> {
        let (height, index) = (self.height, self.index);
        let verdicts: Vec<(u32, Verdict)> = self.read(record::VERDICTS).ok_or(Refusal::Unknown)?;
        // Rule: never before the verdict is final, and never of an ABORT.
        if !verdicts.contains(&(index, Verdict::Commit)) {
            return Err(Refusal::NotCommitted);
        }
        let decided: Decided = self.read(order::record::DECIDED).ok_or(Refusal::Unknown)?;
        let before = self.views.iter().filter(|view| view.height < height);
        let decided_in = self.genesis.id + before.count() as u64;
        let fact = Fact::of(self.cluster, self.view, decided_in, &decided, index)
            .ok_or(Refusal::NotCommitted)?;
        Ok(Signed {
            signature: fact.sign(&self.key),
            fact,
            genesis: self.genesis,
            views: self.views,
        })
    }

    /// What the log holds of the height; nothing when it was cut there.
    fn read<T: serde::de::DeserializeOwned>(&self, kind: u8) -> Option<T> {
        let found = self.log.newest(kind, self.height);
        let record = found
            .inspect_err(|error| tracing::error!(%error, "the log cannot be read for a receipt"))
            .ok()??;
        postcard::from_bytes(&record.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use order::log::LogOptions;
    use std::sync::mpsc;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(200);

    fn job(log: &Log) -> Job {
        let genesis = View::default();
        Job {
            log: log.clone(),
            end: log.end(),
            height: 1,
            index: 0,
            key: SigningKey::from_bytes(&[1; 32]),
            cluster: cluster_digest(&genesis),
            genesis,
            view: 0,
            views: Vec::new(),
        }
    }

    /// What was appended last may not be on the disk yet: it is waited for, neither signed nor denied.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_receipt_waits_until_the_verdict_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(dir.path(), LogOptions::default()).unwrap();
        // A slow disk: the log's thread stands still.
        let (go_on, slow) = mpsc::channel::<()>();
        let (stands, standing) = mpsc::channel();
        log.append_then(record::VOTES, 1, Default::default(), move |_| {
            stands.send(()).unwrap();
            let _ = slow.recv();
        });
        standing.recv().unwrap();
        let verdicts = vec![(0u32, Verdict::Abort)];
        let payload = postcard::to_stdvec(&verdicts).unwrap();
        log.append(record::VERDICTS, 1, payload.into());

        let asked = tokio::spawn(job(&log).run());
        tokio::pin!(asked);
        let early = timeout(SOON, asked.as_mut()).await;
        assert!(early.is_err(), "answered before it is durable: {early:?}");
        go_on.send(()).unwrap();
        let given = timeout(Duration::from_secs(20), asked).await.unwrap();
        assert_eq!(given.unwrap(), Given::Refused(Refusal::NotCommitted));
    }
}
