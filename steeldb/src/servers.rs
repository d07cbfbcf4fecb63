//! Which PostgreSQL each replica of a new cluster runs: the option `--postgres`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cluster::Cluster;
use migrations::MAJORS;
use replica::{Differing, Postgres};

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::replica_file;

/// The server part of each replica's configuration, by its number; none: the defaults.
pub type Servers = BTreeMap<u16, Postgres>;

/// Reads `DIR`, `DIR,DIR,…` (one for each replica) or `I=DIR,…` for a new cluster of `n` replicas on this machine, and asks the
/// servers what they are. Replicas of different servers are told which majors they are to stand.
///
/// # Errors
/// When the list does not fit `n`, a directory holds no server, or majors differ that were not tested together.
pub fn planned(asked: &[String], n: usize) -> Result<Servers, Failure> {
    let dirs = directories(asked, n)?;
    if dirs.is_empty() {
        return Ok(Servers::new());
    }
    let mut majors = BTreeSet::new();
    for id in 0..n as u16 {
        let dir = dirs.get(&id).map(PathBuf::as_path);
        let major = replica::postgres::major(dir).map_err(|error| {
            Failure::usage(format!("--postgres: replica {id} has no server")).cause(error)
        })?;
        majors.insert(major);
    }
    let all: BTreeSet<&PathBuf> = dirs.values().collect();
    let alike = dirs.len() == n && all.len() == 1;
    if let Some(untested) = majors
        .iter()
        .find(|major| majors.len() > 1 && !MAJORS.contains(*major))
    {
        return Err(Failure::usage(format!("--postgres names majors {}", listed(&majors)))
            .cause(format!(
                "those from {} to {} were tested together, {untested} was not",
                MAJORS.start(),
                MAJORS.end()
            ))
            .next("name other directories; or test them, then list them as `tested_together` in each replica.toml"));
    }
    let server = |id: u16| Postgres {
        bin_dir: dirs.get(&id).cloned(),
        tested_together: if alike {
            BTreeSet::new()
        } else {
            majors.clone()
        },
        // Each build has its own.
        may_differ: if alike {
            BTreeSet::new()
        } else {
            [Differing::Icu].into()
        },
        ..Postgres::default()
    };
    Ok((0..n as u16).map(|id| (id, server(id))).collect())
}

/// An existing cluster runs what is asked for.
///
/// # Errors
/// Names the replica that runs another PostgreSQL.
pub fn check(layout: &Layout, cluster: &Cluster, asked: &[String]) -> Result<(), Failure> {
    for (id, dir) in directories(asked, cluster.replicas.len())? {
        let file = layout.config(Member::Replica(id));
        let runs = replica_file::read(&file)?.postgres.bin_dir;
        if runs.as_ref() != Some(&dir) {
            let runs = runs.map_or("the default".to_owned(), |dir| dir.display().to_string());
            return Err(Failure::usage("--postgres does not fit the cluster")
                .cause(format!("replica {id} runs {runs}, not {}", dir.display()))
                .next(format!(
                    "leave it out; or change `bin_dir` in {} to a server of the same major",
                    file.display()
                )));
        }
    }
    Ok(())
}

/// What a replica that takes the place of `member`, or stands beside it, is to run and stand.
///
/// # Errors
/// When that one's configuration cannot be read.
pub fn like(layout: &Layout, member: Member) -> Result<Postgres, Failure> {
    let found = replica_file::read(&layout.config(member))?.postgres;
    Ok(Postgres {
        bin_dir: found.bin_dir,
        tested_together: found.tested_together,
        may_differ: found.may_differ,
        ..Postgres::default()
    })
}

