//! Each condition of Clause 3.3.2 finds the damage that it is there for, and none is found where none is.

use tpcc::conditions;

use crate::broken;
use crate::server::Server;

/// What is done, and the conditions that it breaks.
const DAMAGE: [(&str, &str, &[u8]); 15] = [
    (
        "a payment is missing in the warehouse's sum",
        "UPDATE warehouse SET w_ytd = w_ytd - 12.34",
        &[1, 8],
    ),
    (
        "a payment is missing in the district's sum",
        "UPDATE district SET d_ytd = d_ytd - 0.01 WHERE d_id = 4",
        &[1, 9],
    ),
    (
        "an order number was taken twice, or given to none",
        "UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_id = 10",
        &[2],
    ),
    (
        "the last new order is gone",
        "DELETE FROM new_order WHERE no_d_id = 1 AND no_o_id = 3000",
        &[2, 5, 11],
    ),
    (
        "a new order in the middle is gone",
        "DELETE FROM new_order WHERE no_d_id = 2 AND no_o_id = 2500",
        &[3, 5, 11],
    ),
    (
        "a line of an undelivered order is gone",
        "DELETE FROM order_line WHERE ol_d_id = 3 AND ol_o_id = 2600 AND ol_number = 2",
        &[4, 6],
    ),
    (
        "two orders have each other's count of lines",
        "UPDATE orders SET o_ol_cnt = o_ol_cnt + CASE o_id WHEN 5 THEN 1 ELSE -1 END
         WHERE o_d_id = 3 AND o_id IN (5, 6)",
        &[6],
    ),
    (
        "an order is delivered by nobody",
        "UPDATE orders SET o_carrier_id = NULL WHERE o_d_id = 9 AND o_id = 100",
        &[5, 7],
    ),
    (
        "a line of a delivered order is not",
        "UPDATE order_line SET ol_delivery_d = NULL WHERE ol_d_id = 6 AND ol_o_id = 77 AND ol_number = 1",
        &[7],
    ),
    (
        "a payment was not booked",
        "DELETE FROM history WHERE h_d_id = 5 AND h_c_id = 42",
        &[8, 9, 10],
    ),
    (
        "a payment was booked on another district",
        "UPDATE history SET h_d_id = 8 WHERE h_d_id = 7 AND h_c_id = 1",
        &[9],
    ),
    (
        "a payment was booked on another customer",
        "UPDATE history SET h_c_id = 2 WHERE h_d_id = 7 AND h_c_id = 1",
        &[10],
    ),
    (
        "a customer owes too little",
        "UPDATE customer SET c_balance = c_balance + 0.01 WHERE c_d_id = 8 AND c_id = 2999",
        &[10, 12],
    ),
    (
        "a delivery was counted twice",
        "UPDATE customer SET c_delivery_cnt = c_delivery_cnt + 1 WHERE c_d_id = 2 AND c_id = 3",
        &[11],
    ),
    (
        "a customer's payments were summed up wrongly",
        "UPDATE customer SET c_ytd_payment = c_ytd_payment + 1 WHERE c_d_id = 1 AND c_id = 1",
        &[12],
    ),
];

pub async fn each_condition_finds_what_breaks_it(server: &Server) {
    let found: std::collections::BTreeSet<u8> =
        DAMAGE.iter().flat_map(|damage| damage.2).copied().collect();
    assert!(found.into_iter().eq(1..=12), "each has damage of its own");

    let mut client = server.connect("loaded").await;
    let conditions = conditions::check(&mut client).await.unwrap();
    assert!(broken(&conditions).is_empty(), "{conditions:#?}");
    // One after the other, each rolled back.
    let (first, second) = DAMAGE.split_at(DAMAGE.len() / 2);
    tokio::join!(rolled_back(server, first), rolled_back(server, second));
}

async fn rolled_back(server: &Server, damage: &[(&str, &str, &[u8])]) {
    let mut client = server.connect("loaded").await;
    for (what, sql, expected) in damage {
        let transaction = client.transaction().await.unwrap();
        let changed = transaction.execute(*sql, &[]).await.unwrap();
        assert!(changed > 0, "{what}");
        let conditions = conditions::ask(&transaction).await.unwrap();
        assert_eq!(broken(&conditions), *expected, "{what}: {conditions:#?}");
        let detail = conditions.iter().find_map(|found| found.detail.as_deref());
        assert!(
            detail.is_some_and(|detail| detail.contains("row")),
            "{what}"
        );
        transaction.rollback().await.unwrap();
    }
}
