//! The rows of Clause 4.3.3, as COPY's text. Columns stand in the order of `schema`.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::chunk::{CUSTOMERS, Chunk, DELIVERED, DISTRICTS, ITEMS, ITEMS_A_PART, ORDERS, Table};
use crate::numeric::Numeric;
use crate::random::{Constants, a_string, data, last_name, n_string, nurand, rng, state, zip};

/// The moment of the load in all rows: one for all loads, so that the same seed gives the same rows anywhere.
const LOADED: &str = "2026-01-01 00:00:00+00";

/// An order of the initial population.
pub struct Order {
    id: u32,
    customer: u32,
    /// None: not delivered.
    carrier: Option<u32>,
    pub lines: u32,
}

/// A district's orders: ORDERS and ORDER_LINE, written by different chunks, agree on them.
pub fn orders(seed: u64, warehouse: u32, district: u32) -> Vec<Order> {
    let mut rng = rng(seed, b"orders..", [warehouse, district, 0, 0]);
    let mut customers: Vec<u32> = (1..=CUSTOMERS).collect();
    customers.shuffle(&mut rng);
    (1..=ORDERS)
        .zip(customers)
        .map(|(id, customer)| Order {
            id,
            customer,
            carrier: (id <= DELIVERED).then(|| rng.random_range(1..=10)),
            lines: rng.random_range(5..=15),
        })
        .collect()
}

/// The text of a chunk.
pub fn text(chunk: Chunk, seed: u64, warehouses: u32) -> String {
    let mut out = String::new();
    let (w, part) = (chunk.warehouse, chunk.part);
    let place = [chunk.table as u32, w, part, 0];
    let rng = &mut rng(seed, b"load....", place);
    let items = || (part - 1) * ITEMS_A_PART + 1..=part * ITEMS_A_PART;
    match chunk.table {
        Table::Item => items().for_each(|i| item(&mut out, rng, i)),
        Table::Warehouse => (1..=warehouses).for_each(|w| warehouse(&mut out, rng, w)),
        Table::District => (1..=DISTRICTS).for_each(|d| district(&mut out, rng, w, d)),
        Table::Stock => items().for_each(|i| stock(&mut out, rng, w, i)),
        Table::Customer => {
            let c_last = Constants::last_for_load(seed);
            (1..=CUSTOMERS).for_each(|c| customer(&mut out, rng, c_last, [w, part, c]));
        }
        Table::History => each_district(CUSTOMERS, |d, c| {
            let text = a_string(rng, 12..=24);
            out += &format!("{c}\t{d}\t{w}\t{d}\t{w}\t{LOADED}\t10.00\t{text}\n");
        }),
        Table::Orders => (1..=DISTRICTS).for_each(|d| {
            for order in orders(seed, w, d) {
                let carrier = order
                    .carrier
                    .map_or("\\N".to_owned(), |carrier| carrier.to_string());
                let (id, customer, lines) = (order.id, order.customer, order.lines);
                out += &format!("{id}\t{d}\t{w}\t{customer}\t{LOADED}\t{carrier}\t{lines}\t1\n");
            }
        }),
        Table::NewOrder => each_district(ORDERS - DELIVERED, |d, n| {
            out += &format!("{}\t{d}\t{w}\n", DELIVERED + n);
        }),
        Table::OrderLine => orders(seed, w, part)
            .iter()
            .for_each(|order| order_lines(&mut out, rng, [w, part], order)),
    }
    out
}

fn each_district(rows: u32, mut row: impl FnMut(u32, u32)) {
    (1..=DISTRICTS).for_each(|d| (1..=rows).for_each(|n| row(d, n)));
}

fn item(out: &mut String, rng: &mut StdRng, i: u32) {
    let image = rng.random_range(1..=10_000);
    let name = a_string(rng, 14..=24);
    let price = Numeric::cents(rng.random_range(100..=10_000));
    *out += &format!("{i}\t{image}\t{name}\t{price}\t{}\n", data(rng));
}

/// Two lines of a street, city, state, zip code.
fn address(rng: &mut StdRng) -> String {
    let [street_1, street_2, city] = [(); 3].map(|()| a_string(rng, 10..=20));
    format!(
        "{street_1}\t{street_2}\t{city}\t{}\t{}",
        state(rng),
        zip(rng)
    )
}

