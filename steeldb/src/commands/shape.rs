//! What a new cluster bears and how many replicas that takes: options of `init` and `up`.

use std::collections::BTreeSet;

use consensus::{Mode, Sizes};

use crate::failure::Failure;
use crate::initialise::MAX_F;

/// The most replicas that Δ may add.
const MAX_SPARE: u16 = 10;

#[derive(Debug, Default, clap::Args)]
pub struct Shape {
    /// Replicas that may be faulty at once; 3f+1 replicas are made [default: 1, or what --hosts allows]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_F)))]
    pub f: Option<u16>,
    /// Replicas may crash but never lie: 2f+1 replicas, one phase of messages less
    #[arg(long)]
    pub crash_only: bool,
    /// Replicas more than needed (WHEAT's Δ)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_SPARE)))]
    pub spare: u16,
    /// Replicas whose votes weigh more (WHEAT), those closest to the clients: 2f of them, with --crash-only f
    #[arg(long, value_name = "REPLICAS", value_delimiter = ',')]
    pub fast: Vec<u16>,
    /// The directories of `initdb` and `postgres` [default: Debian's newest]: one for all replicas, one for each in the order of
    /// their numbers, or I=DIR for some. Replicas may run majors that were tested together
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    pub postgres: Vec<String>,
}

impl Shape {
    pub fn mode(&self) -> Mode {
        match self.crash_only {
            true => Mode::CrashOnly,
            false => Mode::Byzantine,
        }
    }

    /// How many replicas this takes with `f`.
    pub fn replicas(&self, f: u16) -> usize {
        self.mode().least_replicas(usize::from(f)) + usize::from(self.spare)
    }

    /// The heavy replicas of `n` with `f`.
    ///
    /// # Errors
    /// When they are not as many as the weights need, or no members.
    pub fn fast(&self, n: usize, f: u16) -> Result<BTreeSet<u16>, Failure> {
        let fast: BTreeSet<u16> = self.fast.iter().copied().collect();
        let sizes = Sizes {
            mode: self.mode(),
            n,
            f: usize::from(f),
            weighted: true,
        };
        let members = fast.iter().filter(|id| usize::from(**id) < n).count();
        if fast.is_empty() || (members == sizes.fast() && members == fast.len()) {
            return Ok(fast);
        }
        Err(
            Failure::usage(format!("--fast names {} of {n} replicas", fast.len()))
                .cause(format!("with f = {f} it must be {}", sizes.fast()))
                .next("name so many of the replicas' numbers, or leave --fast out"),
        )
    }

    /// An existing cluster is not of another shape than asked for.
    pub fn check(&self, cluster: &cluster::Cluster) -> Result<(), Failure> {
        let differs = |what: String, is: String| {
            let failure = Failure::usage(format!("{what} does not fit the cluster"));
            let next = "leave it out, or make another cluster in another directory";
            Err(failure.cause(format!("it was made with {is}")).next(next))
        };
        if let Some(f) = self.f.filter(|f| *f != cluster.f) {
            return differs(format!("--f {f}"), format!("f = {}", cluster.f));
        }
        if self.crash_only && cluster.mode != Mode::CrashOnly {
            return differs("--crash-only".to_owned(), "mode = \"byzantine\"".to_owned());
        }
        if self.spare > 0 && self.replicas(cluster.f) != cluster.replicas.len() {
            let is = format!("{} replicas", cluster.replicas.len());
            return differs(format!("--spare {}", self.spare), is);
        }
        let fast: BTreeSet<u16> = self.fast.iter().copied().collect();
        if !fast.is_empty() && fast != cluster.fast {
            return differs("--fast".to_owned(), format!("fast = {:?}", cluster.fast));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_replicas_follows_from_what_they_bear() {
        let shape = Shape {
            crash_only: true,
            spare: 1,
            ..Shape::default()
        };
        assert_eq!(shape.replicas(2), 6);
        assert_eq!(Shape::default().replicas(2), 7);
    }

    #[test]
    fn weights_name_as_many_members_as_they_need() {
        for (fast, good) in [
            (vec![], true),
            (vec![0, 4], true),
            (vec![0], false),
            (vec![0, 9], false),
        ] {
            let shape = Shape {
                fast: fast.clone(),
                ..Shape::default()
            };
            assert_eq!(shape.fast(5, 1).is_ok(), good, "{fast:?}");
        }
    }
}
