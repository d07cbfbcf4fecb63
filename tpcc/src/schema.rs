//! The nine tables of Clause 1.3, their keys, and the mark that says who loaded them.

/// Those that hold the workload, in the order in which they can be dropped.
pub const TABLES: [&str; 9] = [
    "order_line",
    "new_order",
    "orders",
    "history",
    "customer",
    "stock",
    "district",
    "item",
    "warehouse",
];

/// The mark. It is made with the tables, in one transaction, and `complete` is set after the last step of a load.
pub const MARK: &str = "tpcc_load";

/// Primary keys are there from the start: a chunk that was copied already then cannot be copied twice. HISTORY has no key
/// (Clause 1.3).
pub const CREATE: [&str; 10] = [
    "CREATE TABLE tpcc_load (
        warehouses int PRIMARY KEY, seed bigint NOT NULL, c_last int NOT NULL, loaded timestamptz NOT NULL,
        complete boolean NOT NULL)",
    "CREATE TABLE warehouse (
        w_id int PRIMARY KEY, w_name varchar(10) NOT NULL, w_street_1 varchar(20) NOT NULL,
        w_street_2 varchar(20) NOT NULL, w_city varchar(20) NOT NULL, w_state char(2) NOT NULL, w_zip char(9) NOT NULL,
        w_tax numeric(4,4) NOT NULL, w_ytd numeric(12,2) NOT NULL)",
    "CREATE TABLE district (
        d_id int, d_w_id int, d_name varchar(10) NOT NULL, d_street_1 varchar(20) NOT NULL,
        d_street_2 varchar(20) NOT NULL, d_city varchar(20) NOT NULL, d_state char(2) NOT NULL, d_zip char(9) NOT NULL,
        d_tax numeric(4,4) NOT NULL, d_ytd numeric(12,2) NOT NULL, d_next_o_id int NOT NULL,
        PRIMARY KEY (d_w_id, d_id))",
    "CREATE TABLE customer (
        c_id int, c_d_id int, c_w_id int, c_first varchar(16) NOT NULL, c_middle char(2) NOT NULL,
        c_last varchar(16) NOT NULL, c_street_1 varchar(20) NOT NULL, c_street_2 varchar(20) NOT NULL,
        c_city varchar(20) NOT NULL, c_state char(2) NOT NULL, c_zip char(9) NOT NULL, c_phone char(16) NOT NULL,
        c_since timestamptz NOT NULL, c_credit char(2) NOT NULL, c_credit_lim numeric(12,2) NOT NULL,
        c_discount numeric(4,4) NOT NULL, c_balance numeric(12,2) NOT NULL, c_ytd_payment numeric(12,2) NOT NULL,
        c_payment_cnt int NOT NULL, c_delivery_cnt int NOT NULL, c_data varchar(500) NOT NULL,
        PRIMARY KEY (c_w_id, c_d_id, c_id))",
    "CREATE TABLE history (
        h_c_id int NOT NULL, h_c_d_id int NOT NULL, h_c_w_id int NOT NULL, h_d_id int NOT NULL, h_w_id int NOT NULL,
        h_date timestamptz NOT NULL, h_amount numeric(6,2) NOT NULL, h_data varchar(24) NOT NULL)",
    "CREATE TABLE orders (
        o_id int, o_d_id int, o_w_id int, o_c_id int NOT NULL, o_entry_d timestamptz NOT NULL, o_carrier_id int,
        o_ol_cnt int NOT NULL, o_all_local int NOT NULL,
        PRIMARY KEY (o_w_id, o_d_id, o_id))",
    "CREATE TABLE new_order (
        no_o_id int, no_d_id int, no_w_id int,
        PRIMARY KEY (no_w_id, no_d_id, no_o_id))",
    "CREATE TABLE item (
        i_id int PRIMARY KEY, i_im_id int NOT NULL, i_name varchar(24) NOT NULL, i_price numeric(5,2) NOT NULL,
        i_data varchar(50) NOT NULL)",
    "CREATE TABLE stock (
        s_i_id int, s_w_id int, s_quantity int NOT NULL, s_dist_01 char(24) NOT NULL, s_dist_02 char(24) NOT NULL,
        s_dist_03 char(24) NOT NULL, s_dist_04 char(24) NOT NULL, s_dist_05 char(24) NOT NULL,
        s_dist_06 char(24) NOT NULL, s_dist_07 char(24) NOT NULL, s_dist_08 char(24) NOT NULL,
        s_dist_09 char(24) NOT NULL, s_dist_10 char(24) NOT NULL, s_ytd int NOT NULL, s_order_cnt int NOT NULL,
        s_remote_cnt int NOT NULL, s_data varchar(50) NOT NULL,
        PRIMARY KEY (s_w_id, s_i_id))",
    "CREATE TABLE order_line (
        ol_o_id int, ol_d_id int, ol_w_id int, ol_number int, ol_i_id int NOT NULL, ol_supply_w_id int NOT NULL,
        ol_delivery_d timestamptz, ol_quantity int NOT NULL, ol_amount numeric(6,2) NOT NULL,
        ol_dist_info char(24) NOT NULL,
        PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))",
];

/// After the rows: the index for customers by name, that for a customer's last order, and the foreign keys of Clause 1.3.
pub const COMPLETE: [&str; 12] = [
    "CREATE INDEX customer_by_name ON customer (c_w_id, c_d_id, c_last, c_first)",
    "CREATE INDEX orders_by_customer ON orders (o_w_id, o_d_id, o_c_id, o_id)",
    "ALTER TABLE district ADD FOREIGN KEY (d_w_id) REFERENCES warehouse",
    "ALTER TABLE customer ADD FOREIGN KEY (c_w_id, c_d_id) REFERENCES district",
    "ALTER TABLE history ADD FOREIGN KEY (h_c_w_id, h_c_d_id, h_c_id) REFERENCES customer",
    "ALTER TABLE history ADD FOREIGN KEY (h_w_id, h_d_id) REFERENCES district",
    "ALTER TABLE orders ADD FOREIGN KEY (o_w_id, o_d_id, o_c_id) REFERENCES customer",
    "ALTER TABLE new_order ADD FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES orders",
    "ALTER TABLE stock ADD FOREIGN KEY (s_w_id) REFERENCES warehouse",
    "ALTER TABLE stock ADD FOREIGN KEY (s_i_id) REFERENCES item",
    "ALTER TABLE order_line ADD FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES orders",
    "ALTER TABLE order_line ADD FOREIGN KEY (ol_supply_w_id, ol_i_id) REFERENCES stock",
];
