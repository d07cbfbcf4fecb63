//! What must be equal at all replicas, in one value; and what of it the configuration lets differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Address, Error};

/// Everything about a server that can make it answer otherwise than another one with the same data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `server_version_num`, such as 150018: the major and four digits of the minor version.
    pub version: u32,
    /// Collations by provider and version, with how many there are of each.
    pub collations: BTreeMap<String, u64>,
    /// The versions of the extensions that a database may have; which it has is part of what is replicated.
    pub extensions: BTreeMap<String, String>,
    /// Settings, encoding and locale that show in results.
    pub settings: BTreeMap<String, String>,
}

/// Settings that show in results or decide how values look as text.
const SETTINGS: &[&str] = &[
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "backslash_quote",
    "block_size",
    "bytea_output",
    "data_checksums",
    "default_table_access_method",
    "default_text_search_config",
    "default_transaction_isolation",
    "escape_string_warning",
    "extra_float_digits",
    "integer_datetimes",
    "jit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_identifier_length",
    "max_index_keys",
    "max_parallel_workers_per_gather",
    "quote_all_identifiers",
    "row_security",
    "server_encoding",
    "standard_conforming_strings",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
];

impl Fingerprint {
    /// Asks a server, in one of its databases.
    pub async fn of(address: &Address, database: &str) -> Result<Fingerprint, Error> {
        let session = address.query(database).await?;
        let client = &session.client;
        let version = client
            .query_one("SELECT current_setting('server_version_num')::int", &[])
            .await?
            .get::<_, i32>(0);
        let collations = client
            .query(
                "SELECT concat_ws(' ', CASE collprovider WHEN 'i' THEN 'icu' ELSE 'libc' END,
                                  pg_collation_actual_version(oid)), count(*)
                   FROM pg_collation
                  WHERE pg_collation_actual_version(oid) IS NOT NULL AND collprovider IN ('c', 'i')
                  GROUP BY 1",
                &[],
            )
            .await?;
        let extensions = client
            .query(
                "SELECT name::text, default_version FROM pg_available_extensions
                  WHERE name = 'plpgsql' OR name = ANY($1)",
                &[&migrations::EXTENSIONS.as_slice()],
            )
            .await?;
        let settings = client
            .query(
                "SELECT name, setting FROM pg_settings WHERE name = ANY($1)
                 UNION ALL
                 SELECT 'database ' || f.name, coalesce(f.value, 'none') FROM pg_database,
                        LATERAL (VALUES ('collate', datcollate), ('ctype', datctype),
                                        ('collation version', datcollversion)) f(name, value)
                  WHERE datname = current_database()",
                &[&SETTINGS],
            )
            .await?;
        Ok(Fingerprint {
            version: version.unsigned_abs(),
            collations: collations
                .iter()
                .map(|r| (r.get(0), r.get::<_, i64>(1).unsigned_abs()))
                .collect(),
            extensions: extensions.iter().map(|r| (r.get(0), r.get(1))).collect(),
            settings: settings.iter().map(|r| (r.get(0), r.get(1))).collect(),
        })
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// What differs, one line each, told apart by what the configuration says of it; empty when they agree.
    pub fn compare(&self, other: &Fingerprint, may_differ: &MayDiffer) -> Differences {
        let mut found = Differences::default();
        let tested = [self.major(), other.major()]
            .iter()
            .all(|major| may_differ.majors.contains(major));
        if self.version != other.version {
            let line = format!(
                "server version: {} here, {} there",
                shown(self.version),
                shown(other.version)
            );
            found.add(tested, vec![line]);
        }
        // ICU is a library of its own that any major may be built with; libc's collations are the system's.
        for (kind, declared) in [("icu ", may_differ.icu), ("libc ", false)] {
            let of_kind = |all: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
                let of_kind = all.iter().filter(|(name, _)| name.starts_with(kind));
                of_kind
                    .map(|(name, count)| (name.clone(), *count))
                    .collect()
            };
            let (mine, theirs) = (of_kind(&self.collations), of_kind(&other.collations));
            found.add(declared, differing("collation", &mine, &theirs));
        }
        // They come with the server.
        let extensions = differing("extension", &self.extensions, &other.extensions);
        found.add(tested && self.major() != other.major(), extensions);
        let settings = differing("setting", &self.settings, &other.settings);
        found.add(false, settings);
        found
    }
}

