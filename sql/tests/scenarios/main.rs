//! Statements as the proxy reads them. One program, since each would build all of it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod concurrently;
mod inside;
mod kinds;
mod readings;
mod refusals;
mod rewrites;
mod roworder;
mod second_opinion;
mod skipping;
mod soups;
