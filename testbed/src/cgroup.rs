//! Control groups: a quota of the processors for a host, and what it has used.
//!
//! Version 1 has a mount for each controller (sometimes one for two); version 2 has one for all. Where a group cannot be
//! made, the reason is kept, so that a measurement without quotas says why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::names::entries;
use crate::{Error, names, process};

/// The period over which a quota is counted, microseconds.
const PERIOD: u64 = 100_000;

/// Where groups can be made, by what the kernel has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    V1 { cpu: PathBuf, cpuacct: PathBuf },
    V2(PathBuf),
}

/// The groups of one host, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    tree: Tree,
    name: String,
}

impl Tree {
    /// The trees that are mounted here, the one with the processor controller first.
    pub fn found() -> Vec<Tree> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Tree::among(&mounts, &own)
    }

    fn among(mounts: &str, own: &str) -> Vec<Tree> {
        let mut v1 = (None, None);
        let mut found = Vec::new();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, path, kind, options, ..] = fields[..] else {
                continue;
            };
            let has = |controller| options.split(',').any(|option| option == controller);
            match kind {
                "cgroup" if has("cpu") && has("cpuacct") => v1 = (Some(path), Some(path)),
                "cgroup" if has("cpu") => v1.0 = Some(path),
                "cgroup" if has("cpuacct") => v1.1 = Some(path),
                "cgroup2" => {
                    // An ordinary user may make groups beside its own where the session manager has given it that part.
                    let place = own.lines().find_map(|line| line.strip_prefix("0::/"));
                    let beside = place.and_then(|place| Path::new(place).parent());
                    found.push(Tree::V2(path.into()));
                    found.extend(
                        beside
                            .filter(|above| *above != Path::new(""))
                            .map(|above| Tree::V2(Path::new(path).join(above))),
                    );
                }
                _ => {}
            }
        }
        if let (Some(cpu), Some(cpuacct)) = v1 {
            let (cpu, cpuacct) = (cpu.into(), cpuacct.into());
            found.insert(0, Tree::V1 { cpu, cpuacct });
        }
        found
    }

    fn roots(&self) -> BTreeSet<&Path> {
        match self {
            Tree::V1 { cpu, cpuacct } => [cpu.as_path(), cpuacct].into(),
            Tree::V2(root) => [root.as_path()].into(),
        }
    }

    /// All groups of this house, of any run.
    pub fn groups(&self) -> Vec<PathBuf> {
        let of_house = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(names::PREFIX) && path.is_dir()
        };
        let all = self.roots().into_iter().flat_map(entries);
        all.filter(of_house).collect()
    }

    /// Kills what is in a group and those below it, and removes them.
    pub fn remove_group(group: &Path) {
        process::kill_all(&mut || processes(group));
        for child in entries(group).filter(|path| path.is_dir()) {
            let _ = std::fs::remove_dir(child);
        }
        // A process that was just killed may still hold the group for a moment.
        for _ in 0..100 {
            match std::fs::remove_dir(group) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                _ => return,
            }
        }
        tracing::warn!(group = %group.display(), "a control group stays behind; the next run removes it");
    }
}

