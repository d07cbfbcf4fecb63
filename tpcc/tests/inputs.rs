//! The shares and ranges of Clause 2, over many inputs from fixed seeds. Tolerances are five sigmas.

use std::collections::BTreeMap;

use tpcc::input::{Customer, Input, NewOrder, Payment, Profile, Source, UNUSED_ITEM};
use tpcc::{Constants, nurand};

const WAREHOUSES: u32 = 5;
const HOME: u32 = 3;
const INPUTS: usize = 230_000;

fn constants() -> Constants {
    Constants::for_run(11, 120)
}

fn inputs(seed: u64) -> impl Iterator<Item = Input> {
    let mut source = Source::new(seed, 0, constants(), WAREHOUSES);
    std::iter::repeat_with(move || source.next(HOME, 7)).take(INPUTS)
}

fn new_orders() -> Vec<NewOrder> {
    let order = |input| match input {
        Input::NewOrder(order) => Some(order),
        _ => None,
    };
    inputs(1).filter_map(order).collect()
}

fn payments() -> Vec<Payment> {
    let payment = |input| match input {
        Input::Payment(payment) => Some(payment),
        _ => None,
    };
    inputs(2).filter_map(payment).collect()
}

/// Asserts that of so many this share is so.
fn about(what: &str, hits: usize, of: usize, share: f64) {
    let sigma = (share * (1.0 - share) / of as f64).sqrt();
    let found = hits as f64 / of as f64;
    assert!(
        (found - share).abs() < 5.0 * sigma,
        "{what}: {found}, not {share}"
    );
}

#[test]
fn a_seed_gives_the_same_inputs_and_another_seed_others() {
    let some = |seed| inputs(seed).take(200).collect::<Vec<_>>();
    assert_eq!(some(1), some(1));
    assert_ne!(some(1), some(2));
    let mut other = Source::new(1, 1, constants(), WAREHOUSES);
    assert_ne!(
        some(1)[0..50],
        (0..50).map(|_| other.next(HOME, 7)).collect::<Vec<_>>()
    );
}

#[test]
fn the_deck_keeps_the_least_shares_of_clause_5_2_3() {
    let mut seen = BTreeMap::new();
    for input in inputs(1) {
        *seen.entry(input.profile() as u8).or_insert(0) += 1;
    }
    // Whole decks: exact.
    assert_eq!(
        seen.into_values().collect::<Vec<_>>(),
        [100_000, 100_000, 10_000, 10_000, 10_000]
    );
    let first: Vec<u8> = inputs(1)
        .take(23)
        .map(|input| input.profile() as u8)
        .collect();
    let second: Vec<u8> = inputs(1)
        .skip(23)
        .take(23)
        .map(|input| input.profile() as u8)
        .collect();
    assert_ne!(first, second, "shuffled");
}

#[test]
fn new_orders_follow_clause_2_4_1() {
    let orders = new_orders();
    let count = orders.len();
    let unused = |order: &&NewOrder| order.lines.iter().any(|line| line.item == UNUSED_ITEM);
    about(
        "rolled back",
        orders.iter().filter(unused).count(),
        count,
        0.01,
    );
    for order in &orders {
        assert_eq!(order.warehouse, HOME as i32);
        assert!((1..=10).contains(&order.district) && (1..=3_000).contains(&order.customer));
        assert!((5..=15).contains(&order.lines.len()));
        let (last, others) = order.lines.split_last().unwrap();
        assert!(last.item == UNUSED_ITEM || (1..=100_000).contains(&last.item));
        assert!(others.iter().all(|line| (1..=100_000).contains(&line.item)));
    }
    let lines: Vec<_> = orders.iter().flat_map(|order| &order.lines).collect();
    // The deviation of a uniform 5 to 15 is the root of 10.
    let mean = lines.len() as f64 / count as f64;
    assert!(
        (mean - 10.0).abs() < 5.0 * (10.0 / count as f64).sqrt(),
        "{mean} lines"
    );
    for length in 5..=15 {
        let hits = orders
            .iter()
            .filter(|order| order.lines.len() == length)
            .count();
        about("an order's length", hits, count, 1.0 / 11.0);
    }
    let remote = |line: &&&tpcc::input::Line| line.supply_warehouse != HOME as i32;
    about(
        "remote lines",
        lines.iter().filter(remote).count(),
        lines.len(),
        0.01,
    );
    for warehouse in [1, 2, 4, 5] {
        let hits = lines
            .iter()
            .filter(|line| line.supply_warehouse == warehouse)
            .count();
        about("a remote line's warehouse", hits, lines.len(), 0.0025);
    }
    for quantity in 1..=10 {
        let hits = lines
            .iter()
            .filter(|line| line.quantity == quantity)
            .count();
        about("a quantity", hits, lines.len(), 0.1);
    }
}

