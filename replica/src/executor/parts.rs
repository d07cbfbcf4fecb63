//! What the executor is made of, what it listens to, and why it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Height, ReplicaId, View};
use net::{Budget, Endpoint, PeerId, Share};
use pgsession::{Alarm, Target};
use tokio::sync::{mpsc, watch};

use super::copying::CopyWish;
use super::note::Note;
use crate::postgres::{Dumper, Fingerprint, MayDiffer};
use order::log::{Log, LogError};
use order::{OrderHandle, Repeat, ToService};

/// What a frame counts beyond its payload.
const OVERHEAD: usize = 512;

/// What the executor is made of.
pub struct Parts {
    pub me: ReplicaId,
    pub key: ed25519_dalek::SigningKey,
    /// Keys that later views may name for this replica.
    pub spare_keys: Vec<ed25519_dalek::SigningKey>,
    pub view: View,
    /// The view in which the cluster began.
    pub first: View,
    /// Where members listen, as far as the log knows.
    pub contacts: BTreeMap<ReplicaId, String>,
    pub endpoint: Endpoint,
    pub log: Log,
    pub order: OrderHandle,
    /// How the clients' sessions log in, and the replica's own.
    pub clients: Target,
    pub superuser: Target,
    pub token: Arc<str>,
    pub settings: Settings,
    pub damage: Damage,
    /// The database is to be copied; nothing is executed.
    pub copy: Option<CopyWish>,
    /// PostgreSQL's process, and what it is.
    pub postgres_pid: u32,
    pub server_version: String,
    pub fingerprint: Fingerprint,
    /// What other replicas' servers may have different.
    pub may_differ: MayDiffer,
    /// Tells the order which height is final.
    pub finished: watch::Sender<Height>,
    /// Tells the order from which height on the log is needed by others that copy.
    pub needed: watch::Sender<Height>,
    /// Where the certificates of views lie.
    pub views: PathBuf,
}

/// Times and bounds of the executor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which the master is suspected; doubles per epoch without progress.
    pub master_timeout: Duration,
    /// Between two tables of the audit in the background, over all replicas; zero: none.
    pub audit_every: Duration,
    /// Reads the schema for others that copy; absent where the server is somebody else's.
    pub dumper: Option<Dumper>,
    /// How much is sent to one that copies, at most.
    pub copy_bytes_per_second: u64,
    /// Draws by which a recorded value of a sequence may lie ahead.
    pub sequence_window: u64,
}

/// What is known of damage to PostgreSQL's data, and may be done about it.
#[derive(Clone, Debug)]
pub struct Damage {
    pub alarm: Alarm,
    /// The server is this replica's own: its data can be made anew.
    pub own_server: bool,
    /// That may be done without an operator.
    pub automatic: bool,
    /// Why the data begin anew, when they do.
    pub rebuilding: Option<String>,
    /// When (ms) and why they did so last.
    pub rebuilt: Option<(u64, String)>,
}

impl Damage {
    /// The data may be made anew now, though nobody asked for it.
    pub fn may_rebuild(&self) -> bool {
        let last = self.rebuilt.as_ref().map(|(at_ms, _)| *at_ms);
        self.own_server && self.automatic && crate::rebuild::is_due(last)
    }
}

/// A message of a peer or a client.
pub struct Frame {
    pub from: PeerId,
    pub channel: u8,
    pub payload: Bytes,
    /// Its part of the bytes that may wait; given back when the frame is dropped.
    pub share: Share,
}

impl Frame {
    /// Waits until `room` has its bytes.
    pub async fn new(from: PeerId, channel: u8, payload: Bytes, room: &Budget) -> Frame {
        let share = room.take(payload.len() + OVERHEAD).await;
        Frame {
            from,
            channel,
            payload,
            share,
        }
    }
}

/// What the executor listens to.
pub struct Inputs {
    pub notes: mpsc::UnboundedReceiver<Note>,
    pub decided: mpsc::Receiver<ToService>,
    /// Messages of peers and clients.
    pub frames: mpsc::Receiver<Frame>,
    pub links: mpsc::UnboundedReceiver<(PeerId, bool)>,
    pub durable: watch::Receiver<Height>,
    pub repeats: mpsc::Receiver<Repeat>,
    pub status: watch::Receiver<consensus::Status>,
}

/// Why the executor ended.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    #[error("PostgreSQL failed: {0}")]
    Postgres(String),
    /// The agreed effects do not fit this replica's data.
    #[error("{0}")]
    Diverged(String),
    /// The data are damaged, or differ from those of f+1 equal others.
    #[error("{0}")]
    Damaged(String),
    /// An administrator wants the data made anew.
    #[error("{0}")]
    Asked(String),
    /// Its server holds the state of this height now.
    #[error("the database is copied up to height {0}")]
    Copied(Height),
    #[error("the copy has to begin again: {why}")]
    CopyAgain {
        suspects: BTreeSet<ReplicaId>,
        why: String,
        /// What is copied so far is of use to the next one.
        keep: bool,
    },
    /// The history is applied instead.
    #[error("the database is not copied: {0}")]
    CopyNot(String),
    /// The others have cut from their logs what this replica lacks: it copies the database, and begins with a checkpoint above this
    /// height.
    #[error("this replica is too far behind: {why}")]
    Behind { above: Height, why: String },
    /// What it knows besides PostgreSQL's data is not what the others know.
    #[error("{0}")]
    Unsound(String),
    /// It begins with what it cannot read.
    #[error("{0}")]
    Unreadable(String),
    #[error("the order ended")]
    OrderEnded,
    #[error("this replica is not like the others: {0}")]
    Unlike(String),
}