/// What the configuration lets differ between the servers of one cluster; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MayDiffer {
    /// Major versions that were tested together. Servers of these may be of different versions, minor ones too, and
    /// have their majors' versions of the extensions.
    pub majors: BTreeSet<u32>,
    /// The ICU that servers were built with: then a statement that sorts or compares by an ICU collation may come out
    /// differently, which costs an abort or an adoption.
    pub icu: bool,
}

/// What differs between two servers, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Nobody said that this may be.
    pub refused: Vec<String>,
    /// The configuration allows it.
    pub declared: Vec<String>,
}

impl Differences {
    fn add(&mut self, declared: bool, lines: Vec<String>) {
        match declared {
            true => self.declared.extend(lines),
            false => self.refused.extend(lines),
        }
    }
}

/// `150018` as people know it: 15.18.
pub fn shown(version: u32) -> String {
    format!("{}.{}", version / 10_000, version % 10_000)
}

fn differing<V: PartialEq + std::fmt::Display>(
    what: &str,
    here: &BTreeMap<String, V>,
    there: &BTreeMap<String, V>,
) -> Vec<String> {
    let show = |value: Option<&V>| value.map_or("missing".to_owned(), V::to_string);
    let only_there = there.keys().filter(|name| !here.contains_key(*name));
    let names = here.keys().chain(only_there);
    let line = |name: &String| {
        let (mine, theirs) = (here.get(name), there.get(name));
        let differ = mine != theirs;
        differ.then(|| format!("{what} {name}: {} here, {} there", show(mine), show(theirs)))
    };
    names.filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect()
    }

    fn two() -> [Fingerprint; 2] {
        let one = Fingerprint {
            version: 150_018,
            collations: [("icu 153.14".to_owned(), 800)].into(),
            extensions: map(&[("plpgsql", "1.0"), ("ltree", "1.2")]),
            settings: map(&[("TimeZone", "UTC"), ("jit", "off")]),
        };
        let other = Fingerprint {
            version: 170_010,
            collations: [("icu 153.99".to_owned(), 800)].into(),
            extensions: map(&[("plpgsql", "1.0"), ("ltree", "1.3")]),
            settings: map(&[("TimeZone", "UTC"), ("jit", "on")]),
        };
        [one, other]
    }

    const VERSION: &str = "server version: 15.18 here, 17.10 there";
    const ICU: [&str; 2] = [
        "collation icu 153.14: 800 here, missing there",
        "collation icu 153.99: missing here, 800 there",
    ];
    const LTREE: &str = "extension ltree: 1.2 here, 1.3 there";
    const JIT: &str = "setting jit: off here, on there";

    #[test]
    fn every_difference_is_named() {
        let [one, other] = two();
        let nothing = MayDiffer::default();
        assert_eq!(one.compare(&one, &nothing), Differences::default());
        let found = one.compare(&other, &nothing);
        assert_eq!(found.refused, [VERSION, ICU[0], ICU[1], LTREE, JIT]);
        assert!(found.declared.is_empty());
    }

    #[test]
    fn majors_differ_only_where_both_are_listed_and_settings_never() {
        let [one, other] = two();
        for listed in [&[15, 16][..], &[16, 17], &[17]] {
            let may_differ = MayDiffer {
                majors: listed.iter().copied().collect(),
                icu: true,
            };
            let found = one.compare(&other, &may_differ);
            assert_eq!(found.refused, [VERSION, LTREE, JIT], "{listed:?}");
            assert_eq!(found.declared, ICU);
        }
        let may_differ = MayDiffer {
            majors: [15, 17].into(),
            icu: false,
        };
        let found = one.compare(&other, &may_differ);
        assert_eq!(found.refused, [ICU[0], ICU[1], JIT]);
        assert_eq!(found.declared, [VERSION, LTREE]);
    }

    #[test]
    fn of_one_major_minor_versions_may_differ_and_extensions_not() {
        let [one, mut other] = two();
        other.version = 150_017;
        other.collations = one.collations.clone();
        other.settings = one.settings.clone();
        let may_differ = MayDiffer {
            majors: [15].into(),
            icu: false,
        };
        let found = one.compare(&other, &may_differ);
        assert_eq!(found.refused, [LTREE]);
        assert_eq!(found.declared, ["server version: 15.18 here, 15.17 there"]);
    }

    #[test]
    fn the_system_s_collations_never_differ() {
        let [one, _] = two();
        let mut other = one.clone();
        other.collations.insert("libc 2.36".to_owned(), 3);
        let may_differ = MayDiffer {
            majors: [15].into(),
            icu: true,
        };
        let found = one.compare(&other, &may_differ);
        assert_eq!(
            found.refused,
            ["collation libc 2.36: missing here, 3 there"]
        );
    }
}
