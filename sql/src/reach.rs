//! What no statement may reach, wherever it stands in the text: the schema `steel`, temporary schemas,
//! functions whose effects or answers are not the same everywhere.
//!
//! PostgreSQL's own privileges are the wall (dynamic SQL passes by here); this gives the early, clear answer.

use crate::lexer::TokenKind;
use crate::reader::{denied, unsupported};
use crate::settings;
use crate::statement::Refusal;
use crate::tokens::Tokens;

/// # Errors
/// The refusal of the first thing out of reach.
pub(crate) fn check(tokens: Tokens<'_>) -> Result<(), Refusal> {
    for i in 0..tokens.len() {
        match tokens.kind(i) {
            Some(TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted) => {}
            _ => continue,
        }
        schema(tokens, i)?;
        if tokens.symbol(tokens.after(i), "(") {
            call(tokens, i)?;
        }
    }
    Ok(())
}

fn schema(tokens: Tokens<'_>, i: usize) -> Result<(), Refusal> {
    let first = tokens
        .text(i)
        .trim_start_matches(['"', 'u', 'U', '&'])
        .as_bytes()
        .first()
        .copied();
    if !matches!(first, Some(b's' | b'S' | b'p' | b'P' | b'\\'))
        && tokens.kind(i) != Some(TokenKind::UnicodeQuoted)
    {
        return Ok(());
    }
    let Some(name) = tokens.name(i) else {
        return Ok(());
    };
    let qualifies = tokens.symbol(tokens.after(i), ".") && (i == 0 || !tokens.symbol(i - 1, "."));
    let after = |words: &[&str]| {
        i.checked_sub(words.len())
            .is_some_and(|start| tokens.words(start, words))
    };
    let named = after(&["schema"])
        || after(&["schema", "if", "exists"])
        || after(&["schema", "if", "not", "exists"]);
    match name.as_str() {
        "steel" if qualifies || named => Err(denied(
            "for schema steel",
            "The schema steel belongs to SteelDB itself.",
        )),
        "pg_temp" if qualifies => Err(unsupported("a temporary table", TEMPORARY)),
        "session_replication_role" if tokens.symbol(i + 1, "=") || tokens.word(i + 1, "to") => {
            Err(denied("to set parameter \"session_replication_role\"", ""))
        }
        _ => Ok(()),
    }
}

pub(crate) const TEMPORARY: &str = "Use an ordinary table, a CTE (WITH …), or an array.";

