//! Answers of several replicas to one question, as they come.

use std::collections::BTreeMap;

use consensus::ReplicaId;
use tokio::sync::mpsc;

/// Answers of one replica to one question that are taken: it is asked at most three times, and more is noise.
const PER_REPLICA: usize = 4;

/// Where the answers to a question go. A replica that repeats itself for ever fills nobody's memory and takes nobody's place.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    to: mpsc::UnboundedSender<T>,
    taken: BTreeMap<ReplicaId, usize>,
}

impl<T> Answers<T> {
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<T>) {
        let (to, answers) = mpsc::unbounded_channel();
        let taken = BTreeMap::new();
        (Self { to, taken }, answers)
    }

    pub fn give(&mut self, from: ReplicaId, answer: T) {
        let taken = self.taken.entry(from).or_insert(0);
        if *taken < PER_REPLICA {
            *taken += 1;
            // Whoever asked may have what it needs.
            let _ = self.to.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_answers_without_end_is_heard_a_few_times_and_the_others_too() {
        let (mut answers, mut heard) = Answers::channel();
        for number in 0..1_000 {
            answers.give(ReplicaId(3), number);
        }
        answers.give(ReplicaId(1), 5_000);
        let mut all = Vec::new();
        while let Ok(answer) = heard.try_recv() {
            all.push(answer);
        }
        assert_eq!(all, [0, 1, 2, 3, 5_000]);
    }
}
