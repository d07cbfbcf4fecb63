//! Every bound and time-out of the core, in one place.

/// The most instances in flight; also how many heights a STOPDATA may tell of.
pub const MAX_PIPELINE: usize = 16;

/// Instances in flight unless told otherwise.
pub const DEFAULT_PIPELINE: usize = 4;

/// Settings of one replica's core. Times in milliseconds, sizes in bytes.
/// `max_*` values of batches are part of γ and must be equal at all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Instances in flight at once, 1 to [`MAX_PIPELINE`]; 1: the next begins when the one before is decided. Replicas may differ:
    /// the leader's says how many it opens, another's how many it votes in.
    pub pipeline: usize,
    /// Requests in a batch.
    pub max_batch_requests: usize,
    /// Operations' bytes in a batch, unless a single request is larger.
    pub max_batch_bytes: usize,
    /// Bytes of one operation.
    pub max_request_bytes: usize,
    /// Each of the two stages (forward, stop) before a leader is given up.
    pub request_timeout_ms: u64,
    /// The longest that doubling makes a stage.
    pub max_timeout_ms: u64,
    /// Beyond the measured round trips a leader may be late by so much, on average, before it is given up as too slow.
    pub watch_slack_ms: u64,
    /// Round trips to the peers are measured at this interval.
    pub ping_ms: u64,
    /// How long a leader's link may be down before it is given up.
    pub link_grace_ms: u64,
    /// Votes that brought no progress are sent again after this time.
    pub resend_ms: u64,
    /// A quiet replica tells where it stands at this interval.
    pub status_ms: u64,
    /// How long a proposal waits for the clients' copies of its bodies before it asks.
    pub body_grace_ms: u64,
    /// How long a request that this replica cannot verify waits for f + 1 who vouch for it before it is refused.
    pub vouch_patience_ms: u64,
    /// How far a fresh proposal's time may lie from the local clock.
    pub clock_skew_ms: u64,
    /// Unordered requests kept for one client.
    pub max_pending_requests_per_client: usize,
    /// Their operations' bytes.
    pub max_pending_bytes_per_client: usize,
    /// Unordered operations' bytes kept for all clients.
    pub max_pending_bytes: usize,
    /// Bytes of one FORWARD, BODIES or DECISIONS message (one item may be larger).
    pub max_transfer_bytes: usize,
    /// Decisions asked for at once.
    pub max_fetch: u32,
    /// Values that a replica writes within one instance (one per failed regency).
    pub max_values: usize,
    /// Every so many heights a checkpoint is due ([`Action::Checkpoint`](crate::Action)); 0: never. Equal at all replicas.
    pub checkpoint_every: u64,
    /// WHEAT: values that this replica is locked on are executed before they are decided ([`Action::Tentative`](crate::Action)).
    pub tentative: bool,
    /// A seeded fault, for the simulator's mutation table.
    #[cfg(feature = "mutation")]
    pub mutation: Option<Mutation>,
}

