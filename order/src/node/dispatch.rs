//! What comes over the links: to the order, to the service, or nowhere. Nothing that a peer sends ends it.

use std::sync::Arc;

use cluster::channel;
use consensus::service::{MAX_QUERY_BYTES, ToClient, ToReplica, announcement};
use consensus::{ClientId, ReplicaId, Request, View};
use net::{Endpoint, Event, Events, PeerId};
use tokio::sync::{mpsc, watch};

use super::executor::Ask;
use super::tasks::send;
use super::waiting::Query;
use super::wire::encode;
use crate::run::{Inbound, OrderHandle, inbound};

/// Where it goes.
pub struct Dispatch {
    pub order: OrderHandle,
    pub asks: mpsc::Sender<Ask>,
    pub endpoint: Endpoint,
    pub views: watch::Receiver<Arc<View>>,
}

impl Dispatch {
    /// Sorts until the links end.
    pub async fn run(self, mut events: Events) {
        while let Some(event) = events.recv().await {
            match inbound(event) {
                Ok(inbound) => self.order.inbound(inbound).await,
                Err(event) => self.client_event(event).await,
            }
        }
    }

    async fn client_event(&self, event: Event) {
        match event {
            Event::Down(PeerId::Client(id), _) => {
                // When the service is too busy to hear it, its answers go nowhere.
                let _ = self.asks.try_send(Ask::Gone(ClientId(id)));
            }
            Event::Frame {
                from,
                channel: channel::CLIENT,
                payload,
            } => match client_message(from, &payload) {
                Ok(Wanted::Order(request)) => {
                    self.order.inbound(Inbound::Requests(vec![request])).await;
                }
                Ok(Wanted::Answer(query)) => {
                    if self.asks.try_send(Ask::Query(query)).is_err() {
                        tracing::debug!(%from, "too many queries wait: one was dropped");
                    }
                }
                Ok(Wanted::View { client, known }) => self.tell_view(client, known),
                Err(why) => tracing::debug!(%from, why, "a message was dropped"),
            },
            Event::Frame { from, channel, .. } => {
                tracing::debug!(%from, channel, "a message on an unexpected channel was dropped");
            }
            Event::Up(_) | Event::Down(..) => {}
        }
    }

    fn tell_view(&self, client: ClientId, known: u64) {
        let view = self.views.borrow().clone();
        if view.id > known {
            let message = ToClient::View(Box::new(announcement(&view)));
            send(&self.endpoint, client, encode(&message));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Order(Request),
    Answer(Query),
    View { client: ClientId, known: u64 },
}

/// A message on the clients' channel; its sender speaks for itself only.
fn client_message(from: PeerId, payload: &[u8]) -> Result<Wanted, &'static str> {
    let sender = match from {
        PeerId::Replica(id) => ClientId::of(ReplicaId(id)),
        PeerId::Client(id) => ClientId(id),
    };
    match consensus::decode(payload) {
        Ok(ToReplica::Request(request)) if request.client != sender => {
            Err("a request of another client")
        }
        Ok(ToReplica::Request(request)) => Ok(Wanted::Order(request)),
        Ok(ToReplica::Query { .. } | ToReplica::View { .. }) if sender.as_replica().is_some() => {
            Err("a replica's question")
        }
        Ok(ToReplica::Query { op, .. }) if op.len() > MAX_QUERY_BYTES => Err("a query too long"),
        Ok(ToReplica::Query {
            id,
            min_height,
            op,
            whole,
        }) => Ok(Wanted::Answer(Query {
            client: sender,
            id,
            min_height,
            op,
            whole,
        })),
        Ok(ToReplica::View { known }) => Ok(Wanted::View {
            client: sender,
            known,
        }),
        Err(_) => Err("unreadable"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use consensus::SigningKey;

    use super::*;

    const CLIENT: PeerId = PeerId::Client(70_000);

    fn encoded(message: &ToReplica) -> Vec<u8> {
        postcard::to_stdvec(message).unwrap()
    }

    fn query(bytes: usize) -> ToReplica {
        ToReplica::Query {
            id: 1,
            min_height: 2,
            op: Bytes::from(vec![0; bytes]),
            whole: true,
        }
    }

    #[test]
    fn a_client_speaks_for_itself_only() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let request = Request::sign(&key, ClientId(70_000), 1, 1, Bytes::new());
        let message = encoded(&ToReplica::Request(request.clone()));
        assert_eq!(client_message(CLIENT, &message), Ok(Wanted::Order(request)));
        assert!(client_message(PeerId::Client(70_001), &message).is_err());
        assert!(client_message(PeerId::Replica(1), &message).is_err());
    }

    #[test]
    fn queries_are_clients_and_short() {
        let longest = encoded(&query(MAX_QUERY_BYTES));
        assert!(matches!(
            client_message(CLIENT, &longest),
            Ok(Wanted::Answer(_))
        ));
        assert!(client_message(PeerId::Replica(1), &longest).is_err());
        assert!(client_message(CLIENT, &encoded(&query(MAX_QUERY_BYTES + 1))).is_err());
    }

    #[test]
    fn anything_else_is_dropped() {
        assert!(client_message(CLIENT, b"").is_err());
        assert!(client_message(CLIENT, &[0xff; 100]).is_err());
        let mut cut = encoded(&query(50));
        cut.truncate(20);
        assert!(client_message(CLIENT, &cut).is_err());
    }
}