#[test]
fn payments_follow_clause_2_5_1() {
    let payments = payments();
    let count = payments.len();
    let share = |what, share, hit: fn(&&Payment) -> bool| {
        about(what, payments.iter().filter(hit).count(), count, share);
    };
    share("by last name", 0.6, |p| {
        matches!(p.customer, Customer::LastName(_))
    });
    share("remote", 0.15, |p| p.customer_warehouse != HOME as i32);
    share("remote, of one warehouse", 0.15 / 4.0, |p| {
        p.customer_warehouse == 5
    });
    share("above 2500.00", 0.5, |p| p.cents > 250_050);
    for payment in &payments {
        assert!((100..=500_000).contains(&payment.cents));
        assert!((1..=5).contains(&payment.customer_warehouse));
        let home = payment.customer_warehouse == HOME as i32;
        assert!(!home || payment.customer_district == payment.district);
    }
}

#[test]
fn a_lone_warehouse_supplies_itself_but_has_payments_for_other_districts() {
    let mut source = Source::new(5, 0, constants(), 1);
    let mut elsewhere = 0;
    for _ in 0..10_000 {
        match source.next(1, 1) {
            Input::NewOrder(order) => {
                assert!(order.lines.iter().all(|line| line.supply_warehouse == 1))
            }
            Input::Payment(payment) => {
                assert_eq!(payment.customer_warehouse, 1);
                elsewhere += usize::from(payment.customer_district != payment.district);
            }
            Input::StockLevel(level) => assert_eq!((level.warehouse, level.district), (1, 1)),
            _ => {}
        }
    }
    assert!(elsewhere > 0);
}

/// The share of numbers whose low bit is set is 3/4 before C is added; an even C leaves it, an odd C turns it round.
#[test]
fn nurand_is_not_uniform_in_the_way_that_clause_2_1_6_says() {
    use rand::SeedableRng;
    let mut rng = rand::rngs::StdRng::seed_from_u64(9);
    const DRAWS: usize = 100_000;
    let mut odd = [0, 0];
    for draw in 0..2 * DRAWS {
        let c = draw % 2;
        let number = nurand(&mut rng, 8191, c as u32, 0..=99_999);
        assert!(number <= 99_999);
        odd[c] += (number % 2) as usize;
    }
    about("odd with C = 0", odd[0], DRAWS, 0.75);
    about("odd with C = 1", odd[1], DRAWS, 0.25);

    let orders = new_orders();
    let mut hits = BTreeMap::new();
    let items = orders
        .iter()
        .flat_map(|order| &order.lines)
        .map(|line| line.item);
    items.for_each(|item| *hits.entry(item).or_insert(0usize) += 1);
    let mut hits: Vec<usize> = hits.into_values().collect();
    hits.sort_unstable_by_key(|hits| std::cmp::Reverse(*hits));
    let (hot, all): (usize, usize) = (hits[..10_000].iter().sum(), hits.iter().sum());
    assert!(
        hot * 10 > all * 4,
        "a tenth of the items has over 40 % of the lines: {hot} of {all}"
    );
}

#[test]
fn think_times_have_their_means() {
    let mut source = Source::new(4, 0, constants(), 1);
    for (profile, mean) in [
        (Profile::NewOrder, 12.0),
        (Profile::OrderStatus, 10.0),
        (Profile::Delivery, 5.0),
    ] {
        const DRAWS: u32 = 50_000;
        let sum: f64 = (0..DRAWS)
            .map(|_| source.think(profile).as_secs_f64())
            .sum();
        // An exponential's deviation is its mean.
        let found = sum / f64::from(DRAWS);
        assert!(
            (found - mean).abs() < 5.0 * mean / f64::from(DRAWS).sqrt(),
            "{found}"
        );
    }
    assert_eq!(Profile::NewOrder.keying().as_secs(), 18);
}
