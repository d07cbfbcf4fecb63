//! Which reports of a statement last. A trigger's report has left before an EXCEPTION block around it fails, and nothing
//! calls it back; so reports are numbered by a count that a subtransaction's end takes back (`migrations/sql/V20`).

use super::opening::quiet;
use pgsession::{Outcome, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the count stood after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Nobody asked.
    Unasked,
    /// The number of the last report that lasts; `None`: nothing is counted any more.
    Stands(Option<i64>),
}

/// Why it cannot be told which reports last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("some rows were changed by a function, and the count of reports was not asked for")]
    Doubtful,
    #[error("the count of reports was begun anew within the statement")]
    Reset,
}

/// What is known of a report's place.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number.
    pub at: Option<i64>,
    /// Code of a client called for it, which an EXCEPTION block may hold.
    pub nested: bool,
}

/// Asks where the count stands.
pub fn ask() -> Statement {
    quiet("SELECT steel.journal()")
}

impl Journal {
    /// The answer to [`ask`].
    pub fn of(answer: &Outcome) -> Journal {
        Journal::Stands(answer.scalar().and_then(|number| number.parse().ok()))
    }
}

/// Whether functions of clients change rows here. Then judging asks after each statement in its pipeline; else it runs again
/// when the first such report came. It saves those who have none 0.02 ms a statement, and decides nothing.
#[derive(Clone, Default)]
pub struct Habit(Arc<AtomicBool>);

impl Habit {
    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn see(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether code of a client stands between the statement and the report: all but the report itself (a function of `steel` that a
/// capture trigger called) and what foreign keys run by themselves. In another language than English everything seems to.
pub fn is_nested(context: &[u8]) -> bool {
    let mut entries = context.split(|&byte| byte == b'\n');
    let own: [&[u8]; 3] = [
        b"PL/pgSQL function steel.report_",
        b"SQL statement \"SELECT steel.report_",
        b"PL/pgSQL function steel.capture_",
    ];
    let by_trigger = own
        .iter()
        .all(|start| entries.next().is_some_and(|entry| entry.starts_with(start)));
    !by_trigger || entries.any(|entry| !entry.starts_with(b"SQL statement \""))
}

/// Which of a statement's reports last, in their order.
///
/// # Errors
/// When it cannot be told.
pub fn lasting(places: &[Place], journal: Journal) -> Result<Vec<bool>, Fault> {
    if !places.iter().any(|place| place.nested) {
        return Ok(vec![true; places.len()]);
    }
    let Journal::Stands(end) = journal else {
        return Err(Fault::Doubtful);
    };
    let before = places[0].at.ok_or(Fault::Reset)?.saturating_sub(1);
    // Where reports that last so far lie: a stack, since what is taken back are always the latest.
    let mut held: Vec<usize> = Vec::new();
    let cut = |held: &mut Vec<usize>, number: Option<i64>| {
        let depth = number.and_then(|number| number.checked_sub(before));
        let depth = depth.and_then(|depth| usize::try_from(depth).ok());
        let depth = depth.filter(|&depth| depth <= held.len());
        held.truncate(depth.ok_or(Fault::Reset)?);
        Ok(())
    };
    for (place, report) in places.iter().enumerate() {
        let earlier = report.at.and_then(|number| number.checked_sub(1));
        cut(&mut held, earlier)?;
        held.push(place);
    }
    cut(&mut held, end)?;
    let mut last = vec![false; places.len()];
    held.into_iter().for_each(|place| last[place] = true);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(numbers: &[i64]) -> Vec<Place> {
        let place = |&at: &i64| Place {
            at: Some(at),
            nested: true,
        };
        numbers.iter().map(place).collect()
    }

    fn told(numbers: &[i64], end: i64) -> Result<Vec<usize>, Fault> {
        let last = lasting(&nested(numbers), Journal::Stands(Some(end)))?;
        Ok((0..numbers.len()).filter(|&place| last[place]).collect())
    }

    #[test]
    fn what_a_block_took_back_does_not_last() {
        assert_eq!(told(&[8, 9, 10], 10), Ok(vec![0, 1, 2]));
        // The block of the second report failed, and the third took its number.
        assert_eq!(told(&[8, 9, 9], 9), Ok(vec![0, 2]));
        // A block within one that failed.
        assert_eq!(told(&[8, 9, 10, 11, 9], 9), Ok(vec![0, 4]));
        // The last one failed, and everything did.
        assert_eq!(told(&[8, 9], 8), Ok(vec![0]));
        assert_eq!(told(&[8, 9, 8], 7), Ok(vec![]));
    }

    #[test]
    fn a_count_that_was_begun_anew_is_noticed() {
        for (numbers, end) in [
            (&[8, 9][..], 6),
            (&[8, 9], 10),
            (&[8, 10], 10),
            (&[8, 7], 8),
            (&[8, i64::MIN], 8),
            (&[i64::MIN], i64::MAX),
        ] {
            assert_eq!(told(numbers, end), Err(Fault::Reset), "{numbers:?} {end}");
        }
        let reset = lasting(&nested(&[8]), Journal::Stands(None));
        assert_eq!(reset, Err(Fault::Reset));
        let mut uncounted = nested(&[8, 9]);
        uncounted[1].at = None;
        let reset = lasting(&uncounted, Journal::Stands(Some(8)));
        assert_eq!(reset, Err(Fault::Reset));
    }

    #[test]
    fn only_what_a_clients_code_did_is_asked_about() {
        let own = "PL/pgSQL function steel.report_rows(text,text,text[],text[],boolean) line 3 at RAISE\n\
            SQL statement \"SELECT steel.report_rows(relation, 'D', o, n, true)\"\n\
            PL/pgSQL function steel.capture_delete() line 19 at PERFORM";
        let key = "\nSQL statement \"DELETE FROM ONLY \"public\".\"c\" WHERE $1 OPERATOR(pg_catalog.=) \"p\"\"";
        assert!(!is_nested(own.as_bytes()));
        assert!(!is_nested(format!("{own}{key}{key}").as_bytes()));
        for more in [
            "\nSQL statement \"DELETE FROM t\"\nPL/pgSQL function f() line 1 at SQL statement",
            "\nSQL function \"f\" statement 1",
            // A name of the client's.
            "\nPL/pgSQL function steel.capture_delete() line 19 at PERFORM",
            "\n",
        ] {
            assert!(is_nested(format!("{own}{more}").as_bytes()), "{more}");
        }
        assert!(is_nested(b""));
        let places = [Place {
            at: None,
            nested: false,
        }];
        assert_eq!(lasting(&places, Journal::Unasked), Ok(vec![true]));
        assert_eq!(
            lasting(&nested(&[1]), Journal::Unasked),
            Err(Fault::Doubtful)
        );
    }
}
