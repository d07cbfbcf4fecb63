//! The consistency conditions of Clause 3.3.2. Each is a query that returns what breaks it.

use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage, Transaction};

use crate::error::Error;
use crate::report::run::Condition;

/// A condition.
struct Rule {
    rule: &'static str,
    /// Returns nothing where the condition holds.
    sql: &'static str,
}

/// Rows that a query may return: "at least so many" beyond.
const MOST: usize = 100;

/// 1 to 12, in order.
const RULES: [Rule; 12] = [
    Rule {
        rule: "W_YTD is the sum of D_YTD",
        sql: "SELECT w_id, w_ytd, d.ytd FROM warehouse
              LEFT JOIN (SELECT d_w_id, sum(d_ytd) AS ytd FROM district GROUP BY d_w_id) d ON d_w_id = w_id
              WHERE w_ytd IS DISTINCT FROM d.ytd ORDER BY w_id",
    },
    Rule {
        // Where a district has no new order, nothing is said of it.
        rule: "D_NEXT_O_ID - 1 is the greatest O_ID and the greatest NO_O_ID of its district",
        sql: "SELECT d_w_id, d_id, d_next_o_id, o.last AS last_order, n.last AS last_new_order FROM district
              LEFT JOIN (SELECT o_w_id, o_d_id, max(o_id) AS last FROM orders GROUP BY o_w_id, o_d_id) o
                ON o_w_id = d_w_id AND o_d_id = d_id
              LEFT JOIN (SELECT no_w_id, no_d_id, max(no_o_id) AS last FROM new_order GROUP BY no_w_id, no_d_id) n
                ON no_w_id = d_w_id AND no_d_id = d_id
              WHERE d_next_o_id - 1 IS DISTINCT FROM o.last OR d_next_o_id - 1 <> n.last ORDER BY d_w_id, d_id",
    },
    Rule {
        rule: "a district's NO_O_ID have no gaps",
        sql: "SELECT no_w_id, no_d_id, min(no_o_id), max(no_o_id), count(*) FROM new_order GROUP BY no_w_id, no_d_id
              HAVING max(no_o_id) - min(no_o_id) + 1 <> count(*) ORDER BY no_w_id, no_d_id",
    },
    Rule {
        rule: "the sum of a district's O_OL_CNT is the number of its order lines",
        sql: "SELECT d_w_id, d_id, o.lines AS promised, l.lines AS there FROM district
              LEFT JOIN (SELECT o_w_id, o_d_id, sum(o_ol_cnt) AS lines FROM orders GROUP BY o_w_id, o_d_id) o
                ON o_w_id = d_w_id AND o_d_id = d_id
              LEFT JOIN (SELECT ol_w_id, ol_d_id, count(*) AS lines FROM order_line GROUP BY ol_w_id, ol_d_id) l
                ON ol_w_id = d_w_id AND ol_d_id = d_id
              WHERE o.lines IS DISTINCT FROM l.lines ORDER BY d_w_id, d_id",
    },
    Rule {
        rule: "an order has no carrier if and only if it is a new order",
        sql: "SELECT o_w_id, o_d_id, o_id, o_carrier_id, no_o_id FROM orders
              LEFT JOIN new_order ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id
              WHERE (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL) ORDER BY o_w_id, o_d_id, o_id",
    },
    Rule {
        rule: "O_OL_CNT is the number of the order's lines",
        sql: "SELECT o_w_id, o_d_id, o_id, o_ol_cnt, l.lines FROM orders
              LEFT JOIN (SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS lines FROM order_line
                         GROUP BY ol_w_id, ol_d_id, ol_o_id) l
                ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
              WHERE o_ol_cnt IS DISTINCT FROM l.lines ORDER BY o_w_id, o_d_id, o_id",
    },
    Rule {
        rule: "an order line has no delivery date if and only if its order has no carrier",
        sql: "SELECT ol_w_id, ol_d_id, ol_o_id, ol_number, ol_delivery_d, o_carrier_id FROM order_line
              JOIN orders ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id
              WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)
              ORDER BY ol_w_id, ol_d_id, ol_o_id, ol_number",
    },
    Rule {
        rule: "W_YTD is the sum of the warehouse's H_AMOUNT",
        sql: "SELECT w_id, w_ytd, h.amount FROM warehouse
              LEFT JOIN (SELECT h_w_id, sum(h_amount) AS amount FROM history GROUP BY h_w_id) h ON h_w_id = w_id
              WHERE w_ytd IS DISTINCT FROM h.amount ORDER BY w_id",
    },
    Rule {
        rule: "D_YTD is the sum of the district's H_AMOUNT",
        sql: "SELECT d_w_id, d_id, d_ytd, h.amount FROM district
              LEFT JOIN (SELECT h_w_id, h_d_id, sum(h_amount) AS amount FROM history GROUP BY h_w_id, h_d_id) h
                ON h_w_id = d_w_id AND h_d_id = d_id
              WHERE d_ytd IS DISTINCT FROM h.amount ORDER BY d_w_id, d_id",
    },
    Rule {
        rule: "C_BALANCE is the sum of the customer's delivered OL_AMOUNT less that of its H_AMOUNT",
        sql: "SELECT c_w_id, c_d_id, c_id, c_balance, l.amount AS delivered, h.amount AS paid FROM customer
              LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS amount FROM orders
                         JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
                         WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id) l
                ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
              LEFT JOIN (SELECT h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) AS amount FROM history
                         GROUP BY h_c_w_id, h_c_d_id, h_c_id) h
                ON h_c_w_id = c_w_id AND h_c_d_id = c_d_id AND h_c_id = c_id
              WHERE c_balance <> coalesce(l.amount, 0) - coalesce(h.amount, 0) ORDER BY c_w_id, c_d_id, c_id",
    },
    Rule {
        // The clause speaks of the initial population, 2100 delivered orders a district; each DELIVERY adds one there and
        // to a C_DELIVERY_CNT, so that this form holds after a run too.
        rule: "a district's orders less its new orders are 2100 and its customers' C_DELIVERY_CNT",
        sql: "SELECT d_w_id, d_id, o.count AS orders, n.count AS new_orders, c.delivered FROM district
              LEFT JOIN (SELECT o_w_id, o_d_id, count(*) AS count FROM orders GROUP BY o_w_id, o_d_id) o
                ON o_w_id = d_w_id AND o_d_id = d_id
              LEFT JOIN (SELECT no_w_id, no_d_id, count(*) AS count FROM new_order GROUP BY no_w_id, no_d_id) n
                ON no_w_id = d_w_id AND no_d_id = d_id
              LEFT JOIN (SELECT c_w_id, c_d_id, sum(c_delivery_cnt) AS delivered FROM customer
                         GROUP BY c_w_id, c_d_id) c ON c_w_id = d_w_id AND c_d_id = d_id
              WHERE coalesce(o.count, 0) - coalesce(n.count, 0) <> 2100 + coalesce(c.delivered, 0)
              ORDER BY d_w_id, d_id",
    },
    Rule {
        rule: "C_BALANCE + C_YTD_PAYMENT is the sum of the customer's delivered OL_AMOUNT",
        sql: "SELECT c_w_id, c_d_id, c_id, c_balance, c_ytd_payment, l.amount AS delivered FROM customer
              LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS amount FROM orders
                         JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
                         WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id) l
                ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
              WHERE c_balance + c_ytd_payment <> coalesce(l.amount, 0) ORDER BY c_w_id, c_d_id, c_id",
    },
];

