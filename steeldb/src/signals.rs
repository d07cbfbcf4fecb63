//! The wish to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Resolves at the first SIGINT or SIGTERM. From this call on they end the process no longer by themselves.
pub fn stop_wish() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::new("cannot watch for signals").cause(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
