//! What a run that was killed has left is removed by the next one.

use std::path::Path;
use std::process::Command;

use testbed::{Ground, Host};

/// No process has this number: it is beyond the greatest that Linux gives.
const LEFT: &str = "steeldb-testbed-2147483646-0-left";

#[test]
fn the_next_run_removes_what_a_killed_one_has_left() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join(LEFT);
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let mut process = Command::new("sleep")
        .arg("1000")
        .env("STEELDB_TESTBED_HOST", LEFT)
        .spawn()
        .unwrap();
    let mut made = vec![dir];
    for tree in ["cpu", "cpuacct", "unified", ""] {
        let tree = Path::new("/sys/fs/cgroup").join(tree);
        let group = tree.join(LEFT);
        // Only root can, and only where there are control groups.
        if tree.join("cgroup.procs").exists() && std::fs::create_dir(&group).is_ok() {
            let _ = std::fs::write(group.join("cgroup.procs"), process.id().to_string());
            made.push(group);
        }
    }
    if nix::unistd::geteuid().is_root() {
        assert!(
            Command::new("ip")
                .args(["netns", "add", LEFT])
                .status()
                .unwrap()
                .success()
        );
        made.push(Path::new("/run/netns").join(LEFT));
        let link = "stb2147483646b0";
        let bridge = ["link", "add", link, "type", "bridge"];
        assert!(Command::new("ip").args(bridge).status().unwrap().success());
        made.push(Path::new("/sys/class/net").join(link));
    }
    assert!(made.iter().all(|path| path.exists()), "{made:?}");
    let ground = Ground {
        base: base.path().to_owned(),
        cores: None,
        network: None,
    };
    let host = Host::new("new", "worker", &ground).unwrap();
    // The killed process is this one's child, and waits for it only.
    assert_eq!(process.wait().unwrap().code(), None);
    let left: Vec<_> = made.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(host.dir().is_dir());
}
