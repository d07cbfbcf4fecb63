//! What a client is told of PostgreSQL's parameters, out of what the replicas report of theirs (no I/O).

use std::collections::BTreeMap;

/// Replicas may run different versions of PostgreSQL: this is reported differently by correct ones.
const VERSION: &str = "server_version";

/// A value of each parameter that at least `needed` (f+1) replicas report, sorted by name: the one that so many agree on. Of
/// the servers' versions it is the `needed`-th oldest, so that one correct replica is as old at most, and one as new at
/// least, wherever 2f+1 answer; it does not change with the master. What fewer report is left out: a parameter
/// that only newer versions have.
///
/// `None` when too few answer, or do not agree.
pub fn agreed(reports: &[&[(String, String)]], needed: usize) -> Option<Vec<(String, String)>> {
    let mut reported: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for report in reports {
        let report: BTreeMap<&str, &str> = report.iter().map(|(n, v)| (&**n, &**v)).collect();
        for (name, value) in report {
            reported.entry(name).or_default().push(value);
        }
    }
    reported.retain(|_, values| values.len() >= needed);
    if reported.is_empty() {
        return None;
    }
    let chosen = reported.into_iter().map(|(name, mut values)| {
        let value = if name == VERSION {
            values.sort_by_key(|value| numbers(value));
            values.get(needed.saturating_sub(1)).copied()
        } else {
            let same = |value: &&&str| values.iter().filter(|other| other == value).count();
            values.iter().find(|value| same(value) >= needed).copied()
        };
        Some((name.to_owned(), value?.to_owned()))
    });
    chosen.collect()
}

/// `15.18 (Debian …)` and `18beta1` as numbers that compare.
fn numbers(version: &str) -> (u32, u32) {
    let plain = version.split([' ', '(']).next().unwrap_or_default();
    let mut parts = plain.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Report = Vec<(String, String)>;

    fn report(version: &str, zone: &str) -> Report {
        [("server_version", version), ("TimeZone", zone)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .to_vec()
    }

    fn told(reports: &[Report]) -> Option<(String, String)> {
        let reports: Vec<&[(String, String)]> = reports.iter().map(Vec::as_slice).collect();
        let agreed = agreed(&reports, 2)?;
        assert_eq!(agreed.len(), 2, "{agreed:?}");
        Some((agreed[1].1.clone(), agreed[0].1.clone()))
    }

    #[test]
    fn servers_of_four_versions_agree_on_what_to_tell() {
        let reports = ["18.4", "15.18 (Debian 15.18-0+deb12u1)", "17.10", "16.14"];
        let reports = reports.map(|version| report(version, "UTC"));
        let expected = Some(("16.14".to_owned(), "UTC".to_owned()));
        assert_eq!(told(&reports), expected);
        // In whatever order they answer, and whatever else a newer one reports.
        let mut turned = reports.clone();
        turned.reverse();
        turned[1].push(("search_path".into(), "x".into()));
        assert_eq!(told(&turned), expected);
    }

    #[test]
    fn a_liar_decides_nothing() {
        for lie in ["1.0", "99.0", "nonsense", ""] {
            let mut reports = vec![report("15.18", "UTC"); 3];
            reports.insert(0, report(lie, "Mars"));
            reports[0].push(("evil".into(), "on".into()));
            assert_eq!(
                told(&reports),
                Some(("15.18".into(), "UTC".into())),
                "{lie}"
            );
        }
    }

    #[test]
    fn two_that_differ_agree_on_nothing() {
        assert_eq!(
            told(&[report("15.18", "UTC"), report("15.18", "Mars")]),
            None
        );
        assert_eq!(told(&[report("15.18", "UTC")]), None);
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        for (version, expected) in [
            ("15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
            ("18beta1", (18, 0)),
            ("9", (9, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
    }
}
