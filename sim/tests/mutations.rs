//! Do the checkers bite? Each fault of this table, planted in the core, is caught by the
//! simulator within a bounded number of seeds, by a checker that watches the broken rule.
//!
//! `cargo nextest run -p sim --test mutations --no-capture` prints the table with what was found.

use consensus::Mutation::{self, *};
use sim::Kind::{self, Byzantine, CrashOnly, Reconfiguration};
use sim::{Cluster, Plan};

/// One planted fault.
struct Row {
    fault: Mutation,
    /// The kind of plan that shows it.
    kind: Kind,
    /// The rule that it breaks.
    rule: &'static str,
    /// The checkers of which one must be the first to see it.
    checkers: &'static [&'static str],
    /// It is caught within so many seeds from 0 on; an unplanted core passes them all (`seeds.rs`).
    within: u64,
}

const fn row(
    fault: Mutation,
    within: u64,
    checkers: &'static [&'static str],
    rule: &'static str,
) -> Row {
    of(Byzantine, fault, within, checkers, rule)
}

const fn of(
    kind: Kind,
    fault: Mutation,
    within: u64,
    checkers: &'static [&'static str],
    rule: &'static str,
) -> Row {
    Row {
        fault,
        kind,
        rule,
        checkers,
        within,
    }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(QuorumMinusOne, 50, &["certificate", "proof"], "WRITE and ACCEPT need Q = ⌈(n+f+1)/2⌉"),
    row(SkipPersist, 50, &["durability"], "votes leave after their record is durable"),
    row(DropLockCheck, 50, &["safe-value"], "a value that a SYNC proves locked binds the regency"),
    row(AcceptOldRegency, 400, &["promise", "certificate"], "no ACCEPT in a regency that STOPDATA ended"),
    row(SkipRequestSignature, 50, &["validity"], "a request counts with its client's signature only"),
    row(SkipAcceptSignature, 50, &["proof"], "an ACCEPT counts with its signer's signature only"),
    row(SkipWindowCheck, 50, &["external-validity"], "γ: a request is inside its client's window"),
    row(WriteTwice, 400, &["contradiction"], "one WRITE per instance and regency"),
    row(HideVotes, 50, &["promise", "safe-value"], "STOPDATA tells lock and writeset"),
    row(SkipProofCheck, 50, &["agreement", "proof", "validity"], "a fetched decision is believed by its proof only"),
    row(SkipStateSignature, 400, &["safe-value", "sync"], "a state counts with its signer's signature only"),
    row(NeverStop, 50, &["liveness"], "the second time-out stops the regency"),
    row(InstallByTwoF, 50, &["regency"], "2f + 1 STOPs install a regency"),
    row(ClaimsByF, 50, &["regency"], "a claim counts when f + 1 make it"),
    row(SkipDecidedProof, 50, &["sync", "liveness"], "STOPDATA proves the decided height"),
    row(FewerStates, 400, &["sync"], "n − f states make a SYNC"),
    row(SameSignerTwice, 400, &["safe-value", "agreement"], "a SYNC holds each signer once"),
    row(UnboundByFewer, 400, &["safe-value"], "Q unlocked states leave an instance free"),
    row(CertifiedByF, 50, &["safe-value"], "f + 1 writers certify a value"),
    row(EqualLockIsLower, 400, &["safe-value"], "only lower locks yield to a value"),
    row(KeepWrites, 50, &["certificate"], "WRITEs count in their own regency"),
    row(ForgetRegency, 50, &["promise", "promises"], "a restart remembers its regency"),
    row(ForgetLock, 50, &["promise", "promises", "contradiction"], "a restart remembers its lock"),
    row(ForgetWriteset, 50, &["promises", "contradiction"], "a restart remembers what it wrote"),
    row(ForgetWindows, 50, &["external-validity"], "a restart remembers what was ordered"),
    row(WindowNotMoved, 50, &["external-validity"], "a decision moves its clients' windows"),
    row(DecideTwice, 50, &["order"], "a height is decided once"),
    row(TimeGoesBack, 400, &["external-validity", "order"], "consensus time never goes back"),
    row(SkipClockCheck, 400, &["external-validity"], "a proposal's time is near the local clock"),
    row(FillByName, 50, &["validity"], "a body is the one whose digest the batch names"),
    row(ForgetBodies, 50, &["durability"], "a WRITE promises to keep the bodies"),
    row(AcceptUnwritten, 50, &["certificate"], "ACCEPT only for what one wrote"),
    row(StarveClient, 50, &["liveness"], "each client has its turn"),
    row(NoBackoff, 400, &["liveness"], "time-outs grow until they fit the network"),
    row(UnboundedPending, 400, &["memory"], "what waits is bounded"),
    row(NeverForward, 50, &["liveness"], "what reached one correct replica reaches the leader"),
    row(NeverFetch, 50, &["liveness"], "a replica that lags fetches decisions"),
    row(AcceptOutOfOrder, 50, &["chain"], "ACCEPT only above what is accepted or decided"),
    row(AnyParent, 50, &["chain", "external-validity", "safe-value", "agreement"], "a value is written behind the one that it names"),
    row(ForgetInFlight, 50, &["external-validity"], "γ counts what is in flight as ordered"),
    row(TellFirstOnly, 50, &["promise", "safe-value"], "STOPDATA tells of all heights in flight"),
    row(TellWritten, 50, &["tentative"], "a tentative answer leaves when its ACCEPT is durable"),
    of(Reconfiguration, TellChanges, 50, &["tentative"], "a batch that changes the view is not answered tentatively"),
    row(EarlyStopData, 50, &["durability"], "STOPDATA leaves after its record is durable"),
    of(CrashOnly, MajorityMinusOne, 50, &["proof"], "crash-only: a majority decides"),
    of(CrashOnly, ProposeAfterRestart, 100, &["one-value"], "crash-only: one proposal in a regency, whatever the leader lives through"),
    of(Reconfiguration, KeepRegency, 50, &["regency"], "a view begins in regency 0"),
    of(Reconfiguration, HearStrangers, 50, &["certificate", "regency", "proof"], "who is no member is not heard"),
    of(Reconfiguration, NewViewTooEarly, 50, &["liveness"], "the height that makes a view belongs to the one before"),
    of(Reconfiguration, AnyoneAdministers, 100, &["views"], "only administrators change the view"),
    of(Reconfiguration, IgnoreBase, 50, &["views"], "a change is for one view"),
    of(Reconfiguration, ChangeInTheMiddle, 50, &["external-validity"], "a change is the last of its batch"),
    of(Reconfiguration, KeepOldKey, 50, &["proof", "sync", "liveness"], "a replica signs with the key that the view names"),
    of(Reconfiguration, KeepOldSignatures, 400, &["proof", "sync"], "a restart signs its votes with the key that the view names"),
    of(Reconfiguration, KeepOldRequests, 100, &["validity"], "what waits under a client's old key is forgotten"),
    of(Reconfiguration, VoteAfterRemoval, 50, &["views"], "who is no member does not vote"),
    of(Reconfiguration, ForgetViews, 50, &["views", "promises"], "a restart remembers the views that decisions made"),
    of(Reconfiguration, CutInFlight, 400, &["liveness"], "the log keeps what others may need that have it in flight"),
    of(Reconfiguration, PipelineAcrossViews, 50, &["safe-value", "validity", "external-validity", "views", "chain", "proof", "certificate", "order", "tentative"], "nothing is voted on above a change of the view before that is decided"),
    row(NeverWatch, 5, &["latency"], "a leader that is slow rather than dead is given up"),
];

