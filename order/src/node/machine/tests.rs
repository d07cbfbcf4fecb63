//! The replicated state in virtual batches: executed once, and undone if it was not to be.

use consensus::{Batch, Change, Proof, PublicKey, ReplicaId, SigningKey, Step};

use super::*;

/// Appends what it is told, with the place.
struct Journal(Vec<u8>);

impl Service for Journal {
    fn execute(&mut self, context: &Context, op: &[u8]) -> Bytes {
        self.0.extend_from_slice(op);
        self.0.push(context.height as u8 * 16 + context.index as u8);
        if op == b"long" {
            return vec![0; MAX_RESULT_BYTES + 1].into();
        }
        self.0.clone().into()
    }

    fn query(&self, op: &[u8]) -> Bytes {
        [op, &self.0].concat().into()
    }

    fn snapshot(&self) -> Bytes {
        self.0.clone().into()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.0 = state.to_vec();
        Ok(())
    }
}

fn decided(height: Height, calls: &[(u32, u64, Call)]) -> Decided {
    let ops = calls
        .iter()
        .map(|(client, seq, call)| (*client, *seq, call.encode()));
    batch(height, ops.collect())
}

fn batch(height: Height, ops: Vec<(u32, u64, Bytes)>) -> Decided {
    let key = SigningKey::from_bytes(&[1; 32]);
    let sign = |(client, seq, op)| Request::sign(&key, ClientId(client), 1, seq, op);
    let requests = ops.into_iter().map(sign).collect();
    Decided {
        height,
        regency: 0,
        batch: Batch {
            time_ms: height * 1_000,
            entries: Vec::new(),
        },
        requests,
        proof: Proof {
            regency: 0,
            accepts: Vec::new(),
        },
    }
}

fn execute(op: &'static [u8]) -> Call {
    Call::Execute(Bytes::from_static(op))
}

fn machine() -> Machine<Journal> {
    let view = View {
        id: 7,
        ..View::default()
    };
    Machine::new(Journal(Vec::new()), view)
}

#[test]
fn a_batch_is_executed_in_its_order_and_once() {
    let mut machine = machine();
    let batch = decided(1, &[(70_000, 1, execute(b"a")), (70_001, 1, execute(b"b"))]);
    let executed = machine.apply(&batch).unwrap();
    let results: Vec<_> = executed
        .iter()
        .map(|e| e.reply.as_ref().unwrap().result.clone())
        .collect();
    assert_eq!(results, [&b"a\x10"[..], b"a\x10b\x11"]);
    assert_eq!(machine.apply(&batch), Ok(Vec::new()));
    assert_eq!(machine.query(b"?"), &b"?a\x10b\x11"[..]);
    let kept = machine.reply(ClientId(70_001), 1, 1).unwrap();
    assert_eq!((kept.height, kept.view), (1, 7));
}

#[test]
fn a_gap_is_refused() {
    let mut machine = machine();
    assert!(machine.apply(&decided(2, &[])).is_err());
    assert_eq!(machine.height(), 0);
}

#[test]
fn an_ordered_query_is_answered_at_its_place_and_changes_nothing() {
    let mut machine = machine();
    let calls = [
        (70_000, 1, execute(b"a")),
        (70_000, 2, Call::Query(Bytes::from_static(b"?"))),
        (70_000, 3, execute(b"b")),
    ];
    let executed = machine.apply(&decided(1, &calls)).unwrap();
    assert_eq!(executed[1].reply.as_ref().unwrap().result, &b"?a\x10"[..]);
    assert_eq!(machine.query(b""), &b"a\x10b\x12"[..]);
}

#[test]
fn what_replicas_order_among_themselves_does_not_reach_the_service() {
    let mut machine = machine();
    let executed = machine.apply(&decided(1, &[(3, 1, execute(b"a"))]));
    assert_eq!(executed, Ok(Vec::new()));
    assert_eq!((machine.height(), machine.query(b"")), (1, Bytes::new()));
}

#[test]
fn a_result_too_long_to_send_is_no_answer() {
    let mut machine = machine();
    let executed = machine.apply(&decided(1, &[(70_000, 1, execute(b"long"))]));
    assert_eq!(executed.unwrap()[0].reply, None);
    assert_eq!(machine.reply(ClientId(70_000), 1, 1), None);
}

#[test]
fn a_restored_machine_goes_on_as_the_one_it_was_taken_from() {
    let mut one = machine();
    one.apply(&decided(1, &[(70_000, 1, execute(b"a"))]))
        .unwrap();
    let mut other = machine();
    other.restore(&one.snapshot().unwrap()).unwrap();
    assert!(other.reply(ClientId(70_000), 1, 1).is_some());
    let next = decided(2, &[(70_001, 1, execute(b"b"))]);
    assert_eq!(one.apply(&next), other.apply(&next));
    assert_eq!(one.snapshot(), other.snapshot());
    assert!(other.restore(b"\xff\xff no state").is_err());
}

