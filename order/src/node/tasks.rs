//! Between the order, the service's thread and the links.

use bytes::Bytes;
use cluster::channel;
use consensus::{ClientId, Height};
use net::{Endpoint, PeerId};
use tokio::sync::{mpsc, watch};

use super::executor::{Answers, Job};
use crate::run::ToService;

/// Gives the service what is decided, and what came again after it.
pub async fn feed(
    mut decided: mpsc::Receiver<ToService>,
    mut repeats: mpsc::Receiver<(ClientId, u64, u64)>,
    jobs: mpsc::Sender<Job>,
) {
    loop {
        let job = tokio::select! {
            delivered = decided.recv() => match delivered {
                Some(ToService::Execute(delivered)) => Job::Decided(delivered),
                // An order without checkpoints wants nothing else.
                Some(ToService::Snapshot { .. } | ToService::Restore { .. }) => continue,
                None => return,
            },
            Some((client, incarnation, seq)) = repeats.recv() => {
                // It was ordered by one of the batches that are here already: its answer must be there first.
                for _ in 0..decided.len() {
                    let Ok(ToService::Execute(delivered)) = decided.try_recv() else { break };
                    if jobs.send(Job::Decided(delivered)).await.is_err() {
                        return;
                    }
                }
                Job::Repeat { client, incarnation, seq }
            }
        };
        if jobs.send(job).await.is_err() {
            return;
        }
    }
}

/// Sends answers once what they tell of is durable.
pub async fn answer(
    endpoint: Endpoint,
    mut durable: watch::Receiver<Height>,
    mut answers: mpsc::Receiver<Answers>,
) {
    while let Some(Answers {
        height,
        messages,
        share: _share,
    }) = answers.recv().await
    {
        if durable
            .wait_for(|durable| *durable >= height)
            .await
            .is_err()
        {
            return;
        }
        for (client, message) in messages {
            send(&endpoint, client, message);
        }
    }
}

fn send(endpoint: &Endpoint, client: ClientId, message: Bytes) {
    let to = PeerId::Client(client.0);
    if let Err(error) = endpoint.send(to, channel::CLIENT, message) {
        // The client asks again when it is back.
        tracing::debug!(%client, %error, "an answer was not sent");
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Batch, Decided, Proof};

    use super::*;
    use crate::run::Delivered;

    fn delivered(height: Height) -> ToService {
        let decided = Decided {
            height,
            regency: 0,
            batch: Batch {
                after: consensus::Digest::default(),
                time_ms: 0,
                entries: Vec::new(),
            },
            requests: Vec::new(),
            proof: Proof {
                regency: 0,
                accepts: Vec::new(),
            },
        };
        ToService::Execute(Delivered {
            decided,
            view: Default::default(),
            position: None,
            share: Default::default(),
        })
    }

    /// Both queues are ready and either may be looked at first: tried often enough to see both.
    #[tokio::test]
    async fn what_came_again_is_looked_up_after_all_that_was_decided_before() {
        for _ in 0..50 {
            let (decided_sender, decided) = mpsc::channel(10);
            let (repeats_sender, repeats) = mpsc::channel(10);
            let (jobs_sender, mut jobs) = mpsc::channel(10);
            for height in 1..=5 {
                decided_sender.send(delivered(height)).await.unwrap();
            }
            repeats_sender.send((ClientId(70_000), 1, 1)).await.unwrap();
            let feeding = tokio::spawn(feed(decided, repeats, jobs_sender));
            let mut executed = 0;
            loop {
                match jobs.recv().await.unwrap() {
                    Job::Decided(delivered) => executed = delivered.decided.height,
                    Job::Repeat { .. } => break,
                    Job::Snapshot(_) => panic!("nobody asked for one"),
                }
            }
            assert_eq!(executed, 5);
            feeding.abort();
        }
    }
}
