//! Every quorum size of the total order, in one place (DESIGN.md, "Quorums").
//!
//! All hold for any `n ≥ 3f + 1`. Two sets of [`write_or_accept`] replicas meet
//! in at least `f + 1`, hence in a correct one.

/// WRITE, ACCEPT and answers to clients: Q = ⌈(n + f + 1) / 2⌉.
pub const fn write_or_accept(n: usize, f: usize) -> usize {
    (n + f + 1).div_ceil(2)
}

/// STOPs (or claims) of which at least one is a correct replica's: f + 1.
pub const fn one_correct(f: usize) -> usize {
    f + 1
}

/// STOPs that install a regency: 2f + 1, so that f + 1 correct ones make all join.
pub const fn install(f: usize) -> usize {
    2 * f + 1
}

/// STOPDATA that a SYNC must hold: n − f, all that one can wait for at first.
pub const fn sync(n: usize, f: usize) -> usize {
    n - f
}

/// The largest f that n replicas carry.
pub const fn max_faulty(n: usize) -> usize {
    if n == 0 { 0 } else { (n - 1) / 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quorums_meet_in_a_correct_replica_for_any_f() {
        for f in 0..50 {
            for n in 3 * f + 1..3 * f + 8 {
                let q = write_or_accept(n, f);
                assert!(
                    2 * q > n + f,
                    "n={n} f={f}: two quorums share no correct one"
                );
                assert!(
                    q <= n - f,
                    "n={n} f={f}: the correct ones alone are no quorum"
                );
                assert!(sync(n, f) >= q, "n={n} f={f}: a SYNC could miss a lock");
                assert!(
                    install(f) <= n - f,
                    "n={n} f={f}: f silent ones stop a change"
                );
            }
        }
    }

    #[test]
    fn four_replicas_need_three() {
        assert_eq!(write_or_accept(4, 1), 3);
        assert_eq!(install(1), 3);
        assert_eq!(sync(4, 1), 3);
        assert_eq!(write_or_accept(7, 2), 5);
        assert_eq!(max_faulty(10), 3);
    }
}