/// A rate from 0 to so many ten-thousandths.
fn rate(rng: &mut StdRng, most: u32) -> String {
    format!("0.{:04}", rng.random_range(0..=most))
}

fn warehouse(out: &mut String, rng: &mut StdRng, w: u32) {
    let (name, address, tax) = (a_string(rng, 6..=10), address(rng), rate(rng, 2_000));
    *out += &format!("{w}\t{name}\t{address}\t{tax}\t300000.00\n");
}

fn district(out: &mut String, rng: &mut StdRng, w: u32, d: u32) {
    let (name, address, tax) = (a_string(rng, 6..=10), address(rng), rate(rng, 2_000));
    let next = ORDERS + 1;
    *out += &format!("{d}\t{w}\t{name}\t{address}\t{tax}\t30000.00\t{next}\n");
}

fn stock(out: &mut String, rng: &mut StdRng, w: u32, i: u32) {
    *out += &format!("{i}\t{w}\t{}", rng.random_range(10..=100));
    for _ in 1..=DISTRICTS {
        out.push('\t');
        *out += &a_string(rng, 24..=24);
    }
    *out += &format!("\t0\t0\t0\t{}\n", data(rng));
}

fn customer(out: &mut String, rng: &mut StdRng, c_last: u32, [w, d, c]: [u32; 3]) {
    // The first thousand have all names once, the others as often as NURand gives them.
    let last = last_name(match c {
        1..=1000 => c - 1,
        _ => nurand(rng, 255, c_last, 0..=999),
    });
    let first = a_string(rng, 8..=16);
    let (address, phone) = (address(rng), n_string(rng, 16));
    let credit = if rng.random_ratio(1, 10) { "BC" } else { "GC" };
    let discount = rate(rng, 5_000);
    let data = a_string(rng, 300..=500);
    *out += &format!(
        "{c}\t{d}\t{w}\t{first}\tOE\t{last}\t{address}\t{phone}\t{LOADED}\t{credit}\t50000.00\t{discount}\t\
         -10.00\t10.00\t1\t0\t{data}\n"
    );
}

fn order_lines(out: &mut String, rng: &mut StdRng, [w, d]: [u32; 2], order: &Order) {
    for number in 1..=order.lines {
        let item = rng.random_range(1..=ITEMS);
        let (delivered, amount) = match order.carrier {
            Some(_) => (LOADED, Numeric::default()),
            None => ("\\N", Numeric::cents(rng.random_range(1..=999_999))),
        };
        let info = a_string(rng, 24..=24);
        let o = order.id;
        *out +=
            &format!("{o}\t{d}\t{w}\t{number}\t{item}\t{w}\t{delivered}\t5\t{amount}\t{info}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::chunk;

    #[test]
    fn a_seed_gives_the_same_rows_and_another_seed_others() {
        for chunk in chunk::all(1) {
            let rows = text(chunk, 3, 1);
            assert_eq!(rows, text(chunk, 3, 1), "{chunk:?}");
            assert_eq!(
                rows.lines().count() as u64,
                chunk.rows(3, 1),
                "{chunk:?}: counted and written"
            );
            assert!(rows.len() < 4_500_000, "{chunk:?}: {} bytes", rows.len());
            if chunk.table != Table::NewOrder {
                assert_ne!(rows, text(chunk, 4, 1), "{chunk:?}");
            }
        }
    }

    #[test]
    fn one_in_ten_rows_is_original_or_of_bad_credit() {
        let share = |table, sign: &str| {
            let chunk = Chunk {
                table,
                warehouse: 1,
                part: 1,
            };
            let rows = text(chunk, 5, 1);
            let hits = rows.lines().filter(|row| row.contains(sign)).count();
            hits as f64 / rows.lines().count() as f64
        };
        // Four sigmas of 10,000 and of 3,000 draws.
        assert!((share(Table::Stock, "ORIGINAL") - 0.1).abs() < 0.012);
        assert!((share(Table::Item, "ORIGINAL") - 0.1).abs() < 0.012);
        assert!((share(Table::Customer, "\tBC\t") - 0.1).abs() < 0.022);
    }
}
