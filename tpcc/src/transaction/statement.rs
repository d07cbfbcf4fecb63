//! All statements that terminals send; each is prepared once a connection.

/// Of which kinds statements are.
pub const VERBS: [&str; 4] = ["select", "update", "insert", "delete"];

macro_rules! statements {
    ($($(#[$doc:meta])* $step:ident = $sql:literal;)*) => {
        /// A statement of a profile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step { $($(#[$doc])* $step,)* }

        /// In the order of the steps.
        pub const SQL: &[&str] = &[$($sql,)*];
    };
}

statements! {
    // NEW-ORDER, Clause 2.4.2.2.
    WarehouseTax = "SELECT w_tax FROM warehouse WHERE w_id = $1";
    DistrictNext = "SELECT d_tax, d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2";
    DistrictTake = "UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = $1 AND d_id = $2";
    CustomerDiscount = "SELECT c_discount, c_last, c_credit FROM customer \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    OrderInsert = "INSERT INTO orders (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_carrier_id, o_ol_cnt, o_all_local) \
        VALUES ($1, $2, $3, $4, $5, NULL, $6, $7)";
    NewOrderInsert = "INSERT INTO new_order (no_o_id, no_d_id, no_w_id) VALUES ($1, $2, $3)";
    Item = "SELECT i_price, i_name, i_data FROM item WHERE i_id = $1";
    /// $3: the district whose S_DIST_xx is wanted.
    Stock = "SELECT s_quantity, s_data, (ARRAY[s_dist_01, s_dist_02, s_dist_03, s_dist_04, s_dist_05, \
        s_dist_06, s_dist_07, s_dist_08, s_dist_09, s_dist_10])[$3] FROM stock WHERE s_w_id = $1 AND s_i_id = $2";
    StockTake = "UPDATE stock SET s_quantity = $3, s_ytd = s_ytd + $4, s_order_cnt = s_order_cnt + 1, \
        s_remote_cnt = s_remote_cnt + $5 WHERE s_w_id = $1 AND s_i_id = $2";
    LineInsert = "INSERT INTO order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id, \
        ol_delivery_d, ol_quantity, ol_amount, ol_dist_info) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, $8, $9)";

    // PAYMENT, Clause 2.5.2.2.
    WarehouseAddress = "SELECT w_name, w_street_1, w_street_2, w_city, w_state, w_zip FROM warehouse WHERE w_id = $1";
    WarehousePaid = "UPDATE warehouse SET w_ytd = w_ytd + $2 WHERE w_id = $1";
    DistrictAddress = "SELECT d_name, d_street_1, d_street_2, d_city, d_state, d_zip FROM district \
        WHERE d_w_id = $1 AND d_id = $2";
    DistrictPaid = "UPDATE district SET d_ytd = d_ytd + $3 WHERE d_w_id = $1 AND d_id = $2";
    PayerById = "SELECT c_id, c_credit, c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, \
        c_phone, c_since, c_credit_lim, c_discount, c_balance FROM customer \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    PayersByName = "SELECT c_id, c_credit, c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, \
        c_phone, c_since, c_credit_lim, c_discount, c_balance FROM customer \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3 ORDER BY c_first, c_id";
    PayerData = "SELECT c_data FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    PayerPaid = "UPDATE customer SET c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, \
        c_payment_cnt = c_payment_cnt + 1 WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    BadPayerPaid = "UPDATE customer SET c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, \
        c_payment_cnt = c_payment_cnt + 1, c_data = $5 WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    HistoryInsert = "INSERT INTO history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

    // ORDER-STATUS, Clause 2.6.2.2.
    StatusById = "SELECT c_id, c_balance, c_first, c_middle, c_last FROM customer \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
    StatusByName = "SELECT c_id, c_balance, c_first, c_middle, c_last FROM customer \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3 ORDER BY c_first, c_id";
    LastOrder = "SELECT o_id, o_entry_d, o_carrier_id FROM orders \
        WHERE o_w_id = $1 AND o_d_id = $2 AND o_c_id = $3 ORDER BY o_id DESC LIMIT 1";
    OrderLines = "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line \
        WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";

    // DELIVERY, Clause 2.7.4.2.
    OldestNewOrder = "SELECT no_o_id FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 ORDER BY no_o_id LIMIT 1";
    NewOrderDelete = "DELETE FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 AND no_o_id = $3";
    OrderCustomer = "SELECT o_c_id FROM orders WHERE o_w_id = $1 AND o_d_id = $2 AND o_id = $3";
    OrderCarrier = "UPDATE orders SET o_carrier_id = $4 WHERE o_w_id = $1 AND o_d_id = $2 AND o_id = $3";
    LinesDelivered = "UPDATE order_line SET ol_delivery_d = $4 WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";
    LinesAmount = "SELECT sum(ol_amount) FROM order_line WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";
    CustomerDelivered = "UPDATE customer SET c_balance = c_balance + $4, c_delivery_cnt = c_delivery_cnt + 1 \
        WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";

    // STOCK-LEVEL, Clause 2.8.2.2.
    DistrictOrders = "SELECT d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2";
    LowStock = "SELECT count(DISTINCT s_i_id) FROM order_line JOIN stock ON s_w_id = ol_w_id AND s_i_id = ol_i_id \
        WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id < $3 AND ol_o_id >= $3 - 20 AND s_quantity < $4";
}

impl Step {
    /// Its place in `VERBS`.
    pub fn verb(self) -> usize {
        match SQL[self as usize].as_bytes()[0] {
            b'S' => 0,
            b'U' => 1,
            b'I' => 2,
            _ => 3,
        }
    }
}
