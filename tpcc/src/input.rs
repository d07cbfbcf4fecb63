//! What a terminal types in: drawn from a seed before a transaction begins, so that a retry repeats it.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::random::{Constants, last_name, nurand, rng};

/// A kind of transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    NewOrder,
    Payment,
    OrderStatus,
    Delivery,
    StockLevel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    NewOrder(NewOrder),
    Payment(Payment),
    OrderStatus(OrderStatus),
    Delivery(Delivery),
    StockLevel(StockLevel),
}

/// Clause 2.4.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub warehouse: i32,
    pub district: i32,
    pub customer: i32,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub item: i32,
    pub supply_warehouse: i32,
    pub quantity: i32,
}

/// Clause 2.5.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub warehouse: i32,
    pub district: i32,
    pub customer_warehouse: i32,
    pub customer_district: i32,
    pub customer: Customer,
    pub cents: i64,
}

/// Clause 2.6.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStatus {
    pub warehouse: i32,
    pub district: i32,
    pub customer: Customer,
}

/// Clause 2.7.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub warehouse: i32,
    pub carrier: i32,
}

/// Clause 2.8.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLevel {
    pub warehouse: i32,
    pub district: i32,
    pub threshold: i32,
}

/// Six in ten customers are named, the others give their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Customer {
    Id(i32),
    LastName(String),
}

/// No item has it (Clause 2.4.1.5).
pub const UNUSED_ITEM: i32 = 100_001;

impl Profile {
    pub const ALL: [Profile; 5] = [
        Profile::NewOrder,
        Profile::Payment,
        Profile::OrderStatus,
        Profile::Delivery,
        Profile::StockLevel,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Profile::NewOrder => "NEW-ORDER",
            Profile::Payment => "PAYMENT",
            Profile::OrderStatus => "ORDER-STATUS",
            Profile::Delivery => "DELIVERY",
            Profile::StockLevel => "STOCK-LEVEL",
        }
    }

    /// Clause 5.2.4.2: a deck of 23 cards, shuffled, dealt to its end. Each share is above the least of Clause 5.2.3.
    fn cards(self) -> usize {
        match self {
            Profile::NewOrder | Profile::Payment => 10,
            Profile::OrderStatus | Profile::Delivery | Profile::StockLevel => 1,
        }
    }

    /// Clause 5.2.5.7, before the transaction.
    pub fn keying(self) -> Duration {
        Duration::from_secs(match self {
            Profile::NewOrder => 18,
            Profile::Payment => 3,
            Profile::OrderStatus | Profile::Delivery | Profile::StockLevel => 2,
        })
    }

    /// The mean in seconds of Clause 5.2.5.7, after the transaction.
    fn think_mean(self) -> f64 {
        match self {
            Profile::NewOrder | Profile::Payment => 12.0,
            Profile::OrderStatus => 10.0,
            Profile::Delivery | Profile::StockLevel => 5.0,
        }
    }
}

impl Input {
    pub fn profile(&self) -> Profile {
        match self {
            Input::NewOrder(_) => Profile::NewOrder,
            Input::Payment(_) => Profile::Payment,
            Input::OrderStatus(_) => Profile::OrderStatus,
            Input::Delivery(_) => Profile::Delivery,
            Input::StockLevel(_) => Profile::StockLevel,
        }
    }
}

/// Draws the inputs of a terminal.
pub struct Source {
    rng: StdRng,
    constants: Constants,
    warehouses: u32,
    deck: Vec<Profile>,
}

impl Source {
    /// Inputs for a database of so many warehouses.
    pub fn new(seed: u64, terminal: u32, constants: Constants, warehouses: u32) -> Source {
        Source {
            rng: rng(seed, b"inputs..", [terminal, 0, 0, 0]),
            constants,
            warehouses,
            deck: Vec::new(),
        }
    }

