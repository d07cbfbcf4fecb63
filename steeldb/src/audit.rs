//! Comparing the replicas' tables at one height.

use std::collections::{BTreeMap, BTreeSet};

use client_shim::AuditReport;
use cluster::Cluster;
use consensus::{Digest, ReplicaId};

/// What the comparison says.
#[derive(Debug, PartialEq, Eq)]
pub struct Audit {
    /// The height that the most replicas reported, at least f+1 of them.
    pub height: u64,
    pub tables: Vec<Table>,
    /// Replicas that did not answer, or not usefully, with the reason.
    pub missing: BTreeMap<u16, String>,
    /// Those of them that could not read their tables.
    pub unreadable: BTreeSet<u16>,
}

/// One table of the audit.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// What the replicas hold, the version of the most replicas first.
    pub versions: Vec<Version>,
}

/// One content of a table and who has it. `content` is the number of rows and their digest; absent where the table is.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    pub content: Option<(u64, Digest)>,
    pub replicas: Vec<u16>,
}

impl Audit {
    /// Compares what the replicas have reported.
    pub fn new(cluster: &Cluster, reports: &BTreeMap<ReplicaId, AuditReport>) -> Audit {
        let mut heights: BTreeMap<u64, usize> = BTreeMap::new();
        for report in reports.values().filter(|report| report.error.is_none()) {
            *heights.entry(report.height).or_default() += 1;
        }
        let most = heights.iter().max_by_key(|(_, count)| **count);
        let height = most.map_or(0, |(height, _)| *height);
        let mut missing = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        let mut compared = BTreeMap::new();
        for entry in &cluster.replicas {
            let trouble = match reports.get(&ReplicaId(entry.id)) {
                None => "did not answer".to_owned(),
                Some(AuditReport {
                    error: Some(error), ..
                }) => {
                    unreadable.insert(entry.id);
                    format!("could not read its tables: {error}")
                }
                Some(report) if report.height != height => {
                    format!("answered for height {} instead of {height}", report.height)
                }
                Some(report) => {
                    compared.insert(entry.id, report);
                    continue;
                }
            };
            missing.insert(entry.id, trouble);
        }
        let names: BTreeSet<&String> = compared
            .values()
            .flat_map(|r| r.tables.iter().map(|(name, ..)| name))
            .collect();
        let tables = names
            .into_iter()
            .map(|name| compare(name, &compared))
            .collect();
        Audit {
            height,
            tables,
            missing,
            unreadable,
        }
    }

    /// Which replicas are to be repaired, and what differs there: those that do not hold what f+1 others hold alike.
    ///
    /// # Errors
    /// Says why none can be: nobody knows who is right, or more than `f` would be away at once.
    pub fn repairs(&self, f: u16) -> Result<BTreeMap<u16, Vec<String>>, String> {
        let mut repairs: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for replica in &self.unreadable {
            let trouble = self.missing.get(replica).cloned().unwrap_or_default();
            repairs.insert(*replica, vec![trouble]);
        }
        for table in self.tables.iter().filter(|table| table.versions.len() > 1) {
            let agreed = |version: &&Version| version.replicas.len() > usize::from(f);
            let mut agreeing = table.versions.iter().filter(agreed);
            let (Some(truth), None) = (agreeing.next(), agreeing.next()) else {
                return Err(format!(
                    "of table {} no {} replicas hold the same which no others contradict: nobody knows what is right",
                    table.name,
                    f + 1
                ));
            };
            let wrong = table.versions.iter().filter(|version| *version != truth);
            for replica in wrong.flat_map(|version| &version.replicas) {
                let what = format!("table {} differs", table.name);
                repairs.entry(*replica).or_default().push(what);
            }
        }
        let silent = self
            .missing
            .keys()
            .filter(|id| !self.unreadable.contains(id));
        let away = silent.count() + repairs.len();
        if !repairs.is_empty() && away > usize::from(f) {
            return Err(format!(
                "{} replicas differ and {} do not answer: more than f = {f} would be away at once",
                repairs.len(),
                away - repairs.len()
            ));
        }
        Ok(repairs)
    }

    /// What differs and who is missing, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let differing = self
            .tables
            .iter()
            .filter(|table| table.versions.len() > 1)
            .map(|table| {
                let sides: Vec<String> = table.versions.iter().map(side).collect();
                format!("table {} differs: {}", table.name, sides.join("; "))
            });
        let missing = self
            .missing
            .iter()
            .map(|(replica, trouble)| format!("replica {replica} {trouble}"));
        differing.chain(missing).collect()
    }

    /// Everybody answered and holds the same.
    pub fn passes(&self) -> bool {
        self.missing.is_empty() && self.tables.iter().all(|table| table.versions.len() == 1)
    }
}

fn side(version: &Version) -> String {
    let who: Vec<String> = version.replicas.iter().map(u16::to_string).collect();
    let who = match who.len() {
        1 => format!("replica {} holds", who[0]),
        _ => format!("replicas {} hold", who.join(", ")),
    };
    match version.content {
        Some((rows, digest)) => format!(
            "{who} {rows} rows with digest {}",
            hex::encode(&digest.0[..8])
        ),
        None => format!("{who} no such table"),
    }
}

