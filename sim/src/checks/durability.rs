//! Durability: nothing binding is said before it is on disk, and no decision is ever
//! lost, whoever crashes.

use std::collections::BTreeMap;

use consensus::{Height, Message, Record, ReplicaId};

use super::{Verdict, is_accept, is_write};
use crate::disk::Disk;

/// A correct replica speaks: its disk must hold the reason.
pub fn says(replica: ReplicaId, message: &Message, disk: &Disk) -> Verdict {
    let covered = match message {
        Message::Write {
            height,
            regency,
            digest,
        } => {
            // The vote, and the value with its bodies: a WRITE promises to serve them.
            disk.holds(|record| is_write(record, (*height, *regency, *digest)))
                && disk.holds(|record| {
                    matches!(record, Record::Write { height: at, digest: of, value: Some(_), .. }
                        if (at, of) == (height, digest))
                })
        }
        Message::Accept {
            height,
            regency,
            digest,
            ..
        } => disk.holds(|record| is_accept(record, (*height, *regency, *digest))),
        Message::StopData(data) => disk.holds(|record| {
            matches!(record, Record::Regency { regency, .. } if *regency >= data.state.regency)
        }),
        _ => true,
    };
    if covered {
        Ok(())
    } else {
        Err(format!(
            "durability: {replica} sent {} before its record was durable",
            message.name()
        ))
    }
}

/// At the end every correct replica holds every height that any of them ever decided.
pub fn ended(highest: Height, heights: &BTreeMap<ReplicaId, Height>) -> Verdict {
    match heights.iter().find(|(_, height)| **height < highest) {
        Some((replica, height)) => Err(format!(
            "durability: height {highest} was decided, {replica} ends at {height}"
        )),
        None => Ok(()),
    }
}
