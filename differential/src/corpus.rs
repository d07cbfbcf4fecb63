//! How the files of `corpus/` are read.
//!
//! A case is what is sent as one string: it ends with the first line that ends in a semicolon outside of a `$$` body. So
//! `SELECT 1; SELECT 2;` on one line is one string with two statements. Lines that begin with `--#` say how the case
//! that follows is run and compared; other comment lines between cases are for the reader.

use std::path::Path;

/// One string of SQL, and how it is run and compared.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// File and line, or seed and number.
    pub place: String,
    pub sql: String,
    /// `--# with: a | b`: run with these parameters (NULL for none at all); several lines run the statement as often.
    pub with: Vec<Vec<Option<String>>>,
    /// `--# data: line`: what a COPY FROM STDIN is given; `\t` stands for a tabulator.
    pub data: Option<String>,
    /// `--# fail: reason`: the client gives the COPY up.
    pub fail: Option<String>,
    /// `--# rows: n`: the portal is executed with this limit, again and again until it is done.
    pub rows: Option<u32>,
    /// `--# volatile`: values are compared by their shape.
    pub volatile: bool,
    /// `--# refused: rule`: SteelDB refuses it, by the rule of `docs/sql-support.md` that has these words in it.
    pub refused: Option<String>,
    /// `--# differs: name`: answered differently, for the reason that `docs/sql-support.md` gives under this name.
    pub differs: Option<String>,
    /// `--# majors: name`: majors of PostgreSQL answer it differently, as `docs/versions.md` says under this name.
    pub majors: Option<String>,
}

impl Case {
    pub fn new(place: String, sql: impl Into<String>) -> Case {
        Case {
            place,
            sql: sql.into(),
            ..Case::default()
        }
    }

    /// Statements in it: what is told apart by semicolons at the end of a line's parts, bodies not counted.
    pub fn statements(&self) -> usize {
        match self.is_string() {
            true => self.sql.matches(';').count(),
            false => self.with.len().max(1),
        }
    }

    /// Several statements in one string.
    pub fn is_string(&self) -> bool {
        let sql = self.sql.trim_end().trim_end_matches(';');
        sql.contains("; ") && !sql.contains("$$") && !sql.contains("ATOMIC") && !sql.contains("';")
    }
}

/// All files of the corpus by name, in order.
pub fn read() -> Vec<(String, Vec<Case>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let theme = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let cases = cases(&name, &std::fs::read_to_string(path).unwrap());
        (name, cases)
    };
    paths.iter().map(theme).collect()
}

fn cases(name: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut next = Case::default();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}.sql:{}", number + 1);
        if let Some(directive) = line.strip_prefix("--#") {
            assert!(next.sql.is_empty(), "{place}: inside of a statement");
            direct(&mut next, directive.trim(), &place);
            continue;
        }
        if next.sql.is_empty() && (line.trim().is_empty() || line.starts_with("--")) {
            continue;
        }
        match next.sql.is_empty() {
            true => next.place = place,
            false => next.sql.push('\n'),
        }
        next.sql.push_str(line);
        if is_whole(&next.sql) {
            cases.push(std::mem::take(&mut next));
        }
    }
    assert!(
        next.sql.is_empty(),
        "{name}.sql ends in the middle of {}",
        next.sql
    );
    cases
}

fn is_whole(sql: &str) -> bool {
    let atomic = sql.contains("BEGIN ATOMIC") && !sql.ends_with("END;");
    sql.trim_end().ends_with(';') && sql.matches("$$").count().is_multiple_of(2) && !atomic
}

fn direct(case: &mut Case, directive: &str, place: &str) {
    let (word, rest) = directive.split_once(':').unwrap_or((directive, ""));
    // One space after the colon is no part of the value.
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match word {
        "volatile" => case.volatile = true,
        "refused" => case.refused = Some(rest.to_owned()),
        "differs" => case.differs = Some(rest.to_owned()),
        "majors" => case.majors = Some(rest.to_owned()),
        "with" => {
            let value = |value: &str| (value != "NULL").then(|| value.to_owned());
            case.with.push(rest.split(" | ").map(value).collect());
        }
        "data" => {
            let data = case.data.get_or_insert_default();
            data.push_str(&rest.replace("\\t", "\t"));
            data.push('\n');
        }
        "fail" => case.fail = Some(rest.to_owned()),
        "rows" => case.rows = Some(rest.parse().unwrap()),
        _ => panic!("{place}: no directive: {directive}"),
    }
}

#[test]
fn a_case_ends_with_its_line_outside_of_a_body() {
    let text = "-- a comment\nSELECT 1; SELECT 2;\n--# with: 1 | NULL\nSELECT\n  $1, $2;\nDO $$ BEGIN\nx;\nEND $$;\n";
    let found = cases("t", text);
    let sql: Vec<_> = found.iter().map(|case| case.sql.as_str()).collect();
    assert_eq!(
        sql,
        [
            "SELECT 1; SELECT 2;",
            "SELECT\n  $1, $2;",
            "DO $$ BEGIN\nx;\nEND $$;"
        ]
    );
    assert_eq!(found[1].with, [[Some("1".to_owned()), None]]);
    assert_eq!(found[1].place, "t.sql:4");
    let count = |case: &Case| case.statements();
    assert_eq!(found.iter().map(count).collect::<Vec<_>>(), [2, 1, 1]);
}
