//! Waits finer than the runtime's timer, which counts in milliseconds.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

/// A timer of the kernel.
pub(super) struct Timer {
    timer: TimerFd,
    /// The same timer to the runtime, which waits for it as for the reading end of a pipe: its door for descriptors of any
    /// kind (`AsyncFd`) is open to unsafe code only.
    expiry: Receiver,
}

impl Timer {
    pub fn new() -> std::io::Result<Timer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let expiry = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Timer { timer, expiry })
    }

    /// Waits until then, never less.
    pub async fn until(&self, when: Instant) -> std::io::Result<()> {
        loop {
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Setting it also forgets an expiry that nobody has waited for.
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            self.timer.set(once, TimerSetTimeFlags::empty())?;
            self.expiry.readable().await?;
            match self.expiry.try_read(&mut [0; 8]) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}