/// Asks for all twelve in one snapshot.
pub async fn check(client: &mut Client) -> Result<Vec<Condition>, Error> {
    let failed = || Error::database("the transaction that checks the conditions");
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed())?;
    let conditions = ask(&transaction).await?;
    transaction.commit().await.map_err(failed())?;
    Ok(conditions)
}

/// Asks for all twelve in a transaction, which may have done damage first.
#[doc(hidden)]
pub async fn ask(transaction: &Transaction<'_>) -> Result<Vec<Condition>, Error> {
    let mut conditions = Vec::with_capacity(RULES.len());
    for (number, Rule { rule, sql }) in (1..).zip(RULES) {
        // Values as text: one way for all queries.
        let messages = transaction
            .simple_query(&format!("{sql} LIMIT {MOST}"))
            .await
            .map_err(Error::database(format!("checking condition {number}")))?;
        let detail = detail(&messages);
        conditions.push(Condition {
            number: number as u8,
            rule: rule.to_owned(),
            holds: detail.is_none(),
            detail,
        });
    }
    Ok(conditions)
}

/// How many rows, and the first.
fn detail(messages: &[SimpleQueryMessage]) -> Option<String> {
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let first = rows.next()?;
    let values = (first.columns().iter().enumerate())
        .map(|(at, column)| format!("{} {}", column.name(), first.get(at).unwrap_or("null")));
    let values = values.collect::<Vec<_>>().join(", ");
    Some(match rows.count() + 1 {
        1 => format!("1 row: {values}"),
        MOST => format!("{MOST} rows or more, first {values}"),
        count => format!("{count} rows, first {values}"),
    })
}
