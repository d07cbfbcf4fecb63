//! What a cluster cannot hold of the source, found before anything is changed: by the source's catalogs, and by reading the
//! dumped statements as the proxy and the replicas will read them.

use super::dump;
use super::source::{OWN_SCHEMAS, Source, no_member};
use super::sql_error;
use crate::failure::Failure;
use crate::table::table;

/// Something that is not carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    pub object: String,
    /// Why, and what to do instead.
    pub why: String,
    /// A table without which the others are dumped.
    pub is_table: bool,
}

/// What one query of the catalogs finds: names of objects.
struct Rule {
    kind: &'static str,
    why: &'static str,
    /// Its rows are left out of the dump whole.
    is_table: bool,
    query: String,
}

fn rule(kind: &'static str, why: &'static str, query: String) -> Rule {
    Rule {
        kind,
        why,
        is_table: false,
        query,
    }
}

const QUALIFIED: &str = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident";

/// Everything that the statements of a dump do not show, or show less clearly.
fn rules(superuser: bool) -> Vec<Rule> {
    let in_schema = |catalog: &str, name: &str, schema: &str, condition: &str| {
        format!(
            "SELECT {QUALIFIED}(x.{name}) FROM pg_catalog.{catalog} x JOIN pg_catalog.pg_namespace n ON n.oid = x.{schema}
              WHERE {OWN_SCHEMAS} AND {} AND ({condition}) ORDER BY 1",
            no_member(catalog, "x")
        )
    };
    let mut rules = vec![
        rule(
            "schema",
            "SteelDB keeps its own means in a schema of this name; rename it",
            "SELECT pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE nspname = 'steel'".into(),
        ),
        rule(
            "large object",
            "large objects are not replicated; store the bytes in a bytea column",
            "SELECT oid::text FROM pg_catalog.pg_largeobject_metadata ORDER BY oid".into(),
        ),
        Rule {
            is_table: true,
            ..rule(
                "unlogged table",
                "a crash would empty it at one replica only; ALTER TABLE … SET LOGGED",
                in_schema("pg_class", "relname", "relnamespace", "x.relkind = 'r' AND x.relpersistence = 'u'"),
            )
        },
        Rule {
            is_table: true,
            ..rule(
                "foreign table",
                "other servers cannot take part in a transaction; copy its rows into a table",
                in_schema("pg_class", "relname", "relnamespace", "x.relkind = 'f'"),
            )
        },
        Rule {
            is_table: true,
            ..rule(
                "table with another access method",
                "only heap tables are replicated; ALTER TABLE … SET ACCESS METHOD heap",
                in_schema(
                    "pg_class",
                    "relname",
                    "relnamespace",
                    "x.relkind IN ('r', 'm') AND x.relam <> (SELECT a.oid FROM pg_catalog.pg_am a WHERE a.amname = 'heap')",
                ),
            )
        },
        rule(
            "foreign server",
            "other servers cannot take part in a transaction",
            "SELECT pg_catalog.quote_ident(srvname) FROM pg_catalog.pg_foreign_server ORDER BY 1".into(),
        ),
        rule(
            "event trigger",
            "SteelDB itself follows schema changes by event triggers; use ordinary triggers",
            format!("SELECT pg_catalog.quote_ident(x.evtname) FROM pg_catalog.pg_event_trigger x WHERE {} ORDER BY 1", no_member("pg_event_trigger", "x")),
        ),
        rule(
            "publication",
            "every replica already has all data",
            "SELECT pg_catalog.quote_ident(pubname) FROM pg_catalog.pg_publication ORDER BY 1".into(),
        ),
        rule(
            "extension",
            "it is not among those that behave alike at all replicas (docs/operations.md lists them)",
            format!(
                "SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' AND extname <> ALL (ARRAY['{}']) ORDER BY 1",
                migrations::EXTENSIONS.join("', '")
            ),
        ),
        rule(
            "function",
            "it is written in a language other than sql and plpgsql, and nothing can be said of what it does",
            format!(
                "SELECT x.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc x JOIN pg_catalog.pg_namespace n ON n.oid = x.pronamespace
                   JOIN pg_catalog.pg_language l ON l.oid = x.prolang
                  WHERE {OWN_SCHEMAS} AND {} AND x.prokind <> 'a' AND l.lanname NOT IN ('sql', 'plpgsql')
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.objid = x.oid AND i.deptype = 'i'
                                     AND i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
                  ORDER BY 1",
                no_member("pg_proc", "x")
            ),
        ),
        rule(
            "leakproof function",
            "only a superuser may make one; ALTER FUNCTION … NOT LEAKPROOF",
            format!(
                "SELECT x.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc x JOIN pg_catalog.pg_namespace n ON n.oid = x.pronamespace
                  WHERE {OWN_SCHEMAS} AND {} AND x.proleakproof ORDER BY 1",
                no_member("pg_proc", "x")
            ),
        ),
        rule(
            "procedural language",
            "functions are written in sql and plpgsql",
            format!("SELECT pg_catalog.quote_ident(x.lanname) FROM pg_catalog.pg_language x WHERE x.lanispl AND x.lanname <> 'plpgsql' AND {} ORDER BY 1", no_member("pg_language", "x")),
        ),
        rule("base type", "its functions are not sql's", in_schema("pg_type", "typname", "typnamespace", "x.typtype = 'b' AND x.typcategory <> 'A' AND x.typelem = 0")),
        rule("operator class", "only a superuser may make one", in_schema("pg_opclass", "opcname", "opcnamespace", "true")),
        rule("text search parser", "only a superuser may make one", in_schema("pg_ts_parser", "prsname", "prsnamespace", "true")),
        rule("text search template", "only a superuser may make one", in_schema("pg_ts_template", "tmplname", "tmplnamespace", "true")),
        rule(
            "cast without a function",
            "only a superuser may make one",
            format!(
                "SELECT pg_catalog.format_type(x.castsource, NULL) || ' AS ' || pg_catalog.format_type(x.casttarget, NULL) FROM pg_catalog.pg_cast x
                  WHERE x.castmethod <> 'f' AND x.oid >= 16384 AND {} ORDER BY 1",
                no_member("pg_cast", "x")
            ),
        ),
        rule(
            "setting of a database or role",
            "sessions at the replicas are shared; give it to the application's sessions (options in its connection string, SET)",
            "SELECT coalesce('role ' || pg_catalog.quote_ident(r.rolname), 'database') || ': ' || c
               FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
                    LATERAL pg_catalog.unnest(s.setconfig) c
              WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
              ORDER BY 1".into(),
        ),
        rule(
            "role",
            "SteelDB has a role of this name for itself; ALTER ROLE … RENAME",
            "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE rolname = 'steel'".into(),
        ),
        rule(
            "default privileges",
            "all objects belong to postgres here; run ALTER DEFAULT PRIVILEGES as postgres after the import",
            "SELECT 'of role ' || pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_default_acl a JOIN pg_catalog.pg_roles r ON r.oid = a.defaclrole
              WHERE r.rolname <> 'postgres' ORDER BY 1".into(),
        ),
        rule(
            "security label",
            "labels need a provider in the server",
            "SELECT DISTINCT provider FROM pg_catalog.pg_seclabel ORDER BY 1".into(),
        ),
    ];
    if superuser {
        // Others may not read it.
        rules.push(rule(
            "subscription",
            "every replica already has all data",
            "SELECT pg_catalog.quote_ident(subname) FROM pg_catalog.pg_subscription ORDER BY 1"
                .into(),
        ));
    }
    rules
}

