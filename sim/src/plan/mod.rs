//! What a seed means: the cluster's size, who lies and how, and when what breaks.

mod ambush;
mod changes;
mod crash_only;
mod faults;
mod kind;
mod slow;

use std::collections::{BTreeMap, BTreeSet};

use consensus::{MAX_PIPELINE, Mode, ReplicaId, Settings};

use crate::byzantine::Habit;
use crate::clients::Manner;
use crate::latency::Latency;
use crate::rng::Rng;

pub use changes::{Intent, MOST_MEMBERS};
pub use faults::Fault;
pub use kind::Kind;

/// The safety phase ends and everything heals at this time (virtual milliseconds).
pub const HEAL_AT: u64 = 6_000;
/// The liveness phase must be through after this time.
pub const DEADLINE: u64 = HEAL_AT + 120_000;

/// Clients that ask steadily, and what they are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Each client asks every so many milliseconds.
    pub every: u64,
    /// Until then.
    pub until: u64,
    /// Requests asked from then on are ordered fast.
    pub promised_from: u64,
    /// Their median, in milliseconds.
    pub median: u64,
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is about.
    pub kind: Kind,
    /// Which faults are borne.
    pub mode: Mode,
    /// Replicas at first.
    pub n: u16,
    /// Fault bound at first.
    pub f: u16,
    /// WHEAT: those that weigh Vmax, 2f or none.
    pub fast: BTreeSet<ReplicaId>,
    /// The liars and what they do.
    pub byzantine: BTreeMap<ReplicaId, BTreeSet<Habit>>,
    /// Whether the liars tell each other what they hear, and lie alike.
    pub collude: bool,
    /// When what breaks.
    pub faults: Vec<(u64, Fault)>,
    /// How long messages take.
    pub latency: Latency,
    /// Percent of messages that take twenty times as long.
    pub tail: u64,
    /// Percent lost in the safety phase.
    pub loss: u64,
    /// Percent delivered twice.
    pub duplicates: u64,
    /// Milliseconds that an fsync takes, from and to.
    pub fsync: (u64, u64),
    /// Each replica's clock, ahead of the true time by so many ms.
    pub clocks: BTreeMap<ReplicaId, i64>,
    /// Whether replicas hear when links break.
    pub link_events: bool,
    /// Honest clients and how many requests each submits in the safety phase.
    pub clients: Vec<u64>,
    /// How the clients beyond them behave.
    pub lying_clients: Vec<Manner>,
    /// Clients that ask all the time, whose latency is checked.
    pub steady: Option<Steady>,
    /// The core's settings.
    pub settings: Settings,
    /// What administrators do, and when.
    pub changes: Vec<(u64, Intent)>,
    /// Correct replicas that no change removes: one more than f may ever be.
    pub anchors: BTreeSet<ReplicaId>,
    /// Clients make MAC vectors.
    pub macs: bool,
}

impl Plan {
    /// The plan of a seed, of a kind that it chooses.
    pub fn of(seed: u64) -> Self {
        Kind::of(seed).plan(seed)
    }

    /// The plan of a seed: fixed members, of which up to f may lie.
    pub fn byzantine(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let (n, f) = size(rng);
        let replicas: Vec<ReplicaId> = (0..n).map(ReplicaId).collect();
        let hostile = if rng.chance(70) {
            rng.between(1, f.into())
        } else {
            0
        };
        let mut plan = Self {
            kind: Kind::Byzantine,
            mode: Mode::Byzantine,
            n,
            f,
            fast: BTreeSet::new(),
            byzantine: liars(rng, &replicas, hostile),
            collude: rng.chance(50),
            faults: faults::draw(rng, &replicas),
            latency: Latency::draw(rng),
            tail: if rng.chance(30) { 3 } else { 0 },
            loss: if rng.chance(50) {
                rng.between(1, 20)
            } else {
                0
            },
            duplicates: if rng.chance(30) { 5 } else { 0 },
            fsync: if rng.chance(30) { (2, 40) } else { (0, 4) },
            clocks: replicas
                .iter()
                .map(|id| (*id, rng.between(0, 800) as i64))
                .collect(),
            link_events: rng.chance(50),
            clients: (0..rng.between(1, 4)).map(|_| rng.between(3, 12)).collect(),
            lying_clients: (0..rng.between(0, 3).saturating_sub(1))
                .filter_map(|_| rng.pick(&Manner::LIES))
                .collect(),
            steady: None,
            settings: settings(rng),
            changes: Vec::new(),
            anchors: BTreeSet::new(),
            macs: false,
        };
        if rng.chance(15) {
            ambush::set(rng, &mut plan);
        }
        plan
    }
}

