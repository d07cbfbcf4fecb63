//! Durability: nothing binding is said before it is on disk, and no decision is ever
//! lost, whoever crashes.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Mode, Record, ReplicaId};

use super::{Verdict, is_accept, is_write};
use crate::disk::Disk;

/// A correct replica speaks: its disk must hold the reason.
pub fn says(mode: Mode, replica: ReplicaId, message: &Message, disk: &Disk) -> Verdict {
    let covered = match message {
        Message::Write {
            height,
            regency,
            digest,
        } => {
            // The vote, and the value with its bodies: a WRITE promises to serve them.
            disk.holds(|record| is_write(record, (*height, *regency, *digest)))
                && holds_value(disk, *height, *digest)
        }
        Message::Accept {
            height,
            regency,
            digest,
            ..
        } => {
            // Where nobody writes, the ACCEPT promises the bodies.
            disk.holds(|record| is_accept(record, (*height, *regency, *digest)))
                && (mode == Mode::Byzantine || holds_value(disk, *height, *digest))
        }
        Message::StopData(data) => disk.holds(|record| {
            matches!(record, Record::Regency { view, regency, .. }
                if *view == data.state.view && *regency >= data.state.regency)
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

/// With the vote, or with the decision: the vote may be released when that is durable too, and the log may be cut between.
fn holds_value(disk: &Disk, height: Height, digest: Digest) -> bool {
    disk.decided(height) == Some(digest)
        || disk.holds(|record| {
            matches!(record, Record::Write { height: at, digest: of, value: Some(_), .. }
                if (*at, *of) == (height, digest))
        })
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
