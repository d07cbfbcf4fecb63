//! What a run has found, as data and as a page.

pub mod page;
pub mod run;
