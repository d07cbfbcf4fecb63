//! What is executed of a statement that skips: the query alone, its check, and the whole as a plain lock.

use super::{Query, Skipping};
use crate::splice::Splices;

impl Skipping {
    /// The table whose rows are locked, as the statement names it.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The locking query alone, which skips, with the key's columns behind its own. `within`: among these keys only.
    pub fn claim(&self, key: &[String], within: Option<&[Vec<String>]>) -> Query {
        self.query(key, within, true)
    }

    /// The same query as a plain lock of exactly these rows: who runs it at the same state finds the same keys. Without its LIMIT:
    /// where a join names one row several times, which of them the master got is timing too.
    pub fn check(&self, key: &[String], rows: &[Vec<String>]) -> Query {
        self.query(key, Some(rows), false)
    }

    /// The statement as a plain lock, of these rows only if they are known.
    pub fn replay(&self, claims: Option<(&[String], &[Vec<String>])>) -> String {
        let mut splices = Splices::default();
        splices.replace(self.skip_locked.clone(), "");
        if let Some((key, rows)) = claims {
            self.restrict(key, rows, &mut splices);
        }
        splices.apply(&self.source, 0..self.source.len(), 0).0
    }

    fn query(&self, key: &[String], within: Option<&[Vec<String>]>, skips: bool) -> Query {
        let mut splices = Splices::default();
        let mut columns = String::new();
        for (number, column) in key.iter().enumerate() {
            columns += &format!(", {}.{} AS steel_key_{number}", self.alias, quoted(column));
        }
        splices.insert(self.list_end, columns);
        let mut gone = 0..0;
        if !skips {
            splices.replace(self.skip_locked.clone(), "");
            if let Some(limit) = &self.limit {
                gone = limit.clone();
                splices.replace(limit.clone(), "");
            }
        }
        if let Some(rows) = within {
            self.restrict(key, rows, &mut splices);
        }
        let used = self.parameters.iter();
        let used: Vec<_> = used
            .filter(|(place, _)| !gone.contains(&place.start))
            .collect();
        let mut parameters: Vec<usize> = used.iter().map(|(_, n)| *n).collect();
        parameters.sort_unstable();
        parameters.dedup();
        for (place, number) in used {
            let at = parameters.binary_search(number).unwrap_or_default();
            splices.replace(place.clone(), format!("${}", at + 1));
        }
        let (text, _) = splices.apply(&self.source, self.query.clone(), 0);
        Query { text, parameters }
    }

    fn restrict(&self, key: &[String], rows: &[Vec<String>], splices: &mut Splices) {
        let among = self.among(key, rows);
        match &self.condition {
            Some(condition) => {
                splices.insert(condition.start, "(");
                splices.insert(condition.end, format!(") AND ({among})"));
            }
            None => splices.insert(self.from_end, format!(" WHERE ({among})")),
        }
    }

    /// Untyped constants, which PostgreSQL reads as what the columns are, so that it can use the key's index.
    fn among(&self, key: &[String], rows: &[Vec<String>]) -> String {
        if rows.is_empty() {
            return "false".into();
        }
        let list = |items: Vec<String>| match items.len() {
            1 => items.concat(),
            _ => format!("({})", items.join(", ")),
        };
        let column = |name: &String| format!("{}.{}", self.alias, quoted(name));
        let row = |values: &Vec<String>| list(values.iter().map(|v| constant(v)).collect());
        let columns = list(key.iter().map(column).collect());
        let rows: Vec<String> = rows.iter().map(row).collect();
        format!("{columns} IN ({})", rows.join(", "))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn constant(value: &str) -> String {
    let plain = value.replace('\'', "''");
    match plain.contains('\\') {
        true => format!("E'{}'", plain.replace('\\', "\\\\")),
        false => format!("'{plain}'"),
    }
}
