//! Liveness: after the network heals, every honest client's requests are ordered
//! everywhere within bounded time.

use super::Verdict;

/// The deadline passed.
pub fn expired(missing: usize, standing: &str) -> Verdict {
    Err(format!(
        "liveness: {missing} requests are not ordered everywhere after the heal; {standing}"
    ))
}
