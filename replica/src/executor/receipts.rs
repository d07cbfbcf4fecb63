//! Receipts: this replica vouches for a committed transaction when somebody asks (DESIGN.md, 10).
//!
//! Nothing is done for them beforehand but remembering where the last transactions stand: the decision and its verdicts are read
//! back from the log, where they are durable, so a receipt can be asked for as far back as the log reaches.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use consensus::{
    ClientId, Decided, Digest, Height, PublicKey, ReplicaId, SigningKey, View, ViewCertificate,
};
use order::log::{Log, Position};
use tokio::time::Instant;
use txn::TxId;
use txn::client::ReplicaMessage;
use txn::limits;
use txn::peer::PeerMessage;
use txn::receipt::{Fact, Given, Refusal, Signed, Wanted, cluster_digest};
use txn::tally::Verdict;

use super::certificates::Certificates;
use super::{Executor, Note, record};

/// Read and signed at a time; each holds one decided batch in memory.
const AT_ONCE: usize = 2;
/// Certificates told a peer at a time: each holds a request of an administrator and a batch.
const VIEWS_TOLD: usize = 16;
/// How long they may take before they are asked for again.
const VIEWS_PATIENCE: Duration = Duration::from_secs(1);
/// How long one waits for its height to be final here.
const WAITS: Duration = Duration::from_secs(20);

/// What a replica knows for receipts, and who waits for one.
pub struct Receipts {
    genesis: View,
    cluster: Digest,
    /// The changes of the view so far, by their decisions.
    views: Certificates,
    /// The keys that a view named for this replica, or will.
    keys: Vec<SigningKey>,
    places: BTreeMap<TxId, (Height, u32)>,
    oldest: VecDeque<TxId>,
    waiting: VecDeque<Asked>,
    running: usize,
    /// When certificates of views were asked for last.
    views_asked: Option<Instant>,
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
    pub fn new(genesis: View, keys: Vec<SigningKey>, file: PathBuf) -> Receipts {
        Receipts {
            cluster: cluster_digest(&genesis),
            views: Certificates::read(file, &genesis),
            genesis,
            keys,
            places: BTreeMap::new(),
            oldest: VecDeque::new(),
            waiting: VecDeque::new(),
            running: 0,
            views_asked: None,
        }
    }

    /// A decision changed the view.
    pub fn view_changed(&mut self, decided: &Decided) {
        if let Some(certificate) = ViewCertificate::of(decided) {
            self.views.extend(std::slice::from_ref(&certificate));
        }
    }

    /// A peer's certificates, of which each proves itself.
    pub fn views_came(&mut self, certificates: &[ViewCertificate]) {
        self.views.extend(certificates);
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
        if !self.receipts.views.lead_to(&self.view) {
            // They are asked for already; others may have them.
            let given = Given::Refused(Refusal::Unknown);
            return self.tell(client, &ReplicaMessage::Receipt { id, given });
        }
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
            views: self.receipts.views.all().to_vec(),
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

    /// Asks for certificates of views that went by while this replica was away, until they are here.
    pub(super) fn views_tick(&mut self) {
        let asked = self.receipts.views_asked;
        let due = asked.is_none_or(|at| at.elapsed() >= VIEWS_PATIENCE);
        if due && self.history.is_none() && !self.receipts.views.lead_to(&self.view) {
            self.receipts.views_asked = Some(Instant::now());
            let known = self.receipts.views.all().len() as u64;
            self.broadcast_peers(&PeerMessage::FetchViews { known });
        }
    }

    /// A peer lacks certificates of views.
    pub(super) fn tell_views(&self, to: ReplicaId, known: u64) {
        let all = self.receipts.views.all();
        let rest = usize::try_from(known)
            .ok()
            .and_then(|known| all.get(known..));
        let certificates: Vec<ViewCertificate> = rest
            .into_iter()
            .flatten()
            .take(VIEWS_TOLD)
            .cloned()
            .collect();
        if !certificates.is_empty() {
            self.send_peer(to, &PeerMessage::Views { certificates });
        }
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
