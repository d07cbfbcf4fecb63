//! Processor time of processes.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::failure::Failure;

/// User and system time of a living process with all its threads, ended ones included.
pub fn of(pid: u32) -> Result<Duration, Failure> {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(0));
    let clock = ClockId::pid_cpu_clock_id(pid);
    read(clock.and_then(ClockId::now))
}

/// The same of this process.
pub fn of_this_process() -> Result<Duration, Failure> {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID.now())
}

fn read(time: nix::Result<TimeSpec>) -> Result<Duration, Failure> {
    time.map(Duration::from)
        .map_err(|error| Failure::new("cannot read a process's CPU time").cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_sleep_is_not() {
        let before = of(std::process::id()).unwrap();
        let mut sum = 0u64;
        while of_this_process().unwrap() < before + Duration::from_millis(20) {
            sum = (0..10_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(of(std::process::id()).unwrap() >= before + Duration::from_millis(20));
        let mut sleeper = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(of(sleeper.id()).unwrap() < Duration::from_millis(50));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
