//! What a replicated service is.

use bytes::Bytes;
use consensus::{ClientId, Height};

/// Where an operation stands in the total order: equal at every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who asked; its signature was verified.
    pub client: ClientId,
    /// Number of the batch.
    pub height: Height,
    /// Place in the batch, from 0.
    pub index: u32,
    /// Consensus time of the batch in Unix milliseconds: it never goes back, and a quorum found it near its clocks.
    pub time_ms: u64,
}

/// A deterministic state machine, of which each replica holds one.
///
/// **The contract.** The state after an operation, and its result, depend on nothing but the state before it, the
/// operation and its [`Context`]: no clock (use [`Context::time_ms`]), no randomness (derive it from the context), no
/// iteration over hash maps, no files or services that others see, no threads that race. The same bytes at the same place give the
/// same bytes everywhere, also when the log is replayed after a restart. A replica whose service breaks this answers otherwise than the
/// others and counts as faulty.
///
/// Operations come from clients that may be Byzantine: any bytes must be answered, with an error of the service's own
/// making if need be. A panic stops the replica, and since all replicas execute the same, it stops them all.
///
/// All calls come from one thread, one after another. It belongs to the service: taking long delays answers, not the order.
pub trait Service: Send + 'static {
    /// Executes an operation at its place in the order and returns its result, at most
    /// [`MAX_RESULT_BYTES`](super::bounds::MAX_RESULT_BYTES) long.
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes;

    /// Answers a question without changing anything.
    fn query(&self, op: &[u8]) -> Bytes;

    /// The whole state: equal states give equal bytes.
    fn snapshot(&self) -> Bytes;

    /// Replaces the state by one that [`snapshot`](Service::snapshot) gave, here or at another replica.
    ///
    /// # Errors
    /// Why the bytes are no state, for people.
    fn restore(&mut self, state: &[u8]) -> Result<(), String>;

    /// With tentative execution: what follows may be undone. Returns what [`rollback`](Service::rollback) needs; by itself, the whole
    /// state. A service whose state is large keeps an undo log instead and returns nothing.
    fn save(&mut self) -> Bytes {
        self.snapshot()
    }

    /// What was executed since [`save`](Service::save) is final: nothing of it is undone any more.
    fn settle(&mut self) {}

    /// Back to the state at the last [`save`](Service::save), whose result comes again. Nothing was asked in between but `execute` and
    /// ordered queries.
    ///
    /// # Errors
    /// Why that is not possible, for people; the replica stops.
    fn rollback(&mut self, saved: &[u8]) -> Result<(), String> {
        self.restore(saved)
    }
}
