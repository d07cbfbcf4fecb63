//! The total order: Mod-SMaRt over VP-Consensus (Bessani, Sousa, Alchieri; Algorithms 1-6),
//! as a deterministic state machine without sockets, clock, threads or randomness.
//!
//! A runtime owns one [`Core`] per replica. It feeds [`Input`]s with the current time and
//! carries out the [`Action`]s; a message that depends on a durable record leaves the core
//! only after [`Input::Persisted`]. `docs/consensus.md` tells the protocol as built and
//! why it is safe.

pub mod advisor;
mod auth;
mod author;
mod batch;
mod certificate;
mod core;
mod crypto;
mod ids;
#[cfg(feature = "memo")]
mod memo;
mod message;
mod metered;
#[cfg(feature = "model")]
pub mod model_api;
mod proof;
pub mod quorum;
mod reconfigure;
mod record;
mod request;
pub mod service;
mod settings;
mod signatures;
mod stopdata;
mod strict;
pub mod transfer;
mod view;
mod window;

pub use crate::auth::{Auth, ClientAuthentication, MAC_BYTES, Macs};
pub use crate::author::Author;
pub use crate::batch::{Batch, Entry};
pub use crate::certificate::{CertificateError, ViewCertificate};
pub use crate::core::{Action, Core, Input, Reason, Status, Tentative};
pub use crate::crypto::{Digest, PublicKey, Signature};
pub use crate::ids::{ClientId, Height, Regency, ReplicaId};
pub use crate::message::{DecodeError, MAX_MESSAGE_BYTES, Message};
pub use crate::metered::{MEMORY_FLOOR, MEMORY_PER_BYTE, decode};
pub use crate::proof::{Decided, Proof, ProofError, sign_accept};
pub use crate::quorum::{Mode, Sizes};
pub use crate::reconfigure::{Change, ChangeError, MAX_CHANGE_BYTES, MAX_REPLICAS, Step, Views};
pub use crate::record::{LogGap, Record, RecordId, Recovered, Start, Summary};
pub use crate::request::{Request, RequestError, Verified, Verifier, verify_batch};
#[cfg(feature = "mutation")]
pub use crate::settings::Mutation;
pub use crate::settings::{DEFAULT_PIPELINE, MAX_PIPELINE, Settings};
pub use crate::stopdata::{LastDecided, OpenVotes, StopData, StopState, Sync, Written};
pub use crate::view::{View, ViewError};
pub use crate::window::{Place, WINDOW, Window, Windows, WindowsAhead};
pub use ed25519_dalek::SigningKey;
