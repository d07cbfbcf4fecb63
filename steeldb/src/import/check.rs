//! Is what all replicas hold what the source held? The replicas' own digests (those of `steeldb verify`) are compared with
//! digests of the source's rows, made in the same way at the import's snapshot.

use std::pin::pin;
use std::time::Duration;

use client_shim::Shim;
use cluster::Cluster;
use consensus::Digest;
use futures::TryStreamExt;
use pgsession::MultisetHash;
use tokio_postgres::Client;

use super::source::{Sequence, Source, Table};
use super::sql_error;
use crate::audit::Audit;
use crate::failure::Failure;
use crate::progress::Progress;

/// The rows of a table: how many, and their digest.
pub type Content = (u64, Digest);

/// What the source holds at its snapshot.
pub async fn digests(
    source: &Source,
    tables: &[Table],
    progress: &Progress,
) -> Result<Vec<(String, Content)>, Failure> {
    let mut contents = Vec::with_capacity(tables.len());
    for (place, table) in tables.iter().enumerate() {
        progress.step(format!(
            "digest {} of {}: {}",
            place + 1,
            tables.len(),
            table.name
        ));
        let content = digest(&source.client, &table.name)
            .await
            .map_err(|error| sql_error(&format!("table {} cannot be read", table.name), &error))?;
        contents.push((table.name.clone(), content));
    }
    Ok(contents)
}

/// As replicas digest a table: see `replica/src/executor/audit.rs`.
async fn digest(client: &Client, table: &str) -> Result<Content, tokio_postgres::Error> {
    let query =
        format!("SELECT pg_catalog.record_out(x.*)::pg_catalog.text FROM ONLY {table} AS x");
    let rows = client.query_raw(&query, Vec::<i32>::new()).await?;
    let mut rows = pin!(rows);
    let mut hash = MultisetHash::new();
    while let Some(row) = rows.try_next().await? {
        hash.add(row.try_get::<_, &str>(0)?.as_bytes());
    }
    Ok((hash.count().unsigned_abs(), Digest(hash.finish())))
}

/// Has all replicas digest what they hold, at one height.
pub async fn audit(
    shim: &Shim,
    cluster: &Cluster,
    patience: Duration,
    progress: &Progress,
) -> Result<Audit, Failure> {
    progress.step("the replicas read their tables");
    let reports = shim.audit(patience).await.map_err(|error| {
        Failure::new("the replicas cannot be compared").cause(format!("{error}"))
    })?;
    Ok(Audit::new(cluster, &reports))
}

/// What differs, a line each; empty when all replicas hold what the source held.
pub fn differences(contents: &[(String, Content)], audit: &Audit) -> Vec<String> {
    let mut lines = audit.troubles();
    for (name, (rows, digest)) in contents {
        let held = audit.tables.iter().find(|table| table.name == *name);
        // Replicas that differ from each other are named already.
        let held = held.and_then(|table| table.versions.first());
        match held.and_then(|version| version.content) {
            Some(content) if content == (*rows, *digest) => {}
            Some((found, _)) if found != *rows => lines.push(format!(
                "table {name}: the source held {rows} rows, the cluster holds {found}"
            )),
            Some(_) => lines.push(format!(
                "table {name}: {rows} rows on both sides, but not the same ones"
            )),
            None => lines.push(format!("table {name}: the cluster has no such table")),
        }
    }
    lines
}

/// Sequences that stand behind the source's.
pub async fn sequences(client: &Client, wanted: &[Sequence]) -> Result<Vec<String>, Failure> {
    let mut behind = Vec::new();
    for sequence in wanted {
        let query = format!("SELECT last_value, is_called FROM {}", sequence.name);
        let row = client.query_one(&query, &[]).await.map_err(|error| {
            sql_error(
                &format!("sequence {} cannot be read", sequence.name),
                &error,
            )
        })?;
        let (last, called): (i64, bool) = (row.get(0), row.get(1));
        if is_behind(sequence, last, called) {
            behind.push(format!(
                "sequence {}: it stands at {last}, the source's at {}",
                sequence.name, sequence.last
            ));
        }
    }
    Ok(behind)
}

/// Whether it could give a value that the source has given.
fn is_behind(sequence: &Sequence, last: i64, called: bool) -> bool {
    let equal = last == sequence.last;
    let before = match sequence.ascending {
        true => last < sequence.last,
        false => last > sequence.last,
    };
    before || equal && sequence.called && !called
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Table as Audited, Version};

    fn audited(name: &str, contents: &[(u64, u8)]) -> Audited {
        let version = |(place, (rows, digest)): (usize, &(u64, u8))| Version {
            content: Some((*rows, Digest([*digest; 32]))),
            replicas: vec![place as u16],
        };
        Audited {
            name: name.into(),
            versions: contents.iter().enumerate().map(version).collect(),
        }
    }

    fn held(tables: Vec<Audited>) -> Audit {
        Audit {
            height: 1,
            tables,
            missing: Default::default(),
            unreadable: Default::default(),
        }
    }

    #[test]
    fn a_table_that_differs_in_any_way_is_named() {
        let source = [
            ("public.a".to_owned(), (2, Digest([1; 32]))),
            ("public.b".to_owned(), (3, Digest([2; 32]))),
        ];
        let equal = held(vec![
            audited("public.a", &[(2, 1)]),
            audited("public.b", &[(3, 2)]),
        ]);
        assert!(differences(&source, &equal).is_empty());
        for (tables, said) in [
            (
                vec![audited("public.a", &[(2, 1)])],
                "public.b: the cluster has no such",
            ),
            (
                vec![
                    audited("public.a", &[(2, 9)]),
                    audited("public.b", &[(3, 2)]),
                ],
                "public.a: 2 rows on both sides",
            ),
            (
                vec![
                    audited("public.a", &[(2, 1)]),
                    audited("public.b", &[(4, 2)]),
                ],
                "public.b: the source held 3 rows, the cluster holds 4",
            ),
            (
                vec![
                    audited("public.a", &[(2, 1), (2, 7)]),
                    audited("public.b", &[(3, 2)]),
                ],
                "public.a differs",
            ),
        ] {
            let lines = differences(&source, &held(tables));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(said), "{lines:?}");
        }
    }

    #[test]
    fn a_sequence_may_be_ahead_and_never_behind() {
        let at = |last, called, ascending| Sequence {
            name: "s".into(),
            last,
            called,
            ascending,
        };
        assert!(!is_behind(&at(5, true, true), 5, true));
        assert!(!is_behind(&at(5, true, true), 9, false));
        assert!(!is_behind(&at(5, false, true), 5, true));
        assert!(is_behind(&at(5, true, true), 5, false));
        assert!(is_behind(&at(5, true, true), 4, true));
        assert!(is_behind(&at(-5, true, false), -4, true));
        assert!(!is_behind(&at(-5, true, false), -6, true));
    }
}
