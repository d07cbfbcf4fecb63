//! What the replicas and their servers hold, and what must be so.

use crate::Cluster;
use client_shim::{AuditReport, ReplicaStatus};
use consensus::{Change, ReplicaId, Step};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

impl Cluster {
    /// What every replica's own server answers, in this order.
    pub async fn everywhere(&self, sql: &str) -> Vec<Vec<String>> {
        self.settle().await;
        let mut answers = Vec::new();
        for replica in 0..4 {
            answers.push(column(&self.at(replica).await, sql).await.unwrap());
        }
        answers
    }

    /// Asserts that every replica's own server holds exactly these values.
    pub async fn hold(&self, sql: &str, values: &[&str]) {
        for (replica, found) in self.everywhere(sql).await.iter().enumerate() {
            assert_eq!(found, values, "{sql} at replica {replica}");
        }
    }

    pub async fn statuses(&self) -> BTreeMap<ReplicaId, ReplicaStatus> {
        self.operator.statuses(Duration::from_secs(5)).await
    }

    /// Waits until every replica has applied what any of them has decided.
    pub async fn settle(&self) {
        let until = Instant::now() + crate::PATIENCE;
        loop {
            let statuses = self.statuses().await;
            let decided = statuses.values().map(|s| s.decided).max();
            if statuses.len() == 4 && statuses.values().all(|s| Some(s.applied) == decided) {
                return;
            }
            let ended = self.ended.lock().unwrap().clone();
            assert!(
                Instant::now() < until,
                "the replicas do not settle: {ended:?} {statuses:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// (commits, aborts, adoptions) of each replica so far.
    pub async fn verdicts(&self) -> Vec<(u64, u64, u64)> {
        self.settle().await;
        self.statuses()
            .await
            .into_values()
            .map(|s| s.verdicts)
            .collect()
    }

    /// Asserts that all four replicas hold the same tables at one height.
    pub async fn audit(&self) {
        let reports = self.operator.audit(crate::PATIENCE).await.unwrap();
        assert_eq!(reports.len(), 4, "every replica answers the audit");
        let first = &reports[&ReplicaId(0)];
        for (replica, report) in &reports {
            assert_eq!(report.error, None, "replica {replica}");
            assert_eq!(report.height, first.height, "replica {replica}");
            assert_eq!(contents(report), contents(first), "replica {replica}");
        }
    }
}

/// First column of a simple query's rows.
pub async fn column(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let values = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    Ok(values.collect())
}

impl Cluster {
    /// Has an administrator move the master, and waits until it is.
    pub async fn move_master(&self, to: u16) {
        let change = Change {
            base: 0,
            steps: vec![Step::MoveMaster {
                replica: ReplicaId(to),
                drain_ms: 5_000,
            }],
        };
        let administrator = self.administrator().await;
        administrator.reconfigure(&change).await.unwrap();
        let until = Instant::now() + crate::PATIENCE;
        while self.statuses().await.values().any(|s| s.master != to) {
            assert!(Instant::now() < until, "the master moves");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The epoch at every replica, once all agree.
    pub async fn epoch(&self) -> u64 {
        self.settle().await;
        let statuses = self.statuses().await;
        let epochs: Vec<u64> = statuses.values().map(|status| status.epoch).collect();
        assert_eq!(epochs.len(), 4);
        assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
        epochs[0]
    }
}

/// SQLSTATE and DETAIL of what must have failed.
pub fn failure<T: std::fmt::Debug>(result: Result<T, tokio_postgres::Error>) -> (String, String) {
    let error = result.expect_err("this must fail");
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not an error of the server: {error}"));
    (
        error.code().code().to_owned(),
        error.detail().unwrap_or_default().to_owned(),
    )
}

type Contents = Vec<(String, u64, String)>;

fn contents(report: &AuditReport) -> Contents {
    let tables = report.tables.iter();
    tables
        .map(|(name, rows, digest)| (name.clone(), *rows, digest.to_string()))
        .collect()
}
