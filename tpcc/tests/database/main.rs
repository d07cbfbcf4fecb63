//! What needs a database: one test, since each test may run in a process of its own and a load takes a while. It loads one
//! warehouse once; whatever changes it works on a copy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod endings;
mod loading;
mod runs;
mod server;

use server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_loaded_warehouse() {
    let server = Server::start().await;
    loading::a_table_of_somebody_else_is_left_alone(&server).await;
    loading::the_warehouse_is_loaded_once(&server).await;
    loading::cardinalities_are_those_of_the_specification(&server).await;
    loading::the_population_follows_its_rules(&server).await;
    damage::each_condition_finds_what_breaks_it(&server).await;
    runs::statements_are_those_of_the_profiles(&server).await;
    runs::conditions_hold_after_a_run_with_conflicts(&server).await;
    runs::mistakes_in_the_transactions_are_found(&server).await;
    runs::an_open_loop_serves_what_arrives(&server).await;
    endings::all(&server).await;
    loading::an_interrupted_load_begins_anew(&server).await;
}

/// The numbers of the conditions that do not hold.
fn broken(conditions: &[tpcc::report::run::Condition]) -> Vec<u8> {
    assert_eq!(conditions.len(), 12);
    let broken = conditions.iter().filter(|condition| !condition.holds);
    broken.map(|condition| condition.number).collect()
}
