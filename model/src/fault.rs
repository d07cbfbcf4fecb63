//! Faults planted in the model, to prove that it bites. At most one at a time.

use clap::ValueEnum;

/// A mistake that someone could make in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The rule: one writer certifies a lock, not f + 1.
    OneWriterCertifies,
    /// The rule: no writer is needed at all.
    NobodyCertifies,
    /// The rule: who wrote the value before the lock's regency certifies it too.
    OldWritersCertify,
    /// The rule: Q writers certify a lock, more than a collection must have.
    QuorumCertifies,
    /// The rule: Q − 1 states are a quorum.
    SmallerQuorum,
    /// The rule: Q + 1 states are a quorum.
    LargerQuorum,
    /// The rule: a lock of the same regency on another value counts as lower (`<=`, not `<`).
    SameRegencyIsLower,
    /// STOPDATA does not tell the lock.
    HideLock,
    /// The lock is forgotten when another regency is entered.
    ForgetLock,
    /// The writeset is dropped when another regency is entered.
    DropWriteset,
    /// The writeset keeps the oldest regency of each value, not the newest.
    KeepOldestWrite,
    /// A bound instance is taken for a free one.
    IgnoreBound,
    /// A replica writes each value that its leader proposes.
    WriteTwice,
    /// Q − 1 WRITEs are enough for an ACCEPT.
    AcceptOnFewerWrites,
    /// Q − 1 ACCEPTs are enough to decide.
    DecideOnFewerAccepts,
    /// ACCEPT is sent in a regency that was left.
    AcceptInLeftRegency,
}