fn directories(asked: &[String], n: usize) -> Result<BTreeMap<u16, PathBuf>, Failure> {
    let unfit = |why: String| {
        Failure::usage(format!("--postgres {}", asked.join(",")))
            .cause(why)
            .next(format!(
                "write one directory, {n} of them, or I=DIR for each replica that is to differ"
            ))
    };
    let absolute = |dir: &str| {
        std::path::absolute(Path::new(dir)).map_err(|error| unfit(format!("{dir:?}: {error}")))
    };
    let mut dirs = BTreeMap::new();
    for (place, item) in asked.iter().enumerate() {
        let (id, dir) = match item.split_once('=') {
            None => (place, item.as_str()),
            Some((id, dir)) => {
                let id = id
                    .parse()
                    .map_err(|_| unfit(format!("{id:?} is no replica's number")))?;
                (id, dir)
            }
        };
        if id >= n {
            return Err(unfit(format!("there is no replica {id}: there are {n}")));
        }
        if dirs.insert(id as u16, absolute(dir)?).is_some() {
            return Err(unfit(format!("replica {id} is named twice")));
        }
    }
    if asked.iter().any(|item| item.contains('=')) || dirs.is_empty() || dirs.len() == n {
        return Ok(dirs);
    }
    match dirs.remove(&0).filter(|_| dirs.is_empty()) {
        Some(one) => Ok((0..n as u16).map(|id| (id, one.clone())).collect()),
        None => Err(unfit(format!(
            "{} directories for {n} replicas",
            asked.len()
        ))),
    }
}

/// `15, 16 and 18`
pub fn listed(majors: &BTreeSet<u32>) -> String {
    let all: Vec<String> = majors.iter().map(u32::to_string).collect();
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => all.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u16, String)>, String> {
        let asked: Vec<String> = text.split(',').map(str::to_owned).collect();
        let found = directories(&asked, 4).map_err(|failure| failure.to_string())?;
        let shown = |(id, dir): (u16, PathBuf)| (id, dir.display().to_string());
        Ok(found.into_iter().map(shown).collect())
    }

    #[test]
    fn one_directory_is_for_all_and_four_are_one_for_each() {
        let all = |dirs: [&str; 4]| Ok((0..4).zip(dirs.map(str::to_owned)).collect::<Vec<_>>());
        assert_eq!(read("/a"), all(["/a"; 4]));
        assert_eq!(read("/a,/b,/a,/c"), all(["/a", "/b", "/a", "/c"]));
        assert_eq!(read("2=/b"), Ok(vec![(2, "/b".to_owned())]));
        assert_eq!(
            read("3=/b,0=/a"),
            Ok(vec![(0, "/a".to_owned()), (3, "/b".to_owned())])
        );
    }

    #[test]
    fn a_list_that_does_not_fit_is_refused_with_what_would() {
        for (text, why) in [
            ("/a,/b", "2 directories for 4 replicas"),
            ("/a,/b,/c,/d,/e", "there is no replica 4"),
            ("4=/a", "there is no replica 4"),
            ("x=/a", "\"x\" is no replica's number"),
            ("1=/a,1=/b", "named twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(why) && error.contains("I=DIR"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_directory_without_a_server_is_named() {
        let error = planned(&["1=/nowhere".to_owned()], 4)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("replica 1") && error.contains("/nowhere"),
            "{error}"
        );
    }

    #[test]
    fn what_the_servers_are_decides_what_they_stand() {
        let major = replica::postgres::major(None).unwrap();
        let dir = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
        let same = planned(&[dir.display().to_string()], 4).unwrap();
        assert_eq!(same.len(), 4);
        assert_eq!(same[&3].bin_dir.as_ref(), Some(&dir));
        assert!(
            same.values()
                .all(|server| server.tested_together.is_empty())
        );
        // The same server from two places: of one major, and maybe of two builds.
        let two = planned(&[format!("1={}", dir.display())], 4).unwrap();
        assert!(two[&0].bin_dir.is_none() && two[&1].bin_dir.is_some());
        assert!(
            two.values()
                .all(|server| server.tested_together == [major].into())
        );
    }
}
