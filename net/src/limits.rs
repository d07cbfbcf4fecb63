//! Every bound of this room, in one place.

use std::time::Duration;

/// Bounds and intervals of an [`Endpoint`](crate::Endpoint). All peers of a cluster use the same `max_message`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest payload that [`Endpoint::send`](crate::Endpoint::send) takes, in bytes; also what the unfinished
    /// messages of one peer may hold together while they are reassembled.
    pub max_message: usize,
    /// The longest frame accepted from the wire, in bytes of payload; a longer one closes the connection.
    pub max_frame: usize,
    /// What may wait to be sent to one peer, in bytes (each message counts 64 bytes more than its payload).
    pub queue_bytes: usize,
    /// What one peer may have waiting in the event queue, in bytes; past it the peer's connection is not read.
    /// A single larger message still passes, alone.
    pub inbound_bytes: usize,
    /// Events that may wait for [`Events::recv`](crate::Events::recv), of all peers together; past it no connection is read.
    pub event_queue: usize,
    /// Incoming connections that have not proven their key yet; one more pushes out the oldest.
    pub handshakes: usize,
    /// How long connecting and proving the key may take.
    pub handshake_timeout: Duration,
    /// A ping is sent after this much silence of our own.
    pub heartbeat: Duration,
    /// A peer that was silent for this long is taken for dead.
    pub dead_after: Duration,
    /// The first and shortest wait before a lost peer is dialled again; it doubles with each failure.
    pub redial_min: Duration,
    /// The longest wait before a lost peer is dialled again.
    pub redial_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message: 256 << 20,
            max_frame: 1 << 20,
            queue_bytes: 320 << 20,
            inbound_bytes: 64 << 20,
            event_queue: 4096,
            handshakes: 64,
            handshake_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            dead_after: Duration::from_secs(5),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(1),
        }
    }
}
