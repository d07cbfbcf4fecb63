//! The machine on which something was measured.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::Error;
use crate::comparison::{Machine, Spread};

/// Writes of the disk's measurement, and their size in bytes.
const WRITES: u64 = 200;
const WRITE: usize = 4096;

/// Describes this machine; the disk is that of `dir`. Takes as long as 200 small writes to it.
pub fn describe(dir: &Path, quota: String, links: String) -> Result<Machine, Error> {
    let cpu = read("/proc/cpuinfo");
    let memory = read("/proc/meminfo");
    let kib: u64 = value(&memory, "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    let load = read("/proc/loadavg");
    Ok(Machine {
        cpu: value(&cpu, "model name").unwrap_or("unknown").to_owned(),
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory_mib: kib / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        filesystem: filesystem(dir, &read("/proc/self/mounts")),
        // Before the writes below add to it.
        load_before: load
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0),
        fdatasync_us: fdatasync_us(dir)?,
        quota,
        links,
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What stands behind `name : ` in a file of /proc.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// `ext4 on /dev/vda`: the mount with the longest path above the directory; of equal ones the last, which hides the others.
fn filesystem(dir: &Path, mounts: &str) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(_, path, _)| dir.starts_with(path));
    let nearest = above.max_by_key(|(_, path, _)| path.len());
    nearest.map_or_else(
        || "unknown".to_owned(),
        |(device, _, kind)| format!("{kind} on {device}"),
    )
}

/// Median of 200 writes of 4 KiB, each made durable, as a log does it.
fn fdatasync_us(dir: &Path) -> Result<f64, Error> {
    let measure = || -> std::io::Result<Vec<f64>> {
        let file = tempfile::tempfile_in(dir)?;
        file.set_len(WRITES * WRITE as u64)?;
        file.sync_all()?;
        let one = |number| {
            let began = Instant::now();
            file.write_all_at(&[1; WRITE], number * WRITE as u64)?;
            file.sync_data()?;
            Ok(began.elapsed().as_secs_f64() * 1e6)
        };
        (0..WRITES).map(one).collect()
    };
    let times = measure().map_err(Error::io("measure the disk of", dir.display()))?;
    Ok(Spread::of(times).map_or(0.0, |spread| spread.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let machine = describe(dir.path(), "q".to_owned(), "l".to_owned()).unwrap();
        assert!(machine.cores >= 1 && machine.memory_mib > 16, "{machine:?}");
        assert!(
            machine.kernel.contains('.') && machine.filesystem.contains(" on "),
            "{machine:?}"
        );
        assert!(
            machine.fdatasync_us > 0.1 && machine.load_before >= 0.0,
            "{machine:?}"
        );
        assert_eq!((machine.quota.as_str(), machine.links.as_str()), ("q", "l"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_nearest_mount_names_the_file_system() {
        let mounts =
            "/dev/a / ext4 rw 0 0\ntmpfs /nowhere tmpfs rw 0 0\n/dev/b /nowhere/data xfs rw 0 0\n";
        let of = |path: &str| filesystem(Path::new(path), mounts);
        assert_eq!(of("/nowhere/data/x"), "xfs on /dev/b");
        assert_eq!(of("/nowhere/database"), "tmpfs on tmpfs");
        assert_eq!(of("/else"), "ext4 on /dev/a");
    }
}
