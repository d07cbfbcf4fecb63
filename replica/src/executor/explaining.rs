//! Why an answer differs, where the statement's own text does not tell: functions that it calls may take rows in the order in which a
//! server finds them.

use super::jobs::{Bench, steps_of};
use super::judge::Report;
use super::opening::array;
use pgsession::Statement;
use sql::{Doubt, Reached};
use std::collections::BTreeSet;
use std::fmt::Write;
use txn::Ordered;

/// The functions of users by their names, and those that the triggers of these tables call: what each is called in full, and its body.
const BODIES: &str = "SELECT p.oid::pg_catalog.regprocedure::text, coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE l.lanname IN ('sql', 'plpgsql') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steel')
     AND (p.proname = ANY ($1::text[])
          OR p.oid IN (SELECT t.tgfoid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
                        WHERE NOT t.tgisinternal AND c.relname = ANY ($2::text[])))
   ORDER BY 1 LIMIT 64";
/// Functions that call functions are followed so far.
const DEEP: usize = 4;

impl Bench {
    /// Adds to a report which functions of the statement may be the cause, and what their author can do.
    pub(super) async fn explained(&self, ordered: &Ordered, mut report: Report) -> Report {
        let Some(step) = report.unexplained.and_then(|at| steps_of(ordered).get(at)) else {
            return report;
        };
        let found = self
            .doubtful_functions(sql::reached(&step.operation.sql))
            .await;
        let Some(reason) = report.reason.as_mut() else {
            return report;
        };
        match found {
            Ok(found) => {
                for (function, doubts) in found {
                    // Writing to a string cannot fail.
                    let _ = write!(reason.detail, " In {function}:");
                    for doubt in doubts {
                        let _ = write!(reason.detail, " {}", doubt.advice());
                    }
                }
            }
            Err(error) => tracing::debug!(error, "functions could not be looked at"),
        }
        report
    }

    async fn doubtful_functions(
        &self,
        mut next: Reached,
    ) -> Result<Vec<(String, BTreeSet<Doubt>)>, String> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for _ in 0..DEEP {
            let mut reached = Reached::default();
            for (function, body) in self.bodies(&next).await? {
                if !seen.insert(function.clone()) {
                    continue;
                }
                let inner = sql::reached(&body);
                reached.functions.extend(inner.functions);
                reached.relations.extend(inner.relations);
                let doubts = sql::doubts(&body);
                if !doubts.is_empty() {
                    found.push((function, doubts));
                }
            }
            next = reached;
        }
        // A client reads this: the first ones are enough.
        found.truncate(4);
        Ok(found)
    }

    async fn bodies(&self, reached: &Reached) -> Result<Vec<(String, String)>, String> {
        if reached.functions.is_empty() && reached.relations.is_empty() {
            return Ok(Vec::new());
        }
        let names = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().cloned().collect();
            Some(array(&names).into())
        };
        let asked = Statement {
            sql: BODIES.into(),
            parameter_types: vec![1009, 1009],
            parameters: vec![names(&reached.functions), names(&reached.relations)],
            ..Statement::default()
        };
        let rows = self.ask(asked).await?;
        let text = |value: &Option<bytes::Bytes>| {
            value
                .as_ref()
                .map(|v| String::from_utf8_lossy(v).into_owned())
        };
        let pair = |row: Vec<Option<bytes::Bytes>>| Some((text(row.first()?)?, text(row.get(1)?)?));
        Ok(rows.into_iter().filter_map(pair).collect())
    }
}