impl Plan {
    /// The plan of a seed with spare replicas and weights; the liars are among the heavy ones.
    pub fn with_weights(seed: u64) -> Self {
        let mut plan = Self::byzantine(seed);
        plan.kind = Kind::Weights;
        let rng = &mut Rng::new(seed ^ 0x3ea7);
        if plan.n == 3 * plan.f + 1 {
            plan.n += rng.between(1, 2) as u16;
        }
        let mut order: Vec<_> = (0..plan.n).map(ReplicaId).collect();
        rng.shuffle(&mut order);
        order.sort_by_key(|id| !plan.byzantine.contains_key(id));
        plan.fast = order.into_iter().take(2 * usize::from(plan.f)).collect();
        plan
    }
}

impl Plan {
    /// The plan of a seed whose clients make MAC vectors; some are wrong for some replicas, which depose nobody for ever.
    pub fn with_macs(seed: u64) -> Self {
        let mut plan = Self::byzantine(seed);
        (plan.kind, plan.macs) = (Kind::Macs, true);
        let rng = &mut Rng::new(seed ^ 0x3ac5);
        if rng.chance(60) {
            plan.lying_clients.push(Manner::HalfMacs);
        }
        plan
    }
}

/// Any n from 4 to 10, mostly the smallest for its f.
fn size(rng: &mut Rng) -> (u16, u16) {
    match rng.between(0, 99) {
        0..=54 => (4, 1),
        55..=64 => (5, 1),
        65..=74 => (6, 1),
        75..=88 => (7, 2),
        89..=91 => (8, 2),
        92..=94 => (9, 2),
        _ => (10, 3),
    }
}

/// Small bounds, so that runs meet them; short time-outs, so that only their back-off makes
/// the slowest networks live.
fn settings(rng: &mut Rng) -> Settings {
    let roomy = rng.chance(60);
    Settings {
        pipeline: pipeline(rng),
        max_batch_requests: rng.between(1, 8) as usize,
        max_batch_bytes: if roomy { 8 << 20 } else { 3_000 },
        max_request_bytes: 8_000,
        request_timeout_ms: rng.between(150, 400),
        max_timeout_ms: 4_000,
        resend_ms: 100,
        status_ms: 500,
        max_fetch: rng.between(1, 8) as u32,
        max_pending_requests_per_client: if roomy { 4_096 } else { 20 },
        max_pending_bytes_per_client: if roomy { 1 << 20 } else { 20_000 },
        max_pending_bytes: if roomy { 8 << 20 } else { 120_000 },
        max_transfer_bytes: if roomy { 8 << 20 } else { 6_000 },
        // Nothing else depends on it.
        tentative: true,
        ..Settings::default()
    }
}

/// Instances in flight: none besides the open one, a few, or as many as there may be.
fn pipeline(rng: &mut Rng) -> usize {
    match rng.between(0, 9) {
        0..=2 => 1,
        3..=7 => rng.between(2, 5) as usize,
        _ => MAX_PIPELINE,
    }
}

fn liars(
    rng: &mut Rng,
    replicas: &[ReplicaId],
    count: u64,
) -> BTreeMap<ReplicaId, BTreeSet<Habit>> {
    let mut liars = BTreeMap::new();
    while (liars.len() as u64) < count {
        // Early leaders are the most interesting liars.
        let among = if rng.chance(70) {
            &replicas[..replicas.len() / 2]
        } else {
            replicas
        };
        let Some(liar) = rng.pick(among) else { break };
        // Some do one thing well, others everything at once.
        let zeal = rng.between(10, 50);
        let all = Habit::ALL.iter().copied();
        let mut habits: BTreeSet<_> = all.filter(|_| rng.chance(zeal)).collect();
        if habits.is_empty() {
            habits.extend(rng.pick(&Habit::ALL));
        }
        liars.insert(liar, habits);
    }
    liars
}