fn call(tokens: Tokens<'_>, i: usize) -> Result<(), Refusal> {
    if i > 0 && tokens.symbol(i - 1, ".") && !(i > 1 && tokens.word(i - 2, "pg_catalog")) {
        return Ok(());
    }
    let Some(name) = tokens.name(i) else {
        return Ok(());
    };
    if let Some(hint) = forbidden(&name) {
        return Err(unsupported(&format!("the function {name}"), hint));
    }
    if name == "set_config"
        && let Some(setting) = tokens.string(i + 2)
    {
        settings::check(
            &setting.to_ascii_lowercase(),
            Some(tokens.string(i + 4).as_deref().unwrap_or_default()),
        )
        .or_else(|refusal| {
            match tokens.is_string(i + 4) || setting.to_ascii_lowercase().starts_with("steel.") {
                true => Err(refusal),
                // The value is not a constant: PostgreSQL and the proxy see what it is.
                false => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Why a built-in function is refused, as a hint; `None` for all others.
fn forbidden(name: &str) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["pg_advisory_", "pg_try_advisory_"]) {
        Some("Lock a row that stands for the thing (SELECT … FOR UPDATE).")
    } else if name == "pg_notify" {
        Some("Write to a table and poll it.")
    } else if LARGE_OBJECTS.contains(&name) {
        Some("Store the bytes in a bytea column.")
    } else if starts(&[
        "pg_read_",
        "pg_ls_",
        "pg_stat_file",
        "pg_current_logfile",
        "pg_file_",
    ]) {
        Some("Read the file in the client and send its contents.")
    } else if matches!(name, "pg_terminate_backend" | "pg_cancel_backend") {
        Some("Cancel from the client that runs the statement, or use steeldb's own commands.")
    } else if starts(&[
        "pg_logical_",
        "pg_replication_",
        "pg_create_logical",
        "pg_create_physical",
        "pg_drop_replication",
        "pg_copy_logical",
        "pg_copy_physical",
    ]) {
        Some("Replication is SteelDB's own work.")
    } else if OPERATIONS.contains(&name) {
        Some("Operating the servers is SteelDB's own work; see steeldb --help.")
    } else if matches!(
        name,
        "brin_summarize_new_values"
            | "brin_summarize_range"
            | "brin_desummarize_range"
            | "gin_clean_pending_list"
    ) {
        Some("VACUUM of the table does it, at all replicas.")
    } else if starts(&["dblink"]) {
        Some("Other servers cannot take part in a transaction; connect to them from the client.")
    } else {
        None
    }
}

const LARGE_OBJECTS: &[&str] = &[
    "lo_create",
    "lo_creat",
    "lo_import",
    "lo_export",
    "lo_open",
    "lo_close",
    "lo_unlink",
    "lo_from_bytea",
    "lo_get",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_lseek",
    "lo_lseek64",
    "lo_tell",
    "lo_tell64",
    "lo_manage",
    "loread",
    "lowrite",
];

const OPERATIONS: &[&str] = &[
    "pg_export_snapshot",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_switch_wal",
    "pg_create_restore_point",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_promote",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "pg_log_backend_memory_contexts",
    "pg_log_standby_snapshot",
    "pg_import_system_collations",
];

/// Functions that execute the SQL text that they are given, in which a function of the user's own can stand.
pub(crate) fn executes_text(name: &str) -> bool {
    name.starts_with("query_to_xml") || matches!(name, "ts_rewrite" | "ts_stat")
}

/// Functions that move a sequence: they make a query a write.
pub(crate) fn moves_sequence(name: &str) -> bool {
    matches!(name, "nextval" | "setval")
}

/// Functions whose result is not the same at every replica by nature: process numbers, transaction numbers, log
/// positions, sizes on disk.
pub(crate) fn is_physical(name: &str) -> bool {
    name.starts_with("txid_")
        || name == "currtid2"
        || matches!(
            name,
            "inet_client_addr" | "inet_client_port" | "inet_server_addr" | "inet_server_port"
        )
        || name.starts_with("pg_stat_get_")
        || name.starts_with("pg_current_")
        || name.starts_with("pg_last_")
        || name.starts_with("pg_snapshot_")
        || name.starts_with("pg_wal_")
        || (name.starts_with("pg_") && name.ends_with("_size"))
        || matches!(
            name,
            "pg_backend_pid"
                | "pg_blocking_pids"
                | "pg_lock_status"
                | "pg_relation_filenode"
                | "pg_relation_filepath"
                | "pg_postmaster_start_time"
                | "pg_conf_load_time"
                | "pg_xact_status"
                | "pg_xact_commit_timestamp"
                | "pg_control_system"
                | "pg_control_checkpoint"
                | "pg_control_init"
                | "pg_control_recovery"
        )
}

/// Built-in `pg_…` functions whose result depends on their arguments only.
const PLAIN: &[&str] = &[
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_typeof",
    "pg_size_pretty",
    "pg_size_bytes",
    "pg_char_to_encoding",
    "pg_encoding_to_char",
    "pg_client_encoding",
    "pg_collation_for",
    "pg_input_is_valid",
    "pg_get_serial_sequence",
];

/// Functions that read catalogs or the server's state: a query that calls one is answered by the master alone.
pub(crate) fn reads_catalog(name: &str) -> bool {
    is_physical(name)
        || (name.starts_with("pg_") && !PLAIN.contains(&name))
        || (name.starts_with("to_reg"))
        || matches!(
            name,
            "has_table_privilege"
                | "obj_description"
                | "col_description"
                | "shobj_description"
                | "format_type"
                | "version"
        )
}

/// Columns that every table has and that tell of the storage.
pub(crate) const SYSTEM_COLUMNS: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Types whose values are OIDs, transaction numbers or addresses.
pub(crate) const PHYSICAL_TYPES: &[&str] = &[
    "regclass",
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regtype",
    "regrole",
    "regnamespace",
    "regcollation",
    "oid",
    "xid",
    "xid8",
    "tid",
    "cid",
    "pg_lsn",
    "pg_snapshot",
    "txid_snapshot",
];
