//! Stopping members: in order and within bounds, or at once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::process::Process;
use crate::progress::Progress;
use crate::{members, postgres};

/// How long members may take to end in order before they are killed. A replica writes PostgreSQL's buffers to disk.
const PROXY: Duration = Duration::from_secs(10);
const REPLICAS: Duration = Duration::from_secs(90);

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(15);

/// Stops of these the proxy, then the replicas side by side, and kills what does not end in time. Nothing of them is left
/// running.
pub fn stop_members(
    layout: &Layout,
    members: &[Member],
    progress: &Progress,
) -> Result<(), Failure> {
    let (replicas, others): (Vec<Member>, Vec<Member>) = members
        .iter()
        .partition(|member| matches!(member, Member::Replica(_)));
    stop(layout, &others, PROXY, progress)?;
    stop(layout, &replicas, REPLICAS, progress)?;
    // What a killed replica has left.
    for member in replicas {
        postgres::kill(layout, member)?;
    }
    Ok(())
}

fn stop(
    layout: &Layout,
    members: &[Member],
    patience: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    let living: Vec<(Member, Process)> = members
        .iter()
        .filter_map(|member| Some((*member, Process::named_by(&layout.pid_file(*member))?)))
        .collect();
    for (member, process) in &living {
        signal(*member, process, Signal::SIGTERM)?;
    }
    let start = Instant::now();
    for (place, (member, process)) in living.iter().enumerate() {
        if let Member::Replica(_) = member {
            progress.step(format!(
                "stopping the replicas: {place} of {} stopped",
                living.len()
            ));
        }
        if !process.ended_within(patience.saturating_sub(start.elapsed())) {
            progress.note(&format!(
                "{member} did not stop within {} s and is killed; its next start recovers from its log",
                patience.as_secs()
            ));
            kill(*member, process)?;
        }
    }
    for member in members {
        members::forget(layout, *member);
    }
    Ok(())
}

/// SIGKILL, and the end of the process.
pub fn kill(member: Member, process: &Process) -> Result<(), Failure> {
    signal(member, process, Signal::SIGKILL)?;
    if process.ended_within(KILLED) {
        return Ok(());
    }
    Err(
        Failure::new(format!("{member} (process {}) does not end", process.pid()))
            .cause("it was sent SIGKILL; the kernel holds it, probably in a disk access")
            .next("look at the disk, then try again"),
    )
}

/// Tells the supervisor to stop the cluster and end, and waits for it.
pub fn stop_supervisor(
    layout: &Layout,
    members: &[Member],
    progress: &Progress,
) -> Result<(), Failure> {
    let Some(process) = Process::named_by(&layout.pid_file(Member::Supervisor)) else {
        return Ok(());
    };
    signal(Member::Supervisor, &process, Signal::SIGTERM)?;
    let start = Instant::now();
    while !process.ended_within(Duration::from_millis(50)) {
        let running = members
            .iter()
            .filter(|member| Process::named_by(&layout.pid_file(**member)).is_some());
        progress.step(format!(
            "stopping: {} of {} still run",
            running.count(),
            members.len()
        ));
        if start.elapsed() > PROXY + REPLICAS + KILLED {
            return kill(Member::Supervisor, &process);
        }
    }
    Ok(())
}

fn signal(member: Member, process: &Process, signal: Signal) -> Result<(), Failure> {
    process.signal(signal).map_err(|error| {
        Failure::new(format!(
            "cannot send {signal} to {member} (process {})",
            process.pid()
        ))
        .cause(error)
        .next("run this command with the account that started the cluster")
    })
}
