//! The measuring stick: hosts with equal quotas and delayed links on one machine, the systems under test that run on them,
//! comparisons of what was measured.

pub mod comparison;
