//! A cable between a dialler and a listener that can hold a handshake back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Forwards everything, but until it is opened keeps back what a dialler says after the listener's first answer:
/// the proof of its key.
pub struct Cable {
    /// Where to dial.
    pub near: SocketAddr,
    used: Arc<AtomicUsize>,
    held: Arc<Notify>,
    open: watch::Sender<bool>,
}

impl Cable {
    pub async fn to(far: SocketAddr) -> Cable {
        let listener = TcpListener::bind(super::any_port()).await.unwrap();
        let cable = Cable {
            near: listener.local_addr().unwrap(),
            used: Arc::default(),
            held: Arc::default(),
            open: watch::Sender::new(false),
        };
        let (used, held, open) = (
            cable.used.clone(),
            cable.held.clone(),
            cable.open.subscribe(),
        );
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                used.fetch_add(1, SeqCst);
                let far = TcpStream::connect(far).await.unwrap();
                tokio::spawn(forward(near, far, held.clone(), open.clone()));
            }
        });
        cable
    }

    /// Waits until a proof of a key is on its way.
    pub async fn holds(&self) {
        let held = tokio::time::timeout(super::PATIENCE, self.held.notified());
        held.await.expect("a handshake in time");
    }

    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// Connections so far.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }
}

async fn forward(
    near: TcpStream,
    far: TcpStream,
    held: Arc<Notify>,
    mut open: watch::Receiver<bool>,
) {
    let answered = AtomicBool::new(false);
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_far.read(&mut buffer).await {
            answered.store(true, SeqCst);
            if to_near.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        let _ = to_near.shutdown().await;
    };
    let forth = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_near.read(&mut buffer).await {
            if answered.load(SeqCst) && !*open.borrow() {
                held.notify_one();
                let _ = open.wait_for(|open| *open).await;
            }
            if to_far.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        let _ = to_far.shutdown().await;
    };
    tokio::join!(back, forth);
}
