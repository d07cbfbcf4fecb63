//! A party of the cluster that says what the scenario wants: a replica towards clients, or a client towards replicas.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cluster::{Cluster, channel};
use consensus::service::{ToClient, ToReplica};
use net::{Directory, Endpoint, EndpointConfig, Event, Events, Identity, Limits, PeerId};
use tokio::task::JoinHandle;

/// What a false replica answers to a message, if anything.
pub type Script = Box<dyn FnMut(ToReplica) -> Option<ToClient> + Send>;

/// A replica that clients believe to be `id`: it has its key. It takes no part in the order.
pub struct FalseReplica {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    endpoint: Endpoint,
    answering: JoinHandle<()>,
}

impl FalseReplica {
    pub async fn start(
        cluster: &Cluster,
        id: u16,
        identity: Identity,
        script: Script,
    ) -> FalseReplica {
        let (endpoint, events) = endpoint(
            cluster.directory().unwrap(),
            PeerId::Replica(id),
            identity,
            Some(super::free_address()),
            vec![],
        )
        .await;
        let script = Arc::new(Mutex::new(script));
        FalseReplica {
            address: endpoint.local_addr().unwrap(),
            answering: tokio::spawn(answer(endpoint.clone(), events, script.clone())),
            script,
            endpoint,
        }
    }

    /// What it answers from now on.
    pub fn says(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// Sends any bytes to a client, on any channel.
    pub fn send(&self, client: u32, channel: u8, payload: &'static [u8]) {
        let payload = Bytes::from_static(payload);
        self.endpoint
            .send(PeerId::Client(client), channel, payload)
            .unwrap();
    }
}

impl Drop for FalseReplica {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(endpoint: Endpoint, mut events: Events, script: Arc<Mutex<Script>>) {
    while let Some(event) = events.recv().await {
        let Event::Frame {
            from,
            channel: channel::CLIENT,
            payload,
        } = event
        else {
            continue;
        };
        let message = postcard::from_bytes(&payload).unwrap();
        if let ToReplica::View { .. } = message {
            // There is no later one.
            continue;
        }
        let answer = (script.lock().unwrap())(message);
        if let Some(answer) = answer {
            let bytes = postcard::to_stdvec(&answer).unwrap();
            // The client may have gone.
            let _ = endpoint.send(from, channel::CLIENT, bytes.into());
        }
    }
}

/// A client that says any bytes.
pub struct RawClient {
    pub endpoint: Endpoint,
    pub events: Events,
}

impl RawClient {
    /// Connected to all replicas of the cluster file.
    pub async fn connect(cluster: &Cluster, id: u32, identity: Identity) -> RawClient {
        let dial = cluster
            .replicas
            .iter()
            .map(|r| (PeerId::Replica(r.id), r.address))
            .collect();
        let (endpoint, mut events) = endpoint(
            cluster.directory().unwrap(),
            PeerId::Client(id),
            identity,
            None,
            dial,
        )
        .await;
        let mut up = 0;
        while up < cluster.replicas.len() {
            if let Event::Up(_) = super::in_time(events.recv()).await.unwrap() {
                up += 1;
            }
        }
        RawClient { endpoint, events }
    }

    pub fn send(&self, replica: u16, channel: u8, payload: impl Into<Bytes>) {
        self.endpoint
            .send(PeerId::Replica(replica), channel, payload.into())
            .unwrap();
    }

    pub fn say(&self, replica: u16, message: &ToReplica) {
        self.send(
            replica,
            channel::CLIENT,
            postcard::to_stdvec(message).unwrap(),
        );
    }

    /// The next message of a replica.
    pub async fn hear(&mut self) -> (u16, ToClient) {
        loop {
            let event = super::in_time(self.events.recv()).await.unwrap();
            if let Event::Frame {
                from: PeerId::Replica(id),
                payload,
                ..
            } = event
            {
                return (id, postcard::from_bytes(&payload).unwrap());
            }
        }
    }
}

async fn endpoint(
    directory: Directory,
    me: PeerId,
    identity: Identity,
    listen: Option<SocketAddr>,
    dial: Vec<(PeerId, SocketAddr)>,
) -> (Endpoint, Events) {
    let limits = Limits::default();
    Endpoint::start(EndpointConfig {
        me,
        identity,
        directory,
        listen,
        dial,
        limits,
    })
    .await
    .unwrap()
}
