//! A chunk by INSERTs of many rows in one transaction.

use tokio_postgres::Client;

/// Rows of one statement.
const ROWS: usize = 500;

/// `text` is what a COPY would take.
pub async fn send(
    client: &mut Client,
    table: &str,
    text: &[u8],
) -> Result<(), tokio_postgres::Error> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let lines: Vec<&[u8]> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let transaction = client.transaction().await?;
    for rows in lines.chunks(ROWS) {
        transaction.batch_execute(&statement(table, rows)).await?;
    }
    transaction.commit().await
}

fn statement(table: &str, rows: &[&[u8]]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| values(row)).collect();
    format!("INSERT INTO {table} VALUES {}", rows.join(", "))
}

/// The rows of this crate hold no character that COPY would escape but the mark of NULL.
fn values(row: &[u8]) -> String {
    let row = String::from_utf8_lossy(row);
    let field = |field: &str| match field {
        "\\N" => "NULL".to_owned(),
        text => format!("'{}'", text.replace('\'', "''")),
    };
    let fields: Vec<String> = row.split('\t').map(field).collect();
    format!("({})", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::chunk;
    use super::super::rows;
    use super::*;

    #[test]
    fn rows_become_values() {
        let rows: [&[u8]; 2] = [b"1\t\\N\tit's", b"2\t3.50\tx"];
        assert_eq!(
            statement("t", &rows),
            "INSERT INTO t VALUES ('1', NULL, 'it''s'), ('2', '3.50', 'x')"
        );
    }

    #[test]
    fn no_row_needs_more_than_the_mark_of_null() {
        for chunk in chunk::all(1) {
            let text = rows::text(chunk, 1, 1);
            let backslashes = text.matches('\\').count();
            assert_eq!(backslashes, text.matches("\\N").count(), "{chunk:?}");
        }
    }
}