/// What the catalogs tell.
pub async fn catalogs(source: &Source) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for rule in rules(source.superuser) {
        let rows = source.client.query(&rule.query, &[]).await;
        let rows = rows.map_err(|error| {
            sql_error(
                &format!("the source cannot be asked for each {}", rule.kind),
                &error,
            )
        })?;
        findings.extend(rows.iter().map(|row| Finding {
            kind: rule.kind,
            object: row.get(0),
            why: rule.why.into(),
            is_table: rule.is_table,
        }));
    }
    Ok(findings)
}

/// What the import does with a statement of the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Executed through the proxy.
    Execute(String),
    /// Done otherwise: extensions and their comments, the schema public, the session authorization of grants.
    Otherwise,
    /// Refused by SteelDB; never sent.
    Refused,
}

/// Reads the statements as the proxy will, and adds what is refused, unless a finding of the catalogs says it already.
pub fn steps(statements: &[String], findings: &mut Vec<Finding>) -> Vec<Step> {
    statements
        .iter()
        .map(|text| {
            if is_done_otherwise(text) {
                return Step::Otherwise;
            }
            match sql::statement(text) {
                Ok(statement) => Step::Execute(statement.text),
                Err(refusal) => {
                    if !findings.iter().any(|finding| names(text, &finding.object)) {
                        findings.push(Finding {
                            kind: "statement",
                            object: head(text),
                            why: format!("{} {}", refusal.message, refusal.hint),
                            is_table: false,
                        });
                    }
                    Step::Refused
                }
            }
        })
        .collect()
}