fn compare(name: &str, reports: &BTreeMap<u16, &AuditReport>) -> Table {
    let mut versions: Vec<Version> = Vec::new();
    for (replica, report) in reports {
        let found = report.tables.iter().find(|(table, ..)| table == name);
        let content = found.map(|(_, rows, digest)| (*rows, *digest));
        match versions
            .iter_mut()
            .find(|version| version.content == content)
        {
            Some(version) => version.replicas.push(*replica),
            None => versions.push(Version {
                content,
                replicas: vec![*replica],
            }),
        }
    }
    versions.sort_by_key(|version| std::cmp::Reverse(version.replicas.len()));
    Table {
        name: name.to_owned(),
        versions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ReplicaEntry;
    use std::net::SocketAddr;

    fn cluster() -> Cluster {
        let replicas = (0..4).map(|id| ReplicaEntry {
            id,
            address: SocketAddr::from(([127, 0, 0, 1], 7400 + id)),
            key: String::new(),
        });
        Cluster {
            f: 1,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication: Default::default(),
            administrators: Default::default(),
            leader: Default::default(),
            view: 0,
            replicas: replicas.collect(),
            clients: Vec::new(),
        }
    }

    fn report(height: u64, tables: &[(&str, u64, u8)]) -> AuditReport {
        AuditReport {
            height,
            tables: tables
                .iter()
                .map(|(name, rows, d)| ((*name).into(), *rows, Digest([*d; 32])))
                .collect(),
            error: None,
        }
    }

    fn reports(list: Vec<(u16, AuditReport)>) -> BTreeMap<ReplicaId, AuditReport> {
        list.into_iter()
            .map(|(id, report)| (ReplicaId(id), report))
            .collect()
    }

    #[test]
    fn equal_replicas_pass() {
        let all = (0..4)
            .map(|id| (id, report(9, &[("a", 1, 1), ("b", 2, 2)])))
            .collect();
        let audit = Audit::new(&cluster(), &reports(all));
        assert!(audit.passes());
        assert_eq!((audit.height, audit.tables.len()), (9, 2));
    }

    #[test]
    fn another_row_or_a_missing_table_is_found_with_who_differs() {
        let good = report(9, &[("a", 1, 1), ("b", 2, 2)]);
        let all = vec![
            (0, good.clone()),
            (1, report(9, &[("a", 1, 7), ("b", 2, 2)])),
            (2, good.clone()),
            (3, report(9, &[("a", 1, 1)])),
        ];
        let audit = Audit::new(&cluster(), &reports(all));
        assert!(!audit.passes());
        let sides = |table: usize| -> Vec<Vec<u16>> {
            audit.tables[table]
                .versions
                .iter()
                .map(|v| v.replicas.clone())
                .collect()
        };
        assert_eq!(sides(0), [vec![0, 2, 3], vec![1]]);
        assert_eq!(sides(1), [vec![0, 1, 2], vec![3]]);
        assert_eq!(audit.tables[1].versions[1].content, None);
    }

    #[test]
    fn the_one_that_differs_is_repaired_and_two_are_not() {
        let good = report(9, &[("a", 1, 1), ("b", 2, 2)]);
        let odd = report(9, &[("a", 1, 7), ("b", 2, 2)]);
        let mut failing = good.clone();
        failing.error = Some("disk".into());
        let of = |held: [&AuditReport; 4]| {
            let held = held.into_iter().zip(0..);
            let all = held.map(|(report, id)| (id, report.clone())).collect();
            Audit::new(&cluster(), &reports(all))
        };
        let one = of([&good, &odd, &good, &good]).repairs(1).unwrap();
        assert_eq!(one, [(1, vec!["table a differs".to_owned()])].into());
        let unreadable = of([&good, &good, &good, &failing]).repairs(1).unwrap();
        assert!(unreadable[&3][0].contains("disk"));
        assert!(of([&good; 4]).repairs(1).unwrap().is_empty());
        let split = of([&good, &odd, &odd, &good]).repairs(1).unwrap_err();
        assert!(split.contains("nobody knows"), "{split}");
        let mut third = odd.clone();
        third.tables[0].1 = 5;
        let scattered = of([&good, &odd, &third, &good]).repairs(1).unwrap_err();
        assert!(scattered.contains("more than f = 1"), "{scattered}");
        // One is away already.
        let all = vec![(0, good.clone()), (1, good.clone()), (2, odd)];
        let away = Audit::new(&cluster(), &reports(all))
            .repairs(1)
            .unwrap_err();
        assert!(away.contains("1 do not answer"), "{away}");
    }

    #[test]
    fn who_does_not_answer_or_answers_for_another_height_fails_the_audit() {
        let good = report(9, &[("a", 1, 1)]);
        let mut failing = good.clone();
        failing.error = Some("disk".into());
        let all = vec![
            (0, good.clone()),
            (1, good),
            (2, failing),
            (3, report(8, &[("a", 1, 1)])),
        ];
        let audit = Audit::new(&cluster(), &reports(all));
        assert!(!audit.passes());
        assert!(audit.missing[&2].contains("disk"));
        assert!(audit.missing[&3].contains("height 8"));
        let alone = Audit::new(&cluster(), &BTreeMap::new());
        assert!(!alone.passes());
        assert_eq!(alone.missing.len(), 4);
    }
}