/// A fault that a test plants in the core, to see that the checkers catch it.
#[cfg(feature = "mutation")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// WRITE and ACCEPT quorums of Q − 1.
    QuorumMinusOne,
    /// Votes leave before their record is durable.
    SkipPersist,
    /// A SYNC with a locked value leaves the instance free.
    DropLockCheck,
    /// WRITEs of a regency that the replica has left still make it ACCEPT there.
    AcceptOldRegency,
    /// Bodies and forwarded requests are taken unverified.
    SkipRequestSignature,
    /// ACCEPT signatures are not verified.
    SkipAcceptSignature,
    /// γ does not look at the clients' windows.
    SkipWindowCheck,
    /// A second proposal of one regency is written too.
    WriteTwice,
    /// STOPDATA tells neither lock nor writeset.
    HideVotes,
    /// Fetched decisions are believed without their proof.
    SkipProofCheck,
    /// STOPDATA signatures are not verified.
    SkipStateSignature,
    /// The second timeout never stops the regency.
    NeverStop,
    /// 2f STOPs install a regency.
    InstallByTwoF,
    /// f peers' claims of a regency are believed.
    ClaimsByF,
    /// STOPDATA and SYNC are taken without a proof of the decided height.
    SkipDecidedProof,
    /// n − f − 1 states make a SYNC.
    FewerStates,
    /// One signer's state counts as often as a SYNC holds it.
    SameSignerTwice,
    /// Q − 1 states without a lock leave an instance free.
    UnboundByFewer,
    /// f writers certify a value.
    CertifiedByF,
    /// A lock of the same regency on another value counts as lower.
    EqualLockIsLower,
    /// WRITEs of the regency before count in the new one.
    KeepWrites,
    /// A restart forgets the regency.
    ForgetRegency,
    /// A restart forgets the lock.
    ForgetLock,
    /// A restart forgets the writeset.
    ForgetWriteset,
    /// A restart begins with empty windows.
    ForgetWindows,
    /// A decision does not move the windows.
    WindowNotMoved,
    /// A decision is delivered twice.
    DecideTwice,
    /// Neither leader nor γ keeps consensus time from going back.
    TimeGoesBack,
    /// γ does not compare a proposal's time with the local clock.
    SkipClockCheck,
    /// A missing body is filled by its name, whatever its digest.
    FillByName,
    /// The WRITE record holds neither batch nor bodies.
    ForgetBodies,
    /// ACCEPT for a value that others wrote and this replica did not.
    AcceptUnwritten,
    /// Leaders never propose the first client's requests.
    StarveClient,
    /// Time-outs do not grow with failed regencies.
    NoBackoff,
    /// The pool has no bounds.
    UnboundedPending,
    /// Overdue requests are not forwarded.
    NeverForward,
    /// A replica that lags never asks for decisions.
    NeverFetch,
    /// STOPDATA leaves before the regency's record is durable.
    EarlyStopData,
    /// ACCEPT at a height though the one below is not accepted.
    AcceptOutOfOrder,
    /// A value is written whatever value it names as the one before it.
    AnyParent,
    /// The windows do not count what is in flight.
    ForgetInFlight,
    /// STOPDATA tells of the first open height only.
    TellFirstOnly,
    /// A height above one that changes the view is voted on before that is decided.
    PipelineAcrossViews,
    /// The log is cut below the older checkpoint, whatever is in flight.
    CutInFlight,
    /// Crash-only: a majority less one decides.
    MajorityMinusOne,
    /// Crash-only: a leader that restarted goes on proposing in its regency.
    ProposeAfterRestart,
    /// A view goes on with the regency of the one before.
    KeepRegency,
    /// Who is no member is heard, and counted.
    HearStrangers,
    /// A fetched decision that makes a view is judged by that view.
    NewViewTooEarly,
    /// Any client's change is carried out.
    AnyoneAdministers,
    /// A change is carried out whatever view it was made for.
    IgnoreBase,
    /// A batch may go on after a change.
    ChangeInTheMiddle,
    /// A replica whose key changed signs with the one before.
    KeepOldKey,
    /// After a restart, votes are signed with the first key, whichever the view names.
    KeepOldSignatures,
    /// What waits under a client's old key goes on to be proposed.
    KeepOldRequests,
    /// One that is no member any more votes.
    VoteAfterRemoval,
    /// A restart forgets the views that decisions made.
    ForgetViews,
    /// A value is told tentatively with the WRITE of it.
    TellWritten,
    /// So is one that changes the view.
    TellChanges,
    /// A leader that is slow, but not too slow for the time-outs, is never given up.
    NeverWatch,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pipeline: DEFAULT_PIPELINE,
            max_batch_requests: 1_000,
            max_batch_bytes: 8 << 20,
            max_request_bytes: 64 << 20,
            request_timeout_ms: 800,
            max_timeout_ms: 60_000,
            watch_slack_ms: 50,
            ping_ms: 500,
            link_grace_ms: 300,
            resend_ms: 200,
            status_ms: 1_000,
            body_grace_ms: 5,
            vouch_patience_ms: 100,
            clock_skew_ms: 2_000,
            max_pending_requests_per_client: 4_096,
            max_pending_bytes_per_client: 128 << 20,
            max_pending_bytes: 1 << 30,
            max_transfer_bytes: 8 << 20,
            max_fetch: 256,
            max_values: 1_024,
            checkpoint_every: 0,
            tentative: false,
            #[cfg(feature = "mutation")]
            mutation: None,
        }
    }
}

/// `mutated!(settings, Name)`: whether a test planted that fault; always false in a
/// build without the feature, where the names do not even exist.
macro_rules! mutated {
    ($settings:expr, $name:ident) => {{
        #[cfg(feature = "mutation")]
        {
            $settings.mutation == Some($crate::settings::Mutation::$name)
        }
        #[cfg(not(feature = "mutation"))]
        {
            let _ = &$settings;
            false
        }
    }};
}
pub(crate) use mutated;