    /// The next input of a terminal at this place.
    pub fn next(&mut self, warehouse: u32, district: u32) -> Input {
        if self.deck.is_empty() {
            let cards = |profile: Profile| std::iter::repeat_n(profile, profile.cards());
            self.deck = Profile::ALL.into_iter().flat_map(cards).collect();
            self.deck.shuffle(&mut self.rng);
        }
        let profile = self.deck.pop().unwrap_or(Profile::NewOrder);
        match profile {
            Profile::NewOrder => Input::NewOrder(self.new_order(warehouse)),
            Profile::Payment => Input::Payment(self.payment(warehouse)),
            Profile::OrderStatus => Input::OrderStatus(OrderStatus {
                warehouse: warehouse as i32,
                district: self.rng.random_range(1..=10),
                customer: self.customer(),
            }),
            Profile::Delivery => Input::Delivery(Delivery {
                warehouse: warehouse as i32,
                carrier: self.rng.random_range(1..=10),
            }),
            Profile::StockLevel => Input::StockLevel(StockLevel {
                warehouse: warehouse as i32,
                district: district as i32,
                threshold: self.rng.random_range(10..=20),
            }),
        }
    }

    /// Clause 5.2.5.4: negative exponential, at most ten times its mean.
    pub fn think(&mut self, profile: Profile) -> Duration {
        let mean = profile.think_mean();
        Duration::from_secs_f64(self.exponential(mean).min(10.0 * mean))
    }

    /// Between two arrivals of a Poisson process.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // 1 - u is never 0.
        -(1.0 - self.rng.random::<f64>()).ln() * mean
    }

    /// A place at which some terminal stands: for arrivals in an open loop.
    pub fn place(&mut self) -> (u32, u32) {
        let warehouse = self.rng.random_range(1..=self.warehouses);
        (warehouse, self.rng.random_range(1..=10))
    }

    fn new_order(&mut self, warehouse: u32) -> NewOrder {
        let district = self.rng.random_range(1..=10);
        let customer = self.customer_id();
        let count = self.rng.random_range(5..=15);
        let mut lines: Vec<Line> = (0..count).map(|_| self.line(warehouse)).collect();
        // Clause 2.4.1.4: one in a hundred has an unused item in its last line.
        if self.rng.random_ratio(1, 100)
            && let Some(last) = lines.last_mut()
        {
            last.item = UNUSED_ITEM;
        }
        NewOrder {
            warehouse: warehouse as i32,
            district,
            customer,
            lines,
        }
    }

    fn line(&mut self, warehouse: u32) -> Line {
        let item = nurand(&mut self.rng, 8191, self.constants.item, 1..=100_000);
        // Clause 2.4.1.5: one line in a hundred is supplied from elsewhere.
        let remote = self.rng.random_ratio(1, 100);
        Line {
            item: item as i32,
            supply_warehouse: if remote {
                self.other(warehouse)
            } else {
                warehouse as i32
            },
            quantity: self.rng.random_range(1..=10),
        }
    }

    fn payment(&mut self, warehouse: u32) -> Payment {
        let district = self.rng.random_range(1..=10);
        let customer = self.customer();
        // Clause 2.5.1.2: 15 in a hundred customers pay away from home.
        let (customer_warehouse, customer_district) = if self.rng.random_ratio(15, 100) {
            (self.other(warehouse), self.rng.random_range(1..=10))
        } else {
            (warehouse as i32, district)
        };
        Payment {
            warehouse: warehouse as i32,
            district,
            customer_warehouse,
            customer_district,
            customer,
            cents: self.rng.random_range(100..=500_000),
        }
    }

    fn customer(&mut self) -> Customer {
        if self.rng.random_ratio(60, 100) {
            let number = nurand(&mut self.rng, 255, self.constants.last, 0..=999);
            Customer::LastName(last_name(number))
        } else {
            Customer::Id(self.customer_id())
        }
    }

    fn customer_id(&mut self) -> i32 {
        nurand(&mut self.rng, 1023, self.constants.customer, 1..=3_000) as i32
    }

    /// Any warehouse but this one, where there is another.
    fn other(&mut self, warehouse: u32) -> i32 {
        if self.warehouses == 1 {
            return warehouse as i32;
        }
        let pick = self.rng.random_range(1..self.warehouses);
        (if pick < warehouse { pick } else { pick + 1 }) as i32
    }
}