fn processes(group: &Path) -> BTreeSet<i32> {
    let below = entries(group).filter(|path| path.is_dir());
    let lists = [group.to_owned()].into_iter().chain(below);
    lists
        .filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

impl Group {
    /// The groups of a host, without quota, or why there are none.
    pub fn make(name: &str) -> Result<Group, String> {
        let mut reason = "no control groups are mounted".to_owned();
        for tree in Tree::found() {
            match Group::make_in(tree, name) {
                Ok(group) => return Ok(group),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    fn make_in(tree: Tree, name: &str) -> Result<Group, String> {
        let group = Group {
            tree,
            name: name.to_owned(),
        };
        if let Tree::V2(root) = &group.tree {
            // Refused where it is given already, or not ours to give: the check below sees which.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), "+cpu");
        }
        for root in group.tree.roots() {
            let path = root.join(name);
            std::fs::create_dir(&path)
                .map_err(|why| format!("cannot make {}: {why}", path.display()))?;
        }
        let file = group.quota_file();
        if !file.exists() {
            return Err(format!(
                "the processor controller is not given to {}",
                group.cpu().display()
            ));
        }
        group.set_quota(None).map_err(|error| error.to_string())?;
        Ok(group)
    }

    fn cpu(&self) -> PathBuf {
        match &self.tree {
            Tree::V1 { cpu, .. } => cpu.join(&self.name),
            Tree::V2(root) => root.join(&self.name),
        }
    }

    fn account(&self) -> PathBuf {
        match &self.tree {
            Tree::V1 { cpuacct, .. } => cpuacct.join(&self.name),
            Tree::V2(root) => root.join(&self.name),
        }
    }

    fn quota_file(&self) -> PathBuf {
        match &self.tree {
            Tree::V1 { .. } => self.cpu().join("cpu.cfs_quota_us"),
            Tree::V2(_) => self.cpu().join("cpu.max"),
        }
    }

    /// `cgroup v1` or `cgroup v2`.
    pub fn kind(&self) -> &'static str {
        match self.tree {
            Tree::V1 { .. } => "cgroup v1",
            Tree::V2(_) => "cgroup v2",
        }
    }

    /// Files to which a process writes its number to be in the group.
    pub fn doors(&self) -> Vec<PathBuf> {
        let roots = self.tree.roots().into_iter();
        roots
            .map(|root| root.join(&self.name).join("cgroup.procs"))
            .collect()
    }

    pub fn processes(&self) -> BTreeSet<i32> {
        processes(&self.account())
    }

    pub fn set_quota(&self, cores: Option<f64>) -> Result<(), Error> {
        let micros = cores.map(|cores| (cores * PERIOD as f64).round() as u64);
        let text = match (&self.tree, micros) {
            (Tree::V1 { .. }, None) => "-1".to_owned(),
            (Tree::V1 { .. }, Some(micros)) => micros.to_string(),
            (Tree::V2(_), None) => format!("max {PERIOD}"),
            (Tree::V2(_), Some(micros)) => format!("{micros} {PERIOD}"),
        };
        let write = |file: PathBuf, text: &str| {
            std::fs::write(&file, text).map_err(Error::io("write a quota to", file.display()))
        };
        if let Tree::V1 { .. } = self.tree {
            write(self.cpu().join("cpu.cfs_period_us"), &PERIOD.to_string())?;
        }
        write(self.quota_file(), &text)
    }

    /// The quota in cores as the kernel has it.
    pub fn quota(&self) -> Option<f64> {
        let text = std::fs::read_to_string(self.quota_file()).ok()?;
        let micros: i64 = text.split_whitespace().next()?.parse().ok()?;
        (micros >= 0).then(|| micros as f64 / PERIOD as f64)
    }

    /// CPU seconds of all that ever ran in the group; of the part `role` alone where one is named.
    pub fn cpu_seconds(&self, role: Option<&str>) -> Result<f64, Error> {
        let dir = role.map_or_else(|| self.account(), |role| self.account().join(role));
        let (file, scale) = match self.tree {
            Tree::V1 { .. } => (dir.join("cpuacct.usage"), 1e9),
            Tree::V2(_) => (dir.join("cpu.stat"), 1e6),
        };
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", file.display()))?;
        let number = text.lines().find_map(|line| {
            let line = line.strip_prefix("usage_usec ").unwrap_or(line);
            line.trim().parse::<f64>().ok()
        });
        let number =
            number.ok_or_else(|| Error::new(format!("{} holds no CPU time", file.display())))?;
        Ok(number / scale)
    }

    /// Counts a process apart from here on; the quota stays the host's.
    pub fn assign(&self, role: &str, pid: i32) -> Result<(), Error> {
        let dir = self.account().join(role);
        if !dir.is_dir() {
            std::fs::create_dir(&dir).map_err(Error::io("make", dir.display()))?;
        }
        let door = dir.join("cgroup.procs");
        std::fs::write(&door, pid.to_string())
            .map_err(Error::io("move a process to", door.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for root in self.tree.roots() {
            let group = root.join(&self.name);
            if group.is_dir() {
                Tree::remove_group(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_tell_where_groups_can_be_made() {
        let apart = "cgroup /c/cpu cgroup rw,cpu 0 0\ncgroup /c/acct cgroup rw,cpuacct 0 0\ncgroup2 /c/u cgroup2 rw 0 0";
        let (cpu, cpuacct) = ("/c/cpu".into(), "/c/acct".into());
        let v1 = Tree::V1 { cpu, cpuacct };
        assert_eq!(Tree::among(apart, "0::/"), [v1, Tree::V2("/c/u".into())]);
        let session = "0::/user.slice/user@7/app.slice/a.scope\n";
        let beside = Tree::V2("/c/user.slice/user@7/app.slice".into());
        let one = "cgroup2 /c cgroup2 rw 0 0";
        assert_eq!(Tree::among(one, session), [Tree::V2("/c".into()), beside]);
        assert_eq!(Tree::among("tmpfs / tmpfs rw 0 0", session), []);
    }

    #[test]
    fn version_2_has_its_own_files_and_units() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("h");
        std::fs::create_dir_all(dir.join("part")).unwrap();
        let tree = Tree::V2(root.path().to_owned());
        let group = std::mem::ManuallyDrop::new(Group {
            tree,
            name: "h".into(),
        });
        group.set_quota(Some(0.25)).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.join("cpu.max")).unwrap(),
            "25000 100000"
        );
        assert_eq!(group.quota(), Some(0.25));
        group.set_quota(None).unwrap();
        assert_eq!(group.quota(), None);
        let said = "usage_usec 1500000\nuser_usec 7\n";
        std::fs::write(dir.join("part/cpu.stat"), said).unwrap();
        assert_eq!(group.cpu_seconds(Some("part")).unwrap(), 1.5);
    }
}
