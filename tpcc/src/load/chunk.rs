//! The pieces in which a database is loaded: each one COPY, each either there or not.

use super::rows;

/// A table's rows that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub table: Table,
    /// 0 for ITEM and for WAREHOUSE.
    pub warehouse: u32,
    /// A district, or a tenth of the items; 0 where a chunk holds all of a warehouse.
    pub part: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Item,
    Warehouse,
    District,
    Stock,
    Customer,
    History,
    Orders,
    NewOrder,
    OrderLine,
}

pub const ITEMS: u32 = 100_000;
pub const DISTRICTS: u32 = 10;
pub const CUSTOMERS: u32 = 3_000;
/// Orders of a district, and those of them that are delivered.
pub const ORDERS: u32 = 3_000;
pub const DELIVERED: u32 = 2_100;
/// Items of one chunk: 3 MB of stock.
pub const ITEMS_A_PART: u32 = ITEMS / 10;

/// All chunks of a database (Clause 1.2.1). None has more than 45,000 rows or 4 MB, so that no replicated transaction is
/// huge; 32 a warehouse are enough to keep a few connections busy.
pub fn all(warehouses: u32) -> Vec<Chunk> {
    let chunk = |table, warehouse, part| Chunk {
        table,
        warehouse,
        part,
    };
    let mut chunks = vec![chunk(Table::Warehouse, 0, 0)];
    chunks.extend((1..=10).map(|part| chunk(Table::Item, 0, part)));
    for warehouse in 1..=warehouses {
        for table in [
            Table::District,
            Table::History,
            Table::Orders,
            Table::NewOrder,
        ] {
            chunks.push(chunk(table, warehouse, 0));
        }
        for table in [Table::Stock, Table::Customer, Table::OrderLine] {
            chunks.extend((1..=10).map(|part| chunk(table, warehouse, part)));
        }
    }
    chunks
}

impl Chunk {
    /// How many rows it has in a database of so many warehouses from this seed.
    pub fn rows(&self, seed: u64, warehouses: u32) -> u64 {
        u64::from(match self.table {
            Table::Item | Table::Stock => ITEMS_A_PART,
            Table::Warehouse => warehouses,
            Table::District => DISTRICTS,
            Table::Customer => CUSTOMERS,
            Table::History => DISTRICTS * CUSTOMERS,
            Table::Orders => DISTRICTS * ORDERS,
            Table::NewOrder => DISTRICTS * (ORDERS - DELIVERED),
            Table::OrderLine => rows::orders(seed, self.warehouse, self.part)
                .iter()
                .map(|order| order.lines)
                .sum(),
        })
    }

    /// Asks whether one of its rows is there.
    pub fn presence(&self) -> String {
        let (table, w, part) = (self.table.name(), self.warehouse, self.part);
        let item = part.saturating_sub(1) * ITEMS_A_PART + 1;
        let key = match self.table {
            Table::Item => format!("i_id = {item}"),
            Table::Warehouse => "w_id = 1".to_owned(),
            Table::District => format!("d_w_id = {w}"),
            Table::Stock => format!("s_w_id = {w} AND s_i_id = {item}"),
            Table::Customer => format!("c_w_id = {w} AND c_d_id = {part}"),
            Table::History => format!("h_w_id = {w}"),
            Table::Orders => format!("o_w_id = {w}"),
            Table::NewOrder => format!("no_w_id = {w}"),
            Table::OrderLine => format!("ol_w_id = {w} AND ol_d_id = {part}"),
        };
        format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {key})")
    }
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Item => "item",
            Table::Warehouse => "warehouse",
            Table::District => "district",
            Table::Stock => "stock",
            Table::Customer => "customer",
            Table::History => "history",
            Table::Orders => "orders",
            Table::NewOrder => "new_order",
            Table::OrderLine => "order_line",
        }
    }
}
