//! Between the order, the service's thread and the links.

use std::sync::Arc;

use bytes::Bytes;
use cluster::channel;
use consensus::service::{ToClient, announcement};
use consensus::{ClientId, Height, ReplicaId, View};
use net::{Endpoint, PeerId};
use tokio::sync::{mpsc, watch};

use super::executor::{Answers, Job};
use super::wire::encode;
use crate::run::{Repeat, ToService};

/// Gives the service what the order has for it, and what came again.
pub async fn feed(
    mut decided: mpsc::Receiver<ToService>,
    mut repeats: mpsc::Receiver<Repeat>,
    jobs: mpsc::Sender<Job>,
) {
    loop {
        let job = tokio::select! {
            task = decided.recv() => match task {
                Some(task) => job(task),
                None => return,
            },
            Some(repeat) = repeats.recv() => Job::Repeat(repeat),
        };
        if jobs.send(job).await.is_err() {
            return;
        }
    }
}

fn job(task: ToService) -> Job {
    match task {
        ToService::Execute(delivered) => Job::Decided(delivered.decided),
        ToService::Tentative(value) => Job::Tentative(value),
        ToService::Snapshot { height, reply } => Job::Checkpoint { height, reply },
        ToService::Restore { height, state } => Job::Restore { height, state },
    }
}

/// Tells clients of each view; one that was not connected, or too slow, asks.
pub async fn announce(endpoint: Endpoint, mut views: watch::Receiver<Arc<View>>) {
    while views.changed().await.is_ok() {
        let view = announcement(&views.borrow_and_update());
        let message = encode(&ToClient::View(Box::new(view)));
        for peer in endpoint.connected() {
            if let PeerId::Client(id) = peer {
                send(&endpoint, ClientId(id), message.clone());
            }
        }
    }
}

/// Ends when a view does not name this replica any more: with that view's number. Views before `since` are passed over: one
/// that joins comes through those that do not name it yet.
pub async fn removed(me: ReplicaId, since: u64, mut views: watch::Receiver<Arc<View>>) -> u64 {
    let gone = |view: &Arc<View>| view.id >= since && !view.replicas.contains_key(&me);
    let view = views.wait_for(gone).await.ok().map(|view| view.id);
    match view {
        Some(view) => view,
        // The order has ended; whoever waits for it tells.
        None => std::future::pending().await,
    }
}

/// Sends answers once what they tell of is durable.
pub async fn answer(
    endpoint: Endpoint,
    mut durable: watch::Receiver<Height>,
    mut answers: mpsc::Receiver<Answers>,
) {
    while let Some(Answers { height, messages }) = answers.recv().await {
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

pub fn send(endpoint: &Endpoint, client: ClientId, message: Bytes) {
    let to = PeerId::Client(client.0);
    if let Err(error) = endpoint.send(to, channel::CLIENT, message) {
        // The client asks again when it is back.
        tracing::debug!(%client, %error, "an answer was not sent");
    }
}
