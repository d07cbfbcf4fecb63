//! Bounded memory: whatever clients and liars send, what a correct replica keeps waiting and what it
//! says at once stay within the settings' bounds.

use consensus::{Message, ReplicaId, Settings, Status};

use super::Verdict;

/// What a request and its entry cost beside the operation, with room to spare.
const OVERHEAD: usize = 512;

/// A correct replica after an input.
pub fn holds(settings: &Settings, clients: usize, replica: ReplicaId, status: &Status) -> Verdict {
    let requests = clients * settings.max_pending_requests_per_client;
    if status.pending_bytes <= settings.max_pending_bytes && status.pending_requests <= requests {
        return Ok(());
    }
    let (bytes, most) = (status.pending_bytes, settings.max_pending_bytes);
    let count = status.pending_requests;
    Err(format!(
        "memory: {replica} keeps {count} requests of {bytes} bytes; {requests} and {most} are the bounds"
    ))
}

/// A correct replica speaks.
pub fn says(settings: &Settings, replica: ReplicaId, message: &Message) -> Verdict {
    let bulky = match message {
        Message::Forward { requests } | Message::Bodies { requests, .. } => requests.len() > 1,
        Message::Decisions { decisions } => decisions.len() > 1,
        _ => false,
    };
    let most = 2 * settings.max_transfer_bytes + OVERHEAD;
    let length = if bulky { message.encode().len() } else { 0 };
    if length <= most {
        return Ok(());
    }
    let name = message.name();
    Err(format!(
        "memory: {replica} sends {name} of {length} bytes; {most} are too many"
    ))
}