#[test]
fn an_administrators_request_changes_the_view_from_the_next_height_on() {
    let key = |seed| PublicKey::of(&SigningKey::from_bytes(&[seed; 32]));
    let admin = ClientId(80_000);
    let view = View {
        id: 7,
        f: 1,
        replicas: (0..4)
            .map(|id| (ReplicaId(id), key(id as u8 + 1)))
            .collect(),
        clients: [(admin, key(9))].into(),
        administrators: [admin].into(),
        ..View::default()
    };
    let mut machine = Machine::new(Journal(Vec::new()), view);
    let step = Step::AddReplica {
        id: ReplicaId(4),
        key: key(5),
        contact: String::new(),
    };
    let change = Change {
        base: 7,
        steps: vec![step],
    };
    let ops = |height| {
        vec![
            (70_000, height, execute(b"a").encode()),
            (admin.0, height, change.encode().into()),
        ]
    };
    let became = |executed: &[Executed]| {
        let replies = executed.iter().map(|e| e.reply.clone().unwrap());
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies[0].view, replies[1].view);
        (
            replies[0].view,
            Reconfigured::decode(&replies[1].result).unwrap(),
        )
    };
    let first = machine.apply(&batch(1, ops(1))).unwrap();
    assert_eq!(became(&first), (7, Reconfigured::View(8)));
    assert_eq!((machine.view().id, machine.view().n()), (8, 5));
    // The same once more was made for another view; and a copy of the machine knows the view too.
    let mut copy = Machine::new(Journal(Vec::new()), View::default());
    copy.restore(&machine.snapshot().unwrap()).unwrap();
    let second = copy.apply(&batch(2, ops(2))).unwrap();
    let (view, became) = became(&second);
    assert!(matches!(became, Reconfigured::Unchanged(why) if why.contains("view 7")));
    assert_eq!((view, copy.view().id), (8, 8));
    assert_eq!(
        copy.query(b""),
        &b"a\x10a\x20"[..],
        "the service never saw a change"
    );
}

fn tentative(height: Height, ops: Vec<(u32, u64, Bytes)>, time_ms: u64) -> Tentative {
    let Decided {
        requests,
        mut batch,
        ..
    } = batch(height, ops);
    batch.time_ms = time_ms;
    Tentative {
        height,
        regency: 0,
        batch,
        requests,
    }
}

fn append(op: &'static [u8], seq: u64) -> Vec<(u32, u64, Bytes)> {
    vec![(70_000, seq, execute(op).encode())]
}

#[test]
fn what_was_executed_tentatively_is_kept_when_it_is_decided() {
    let mut machine = machine();
    let told = machine.apply_tentatively(&tentative(1, append(b"a", 1), 1_000));
    let told = told.unwrap().unwrap();
    assert_eq!(machine.height(), 0);
    assert_eq!(machine.reply(ClientId(70_000), 1, 1), None, "not final");
    let decided = machine.apply(&batch(1, append(b"a", 1))).unwrap();
    assert_eq!(decided, told);
    assert!(machine.reply(ClientId(70_000), 1, 1).is_some());
    assert_eq!(machine.query(b""), &b"a\x10"[..], "executed once");
}

#[test]
fn what_was_executed_tentatively_is_undone_when_another_value_is_decided() {
    let (mut machine, mut other) = (machine(), machine());
    let first = tentative(1, append(b"wrong", 1), 7);
    machine.apply_tentatively(&first).unwrap().unwrap();
    // Another lock in a later regency, and then a decision on neither.
    let second = tentative(1, append(b"wrong too", 2), 8);
    machine.apply_tentatively(&second).unwrap().unwrap();
    let decided = batch(1, append(b"right", 3));
    assert_eq!(machine.apply(&decided), other.apply(&decided));
    assert_eq!(machine.snapshot(), other.snapshot());
    assert_eq!(machine.reply(ClientId(70_000), 1, 1), None);
    assert_eq!(machine.query(b""), &b"right\x10"[..]);
}

#[test]
fn a_snapshot_holds_nothing_tentative_and_a_restored_state_neither() {
    let mut machine = machine();
    machine.apply(&batch(1, append(b"a", 1))).unwrap();
    let snapshot = machine.snapshot().unwrap();
    let ahead = tentative(2, append(b"b", 2), 2_000);
    machine.apply_tentatively(&ahead).unwrap().unwrap();
    assert_eq!(machine.snapshot().unwrap(), snapshot);
    machine.apply(&batch(2, append(b"b", 2))).unwrap();
    assert_eq!(machine.query(b""), &b"a\x10b\x20"[..]);
    let ahead = tentative(3, append(b"c", 3), 3_000);
    machine.apply_tentatively(&ahead).unwrap().unwrap();
    machine.restore(&snapshot).unwrap();
    assert_eq!(
        (machine.height(), machine.query(b"")),
        (1, Bytes::from_static(b"a\x10"))
    );
}

#[test]
fn only_the_next_height_is_executed_tentatively() {
    let mut machine = machine();
    machine.apply(&batch(1, append(b"a", 1))).unwrap();
    for height in [1, 3] {
        let told = machine.apply_tentatively(&tentative(height, append(b"b", 2), 0));
        assert_eq!(told, Ok(None));
    }
    assert_eq!(machine.query(b""), &b"a\x10"[..]);
}
