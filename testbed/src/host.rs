//! A host: a place for the processes of one machine of a system, with its own share of the processors, address and directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::cgroup::Group;
use crate::network::{Namespace, Network};
use crate::{Error, names, process};

/// What all hosts of a comparison have in common.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where each host's directory is made.
    pub base: PathBuf,
    /// Each host's share of the processors while it is measured, in cores.
    pub cores: Option<f64>,
    /// The bridge of the hosts' network namespaces; without, each has a loopback address of its own.
    pub network: Option<Arc<Network>>,
}

/// A place for the processes of one role. Dropped, it kills them and removes what was made for them.
///
/// An ordinary user has no control groups as a rule. Then there is no quota, and CPU time is added up from /proc.
#[derive(Debug)]
pub struct Host {
    name: String,
    role: String,
    dir: PathBuf,
    address: Ipv4Addr,
    cores: Option<f64>,
    group: Result<Group, String>,
    namespace: Option<Namespace>,
    account: Option<User>,
    /// The processes at the top of each part that is counted apart.
    parts: Mutex<BTreeMap<String, Vec<i32>>>,
}

/// Goes into the control groups named before `--`, then becomes the program after it.
const ENTER: &str =
    r#"while [ "$1" != -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@""#;

impl Host {
    /// A host `name` whose CPU time counts as `role`. It starts without its quota, so that loading is fast.
    pub fn new(name: &str, role: &str, ground: &Ground) -> Result<Host, Error> {
        names::sweep(&ground.base);
        let number = names::number();
        let name = names::name(number, name);
        let dir = ground.base.join(&name);
        let namespace = match &ground.network {
            Some(network) => Some(Network::join(network, &name)?),
            None => None,
        };
        let host = Host {
            address: namespace
                .as_ref()
                .map_or_else(|| loopback(number), |inside| inside.address),
            role: role.to_owned(),
            cores: ground.cores,
            group: Group::make(&name),
            namespace,
            account: lower_account()?,
            parts: Mutex::default(),
            name,
            dir,
        };
        host.own_dir(&host.dir)?;
        Ok(host)
    }

    /// Makes a directory that belongs to the account of `command_as_account`.
    pub fn own_dir(&self, dir: &Path) -> Result<(), Error> {
        let made = || -> std::io::Result<()> {
            std::fs::create_dir_all(dir)?;
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
            if let Some(user) = &self.account {
                chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
            Ok(())
        };
        made().map_err(Error::io("make directory", dir.display()))
    }

    /// Unique on this machine while the host lasts.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        Some(self.namespace.as_ref()?.name.as_str())
    }

    pub fn role(&self) -> &str {
        &self.role
    }

