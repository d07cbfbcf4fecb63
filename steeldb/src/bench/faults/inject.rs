//! Does to a group what a schedule says, and undoes it.

use super::schedule::{Fault, Hurt, Spell, Victim};
use crate::bench::group::{End, Group};
use crate::failure::Failure;

/// A fault that is there, and whom it hit.
#[derive(Debug)]
pub struct Injected {
    fault: Fault,
    /// The faulty ones; of a cut between two, the first.
    pub victims: Vec<u16>,
    cuts: Vec<(End, End)>,
}

impl Injected {
    /// Chooses the victims and hurts them.
    pub async fn begin(group: &mut Group, fault: &Fault) -> Result<Injected, Failure> {
        let leader = group.leader().unwrap_or(0);
        let victims = victims(group, fault, leader);
        let cuts = cuts(group, fault, &victims);
        let injected = Injected {
            fault: fault.clone(),
            victims,
            cuts,
        };
        for (from, to) in &injected.cuts {
            group.cut(*from, *to, true)?;
        }
        for id in &injected.victims {
            if injected.kills() {
                group.kill(*id).await?;
            } else if injected.pauses() {
                group.pause(*id)?;
            }
        }
        Ok(injected)
    }

    /// Undoes it: what was cut is mended, who was stopped goes on, who was killed is started.
    pub fn end(&self, group: &mut Group) -> Result<(), Failure> {
        for (from, to) in &self.cuts {
            group.cut(*from, *to, false)?;
        }
        for id in &self.victims {
            if self.kills() {
                group.start(*id)?;
            } else if self.pauses() {
                group.resume(*id)?;
            }
        }
        Ok(())
    }

    fn kills(&self) -> bool {
        matches!(
            self.fault,
            Fault::One(_, Hurt::Kill) | Fault::Beyond(Spell::TwoKilled | Spell::AllKilled)
        )
    }

    fn pauses(&self) -> bool {
        matches!(
            self.fault,
            Fault::One(_, Hurt::Pause) | Fault::Beyond(Spell::TwoPaused)
        )
    }
}

fn victims(group: &Group, fault: &Fault, leader: u16) -> Vec<u16> {
    let followers: Vec<u16> = group.ids().into_iter().filter(|id| *id != leader).collect();
    match fault {
        Fault::One(Victim::Leader, _) => vec![leader],
        Fault::One(Victim::Follower(n), _) => vec![followers[usize::from(*n) % followers.len()]],
        Fault::Beyond(Spell::AllKilled) => group.ids(),
        Fault::Beyond(_) => vec![leader, followers[0]],
    }
}

/// The ways that are lost.
fn cuts(group: &Group, fault: &Fault, victims: &[u16]) -> Vec<(End, End)> {
    let replica = End::Replica;
    let others = || group.ids().into_iter().filter(|id| !victims.contains(id));
    let Some(me) = victims.first().map(|id| replica(*id)) else {
        return Vec::new();
    };
    let incoming = || others().map(|id| (replica(id), me));
    let outgoing = || others().map(|id| (me, replica(id)));
    match fault {
        Fault::One(_, Hurt::Kill | Hurt::Pause) => Vec::new(),
        Fault::One(_, Hurt::Isolated) => {
            let clients = [(End::Clients, me), (me, End::Clients)];
            incoming().chain(outgoing()).chain(clients).collect()
        }
        Fault::One(_, Hurt::CutFromReplicas) => incoming().chain(outgoing()).collect(),
        Fault::One(_, Hurt::Deaf) => incoming().chain([(End::Clients, me)]).collect(),
        Fault::One(_, Hurt::Mute) => outgoing().chain([(me, End::Clients)]).collect(),
        Fault::One(_, Hurt::CutFromOne) => incoming().take(1).chain(outgoing().take(1)).collect(),
        Fault::One(_, Hurt::MuteToOne) => outgoing().take(1).collect(),
        Fault::Beyond(Spell::Split) => {
            let victims = victims.iter().map(|id| replica(*id));
            let pairs = victims.flat_map(|a| others().map(move |b| (a, replica(b))));
            pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
        }
        Fault::Beyond(_) => Vec::new(),
    }
}
