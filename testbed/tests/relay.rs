//! The relay: it delays, keeps order and content, passes ends on one by one, and holds no more than its bound.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testbed::Relay;
use testbed::relay::{Delay, Link};

fn link(there: Duration, back: Duration) -> Link {
    let constant = |mean| Delay {
        mean,
        deviation: Duration::ZERO,
    };
    Link {
        there: constant(there),
        back: constant(back),
    }
}

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn relay(server: SocketAddr, link: Link) -> Relay {
    Relay::start("127.0.0.1:0".parse().unwrap(), server, link, 7).unwrap()
}

/// A server for one connection.
#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn serve<T: Send + 'static>(
    with: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        std::thread::spawn(move || with(listener.accept().unwrap().0)),
    )
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

#[expect(clippy::unwrap_used, reason = "a test may panic")]
fn ask(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

#[test]
fn an_answer_takes_the_way_there_and_back_and_the_first_one_also_the_opening() {
    let (server, serving) = serve(echo);
    let (there, back) = (Duration::from_millis(15), Duration::from_millis(25));
    let relay = relay(server, link(there, back));
    let began = Instant::now();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    ask(&mut stream);
    assert!(
        began.elapsed() >= 2 * (there + back),
        "{:?}",
        began.elapsed()
    );
    for _ in 0..3 {
        let took = ask(&mut stream);
        assert!(took >= there + back, "{took:?}");
    }
    drop(stream);
    serving.join().unwrap();
    // A byte is counted after it has been written, so the answer may be here before its count is.
    let until = Instant::now() + Duration::from_secs(20);
    while relay.bytes() != (4, 4) {
        assert!(Instant::now() < until, "{:?}", relay.bytes());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bounds above would fail on a busy machine; what it prints is in the report of the room.
#[test]
fn a_lans_delay_is_never_less_than_asked_for() {
    let (server, serving) = serve(echo);
    let one_way = Duration::from_micros(100);
    let relay = relay(server, link(one_way, one_way));
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times: Vec<Duration> = (0..300).map(|_| ask(&mut stream)).collect();
    times.sort();
    println!(
        "2 x 100 us: least {:?}, median {:?}, 99 % {:?}",
        times[0], times[150], times[297]
    );
    assert!(times[0] >= 2 * one_way, "{:?}", times[0]);
    assert!(relay.cpu_seconds() > 0.0);
    drop(stream);
    serving.join().unwrap();
}

#[test]
fn order_and_content_stay_under_jitter() {
    let (server, serving) = serve(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let mut link = link(Duration::from_millis(5), Duration::ZERO);
    link.there.deviation = Duration::from_millis(4);
    let relay = relay(server, link);
    let sent: Vec<u8> = (0..8_000_000u64)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as u8)
        .collect();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    for (n, part) in sent.chunks(40_009).enumerate() {
        stream.write_all(part).unwrap();
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(7));
        }
    }
    drop(stream);
    assert!(serving.join().unwrap() == sent, "other bytes have arrived");
    // The server has seen the end, which leaves after all bytes were counted.
    assert_eq!(relay.bytes().0, 8_000_000);
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let (server, serving) = serve(|mut stream| {
        let mut asked = String::new();
        stream.read_to_string(&mut asked).unwrap();
        stream
            .write_all(format!("{asked} heard").as_bytes())
            .unwrap();
    });
    let relay = relay(
        server,
        link(Duration::from_millis(2), Duration::from_millis(2)),
    );
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.write_all(b"all").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all heard");
    serving.join().unwrap();
}

#[test]
fn who_does_not_read_stops_the_sender() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (server, serving) = serve(move |mut stream| {
        wait.recv().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let relay = relay(
        server,
        link(Duration::from_millis(1), Duration::from_millis(1)),
    );
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut sent = 0;
    // The relay holds 4 MiB, and the kernel some megabytes more on both sides of it.
    while sent < 200_000_000 {
        match stream.write(&[1; 1 << 16]) {
            Ok(written) => sent += written as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < 100_000_000, "{sent} bytes and no end");
    go.send(()).unwrap();
    drop(stream);
    assert_eq!(serving.join().unwrap(), sent);
}

#[test]
fn a_server_that_is_not_there_ends_the_connection_and_a_dropped_relay_all_of_them() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refusing = relay(
        nobody,
        link(Duration::from_millis(1), Duration::from_millis(1)),
    );
    let mut stream = TcpStream::connect(refusing.address()).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    let (server, serving) = serve(echo);
    let dropped = relay(server, Link::default());
    let mut stream = TcpStream::connect(dropped.address()).unwrap();
    ask(&mut stream);
    let address = dropped.address();
    drop(dropped);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());
    serving.join().unwrap();
}