    /// The host's directory, removed with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address on which its servers should listen.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// `program` inside the host, as the account of this process, in a process group of its own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(program.as_ref(), None)
    }

    /// `program` inside the host; root runs it as `postgres`, else `nobody`, because PostgreSQL does not run as root.
    pub fn command_as_account(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(program.as_ref(), self.account.as_ref())
    }

    fn enter(&self, program: &OsStr, account: Option<&User>) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ENTER, "sh"]);
        command.args(self.group.iter().flat_map(Group::doors));
        command.arg("--");
        if let Some(namespace) = &self.namespace {
            command.args(["ip", "netns", "exec", &namespace.name]);
        }
        if let Some(user) = account {
            command.arg("setpriv");
            command.arg(format!("--reuid={}", user.uid));
            command.arg(format!("--regid={}", user.gid));
            command.args(["--init-groups", "--"]);
        }
        command.arg(program);
        // A Ctrl-C at the terminal is for this process, which then ends the others in order.
        command
            .env(process::MARK, &self.name)
            .current_dir(&self.dir)
            .process_group(0);
        command
    }

    /// Gives the host its share of the processors, or all of them. Without control groups nothing changes.
    pub fn set_quota(&self, on: bool) -> Result<(), Error> {
        match &self.group {
            Ok(group) => group.set_quota(self.cores.filter(|_| on)),
            Err(_) => Ok(()),
        }
    }

    /// The quota in cores that is in force.
    pub fn quota(&self) -> Option<f64> {
        self.group.as_ref().ok()?.quota()
    }

    /// For the report: `0.50 cores a host by cgroup v1`, or why there is no quota.
    pub fn quota_text(&self) -> String {
        match (&self.group, self.cores) {
            (Ok(group), Some(cores)) => format!("{cores:.2} cores a host by {}", group.kind()),
            (_, None) => "no quota".to_owned(),
            (Err(reason), Some(_)) => format!("no quota: {reason}"),
        }
    }

    /// Counts a process, all below it and all that they start from here on as `role`, apart from the host's own role.
    pub fn assign(&self, role: &str, pid: u32) -> Result<(), Error> {
        let pid = i32::try_from(pid).map_err(Error::io("count apart process", pid))?;
        if let Ok(group) = &self.group {
            // It would leave the part again if it came into the host's own groups later.
            if !process::until(&mut || group.processes().contains(&pid)) {
                return Err(Error::new(format!(
                    "process {pid} is not one of {}",
                    self.name
                )));
            }
            group.assign(role, pid)?;
            for below in process::descendants([pid]) {
                // It may have ended since.
                let _ = group.assign(role, below);
            }
        }
        self.parts().entry(role.to_owned()).or_default().push(pid);
        Ok(())
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<i32>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CPU seconds since the host was made, by role. Without control groups: of the living processes, to 10 ms.
    pub fn cpu_seconds(&self) -> Result<BTreeMap<String, f64>, Error> {
        let mut own = match &self.group {
            Ok(group) => group.cpu_seconds(None)?,
            Err(_) => process::cpu_seconds(&process::of_mark(&self.name)),
        };
        let mut seconds = BTreeMap::new();
        for (role, tops) in &*self.parts() {
            let part = match &self.group {
                Ok(group) => group.cpu_seconds(Some(role))?,
                Err(_) => process::cpu_seconds(&process::descendants(tops.iter().copied())),
            };
            own -= part;
            seconds.insert(role.clone(), part);
        }
        *seconds.entry(self.role.clone()).or_default() += own.max(0.0);
        Ok(seconds)
    }

    /// The living processes of the host.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut found = process::of_mark(&self.name);
        if let Ok(group) = &self.group {
            found.extend(group.processes());
        }
        found
    }

    /// Stops all processes until `resume`, so that an idle system does not disturb the one that is measured.
    pub fn pause(&self) -> Result<(), Error> {
        if process::stop_all(&mut || self.processes()) {
            return Ok(());
        }
        self.resume();
        Err(Error::new(format!(
            "the processes of {} cannot be stopped",
            self.name
        )))
    }

    pub fn resume(&self) {
        process::signal(&self.processes(), Signal::SIGCONT);
    }

    /// Kills all processes of the host; they have ten seconds to be gone.
    pub fn kill(&self) {
        if !process::kill_all(&mut || self.processes()) {
            tracing::warn!(
                host = self.name,
                "processes stay behind; the next run kills them"
            );
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %self.dir.display(), %error, "a directory stays behind; the next run removes it");
        }
    }
}

/// Each host has an address of its own, so that ports of hosts, and of other runs, do not meet.
fn loopback(number: u32) -> Ipv4Addr {
    let pid = std::process::id();
    let byte = |value: u32| (value % 254 + 1) as u8;
    Ipv4Addr::new(127, (16 + pid / 254 % 200) as u8, byte(pid), byte(number))
}

/// The account to which root steps down.
fn lower_account() -> Result<Option<User>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name) {
            return Ok(Some(user));
        }
    }
    Err(Error::new("root has no account to run PostgreSQL with").next("useradd --system postgres"))
}