fn caught(row: &Row) -> Option<(u64, String)> {
    (0..row.within).find_map(|seed| {
        let mut plan = match row.fault {
            NeverWatch => Plan::with_slow_leaders(seed),
            _ => row.kind.plan(seed),
        };
        if row.fault == CutInFlight {
            // As much in flight as there can be, and a checkpoint at every height: who is alone ahead cuts all of it.
            plan.settings.pipeline = consensus::MAX_PIPELINE;
            plan.settings.checkpoint_every = 1;
        }
        plan.settings.mutation = Some(row.fault);
        let violation = Cluster::new(plan, seed, false).run().err()?;
        Some((seed, violation))
    })
}

/// Prints the row with its checker and the seeds that it took; or what is wrong with it.
fn judge(row: &Row) -> Result<(), String> {
    let Row {
        fault,
        rule,
        checkers,
        within,
        ..
    } = row;
    let Some((seed, violation)) = caught(row) else {
        return Err(format!("{fault:?} ({rule}): not caught on {within} seeds"));
    };
    let checker = violation.split(':').next().unwrap_or_default();
    if checkers.contains(&checker) {
        println!("| {fault:?} | {rule} | {checker} | {} |", seed + 1);
        Ok(())
    } else {
        Err(format!(
            "{fault:?} ({rule}): seed {seed}: {violation}; expected was {checkers:?}"
        ))
    }
}

/// A quarter of the table, so that four run side by side.
fn every_fault_is_caught_in(quarter: usize) {
    let rows = TABLE.iter().skip(quarter).step_by(4);
    let missed: Vec<_> = rows.filter_map(|row| judge(row).err()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_fault_is_caught_in_the_first_quarter() {
    every_fault_is_caught_in(0);
}

#[test]
fn every_fault_is_caught_in_the_second_quarter() {
    every_fault_is_caught_in(1);
}

#[test]
fn every_fault_is_caught_in_the_third_quarter() {
    every_fault_is_caught_in(2);
}

#[test]
fn every_fault_is_caught_in_the_fourth_quarter() {
    every_fault_is_caught_in(3);
}

#[test]
fn the_table_has_each_fault_once() {
    let mut faults: Vec<_> = TABLE.iter().map(|row| row.fault).collect();
    faults.sort();
    faults.dedup();
    assert_eq!(faults.len(), TABLE.len());
    assert_eq!(faults.len(), 60);
}

/// A vector proves nothing to others: whoever takes one unverified, as liars pass it on, orders what no client asked for.
#[test]
fn vectors_that_nobody_verifies_are_found() {
    let caught = (0..50).find_map(|seed| {
        let mut plan = Plan::with_macs(seed);
        plan.settings.mutation = Some(SkipRequestSignature);
        Cluster::new(plan, seed, false).run().err()
    });
    let violation = caught.expect("not caught on 50 seeds");
    assert!(violation.starts_with("validity"), "{violation}");
}

/// What the table plans otherwise than the simulator does is borne by a core without a fault.
#[test]
fn deep_pipelines_with_a_checkpoint_at_every_height_hold() {
    for seed in 0..100 {
        let mut plan = Reconfiguration.plan(seed);
        plan.settings.pipeline = consensus::MAX_PIPELINE;
        plan.settings.checkpoint_every = 1;
        let ended = Cluster::new(plan, seed, false).run();
        assert!(ended.is_ok(), "seed {seed}: {ended:?}");
    }
}
