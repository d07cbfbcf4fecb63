//! What the replicas' logs tell after a run: how each voted.

use crate::Cluster;
use order::log::{Log, LogOptions};
use replica::executor::record;
use std::path::PathBuf;
use txn::{Ballot, VotePart};

/// (height, index, ballot)
pub type Vote = (u64, u32, Ballot);

impl Cluster {
    /// Where a replica's decided log lies.
    pub fn log_of(&self, replica: u16) -> PathBuf {
        self.dir.path().join(format!("r{replica}/log"))
    }

    /// Ends the cluster. Asserts that its replicas judged `least` times together, and that whoever judged found what the
    /// master had found.
    ///
    /// A replica that was late votes on nothing: once three others had voted the verdict was there before its own turn. So
    /// adoptions do not tell that one differed, and who is behind stays behind on a busy machine.
    pub async fn end_agreed(self, least: usize) {
        let all = self.end().await;
        let judged: Vec<_> = all.iter().map(Vec::len).collect();
        assert!(judged.iter().sum::<usize>() >= least, "judged: {judged:?}");
        for (replica, votes) in all.iter().enumerate() {
            let mut other = votes.iter().filter(|vote| vote.2 != Ballot::Commit);
            assert_eq!(other.next(), None, "replica {replica} differed");
        }
    }

    pub(crate) fn votes(&self, replica: u16) -> Vec<Vote> {
        let (log, _) = Log::open(self.log_of(replica), LogOptions::default()).unwrap();
        let records = log.read(record::VOTES, 0..=u64::MAX, usize::MAX).unwrap();
        let votes = records.iter().flat_map(|record| {
            let (part, _) = postcard::take_from_bytes::<VotePart>(&record.payload).unwrap();
            let items: Vec<_> = part.items().collect();
            items
                .into_iter()
                .map(move |(index, ballot)| (part.height, index, ballot))
        });
        votes.collect()
    }
}