/// The words with which such a statement begins.
fn is_done_otherwise(text: &str) -> bool {
    [
        "CREATE EXTENSION ",
        "COMMENT ON EXTENSION ",
        "SET SESSION AUTHORIZATION ",
        "RESET SESSION AUTHORIZATION",
        "CREATE SCHEMA public",
    ]
    .iter()
    .any(|begin| text.starts_with(begin))
        // Those of other owners are named by the catalogs.
        || text.starts_with("ALTER DEFAULT PRIVILEGES ")
            && !text.starts_with("ALTER DEFAULT PRIVILEGES FOR ROLE postgres ")
}

/// Whether the statement's head has the object's name as a word of its own.
fn names(text: &str, object: &str) -> bool {
    // A function's arguments are written otherwise in its definition.
    let name = object.split('(').next().unwrap_or(object);
    let head = text.lines().next().unwrap_or_default();
    head.split([' ', '(', ';']).any(|word| word == name)
}

/// The beginning of a statement, for a person to find it by.
pub fn head(text: &str) -> String {
    const CHARACTERS: usize = 90;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// The list for the person at the terminal.
pub fn list(findings: &[Finding]) -> String {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            vec![
                finding.kind.into(),
                finding.object.clone(),
                finding.why.clone(),
            ]
        })
        .collect();
    table(&["NOT CARRIED", "OBJECT", "WHY"], &rows)
}

/// Everything that stands in the way, and the statements' way through it.
pub struct Plan {
    pub findings: Vec<Finding>,
    pub pre: Vec<Step>,
    pub post: Vec<Step>,
    /// Tables that are left out.
    pub left_out: Vec<String>,
}

/// Asks the source for everything; nothing is changed anywhere.
pub async fn plan(source: &Source) -> Result<Plan, Failure> {
    let mut findings = catalogs(source).await?;
    let left_out: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_table)
        .map(|finding| finding.object.clone())
        .collect();
    let pre = dump::statements(source, dump::Section::PreData, &left_out).await?;
    let post = dump::statements(source, dump::Section::PostData, &left_out).await?;
    Ok(Plan {
        pre: steps(&pre, &mut findings),
        post: steps(&post, &mut findings),
        findings,
        left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_statements_are_named_once_and_others_go_their_way() {
        let mut findings = vec![Finding {
            kind: "function",
            object: "public.c_one(integer)".into(),
            why: "C".into(),
            is_table: false,
        }];
        let statements = [
            "CREATE TABLE public.a (id integer)",
            "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public",
            "CREATE FUNCTION public.c_one(integer) RETURNS integer\n    LANGUAGE c AS '$libdir/x', 'one'",
            "ALTER TABLE public.a ENABLE ALWAYS TRIGGER t",
        ]
        .map(str::to_owned);
        let steps = steps(&statements, &mut findings);
        assert_eq!(
            steps,
            [
                Step::Execute(statements[0].clone()),
                Step::Otherwise,
                Step::Refused,
                Step::Refused
            ]
        );
        let said = list(&findings);
        assert_eq!(findings.len(), 2, "{said}");
        assert!(said.contains("ENABLE ALWAYS TRIGGER t"), "{said}");
    }
}
