//! What must be equal at all replicas, in one value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Address, Error};

/// Everything about a server that can make it answer otherwise than another one with the same data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `server_version_num`, such as 150018.
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
    "lc_collate",
    "lc_ctype",
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

    /// What differs, one line each: `mine` is this one, `theirs` the other; empty when they agree.
    pub fn differences(&self, other: &Fingerprint) -> Vec<String> {
        let mut lines = Vec::new();
        if self.version != other.version {
            lines.push(format!(
                "server version: {} here, {} there",
                self.version, other.version
            ));
        }
        compare("collation", &self.collations, &other.collations, &mut lines);
        compare("extension", &self.extensions, &other.extensions, &mut lines);
        compare("setting", &self.settings, &other.settings, &mut lines);
        lines
    }
}

fn compare<V: PartialEq + std::fmt::Display>(
    what: &str,
    here: &BTreeMap<String, V>,
    there: &BTreeMap<String, V>,
    lines: &mut Vec<String>,
) {
    let show = |value: Option<&V>| value.map_or("missing".to_owned(), V::to_string);
    let only_there = there.keys().filter(|name| !here.contains_key(*name));
    for name in here.keys().chain(only_there) {
        let (mine, theirs) = (here.get(name), there.get(name));
        if mine != theirs {
            lines.push(format!(
                "{what} {name}: {} here, {} there",
                show(mine),
                show(theirs)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect()
        };
        let one = Fingerprint {
            version: 150_018,
            collations: [("icu 153.14".to_owned(), 800)].into(),
            extensions: map(&[("plpgsql", "1.0")]),
            settings: map(&[("TimeZone", "UTC"), ("jit", "off")]),
        };
        assert!(one.differences(&one).is_empty());
        let other = Fingerprint {
            version: 150_017,
            collations: [("icu 153.99".to_owned(), 800)].into(),
            extensions: map(&[]),
            settings: map(&[("TimeZone", "UTC"), ("jit", "on")]),
        };
        assert_eq!(
            one.differences(&other),
            [
                "server version: 150018 here, 150017 there",
                "collation icu 153.14: 800 here, missing there",
                "collation icu 153.99: missing here, 800 there",
                "extension plpgsql: 1.0 here, missing there",
                "setting jit: off here, on there",
            ]
        );
    }
}
