//! The replicated state: the service, the answers it gave, and how far it is. Deterministic: batches in, answers out.

use bytes::Bytes;
use consensus::service::{Call, Reconfigured};
use consensus::{ClientId, Decided, Digest, Height, Request, View};
use serde::{Deserialize, Serialize};

use super::bounds::MAX_RESULT_BYTES;
use super::replies::{Reply, ReplyStore};
use super::service::{Context, Service};

/// A service with its place in the order.
pub struct Machine<S> {
    service: S,
    /// Holds after `height`.
    view: View,
    height: Height,
    replies: ReplyStore,
    doing: Doing,
}

/// One executed request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Who asked.
    pub client: ClientId,
    /// In which incarnation.
    pub incarnation: u64,
    /// Under which number.
    pub seq: u64,
    /// Its answer; none when the result is longer than can be sent.
    pub reply: Option<Reply>,
}

/// What the service is asked to do, to be told if it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    Nothing,
    /// Executing the request at this place.
    Executing(Context),
    /// Answering a query after this height.
    Answering(Height),
    /// Writing or reading its state at this height.
    Storing(Height),
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => write!(f, "doing nothing"),
            Self::Executing(at) => write!(
                f,
                "executing request {} of height {}, from client {}",
                at.index, at.height, at.client
            ),
            Self::Answering(height) => write!(f, "answering a query at height {height}"),
            Self::Storing(height) => write!(f, "storing its state at height {height}"),
        }
    }
}

/// All of the replicated state, as a checkpoint holds it.
#[derive(Serialize, Deserialize)]
struct State {
    height: Height,
    view: View,
    replies: ReplyStore,
    service: Bytes,
}

impl<S: Service> Machine<S> {
    /// A service at genesis, in the view in which the cluster began.
    pub fn new(service: S, view: View) -> Self {
        Self {
            service,
            view,
            height: 0,
            replies: ReplyStore::default(),
            doing: Doing::Nothing,
        }
    }

    /// The last height executed.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The view that holds after it: an administrator's request makes the next one.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What the service was asked for last and has not finished.
    pub fn doing(&self) -> Doing {
        self.doing
    }

    /// Executes the next batch. One that was executed before is passed over: nothing is executed twice.
    ///
    /// # Errors
    /// When heights are missing between; nothing was executed then.
    pub fn apply(&mut self, decided: &Decided) -> Result<Vec<Executed>, String> {
        if decided.height <= self.height {
            return Ok(Vec::new());
        }
        if decided.height != self.height + 1 {
            return Err(format!(
                "height {} was to be executed after {}: decisions between are missing",
                decided.height, self.height
            ));
        }
        let change = self.view.after(decided);
        let mut executed = Vec::with_capacity(decided.requests.len());
        for (index, request) in (0..).zip(&decided.requests) {
            // What replicas order among themselves is not the service's.
            if request.client.as_replica().is_some() {
                continue;
            }
            let context = Context {
                client: request.client,
                height: decided.height,
                index,
                time_ms: decided.batch.time_ms,
            };
            let result = match &change {
                // An administrator's request is a change and nothing else, and the last of its batch.
                Some(change) if self.view.administers(request.client) => {
                    Reconfigured::of(change).encode()
                }
                _ => self.execute(context, request),
            };
            executed.push(self.executed(context, request, result));
        }
        self.doing = Doing::Nothing;
        self.height = decided.height;
        if let Some(Ok(next)) = change {
            self.view = next;
        }
        Ok(executed)
    }

    fn execute(&mut self, context: Context, request: &Request) -> Bytes {
        self.doing = Doing::Executing(context);
        match Call::decode(&request.op) {
            Some(Call::Execute(op)) => self.service.execute(&context, &op),
            Some(Call::Query(op)) => self.service.query(&op),
            // Only a client that does not keep to the protocol hears this.
            None => Bytes::new(),
        }
    }

    fn executed(&mut self, context: Context, request: &Request, result: Bytes) -> Executed {
        let reply = (result.len() <= MAX_RESULT_BYTES).then(|| Reply {
            height: context.height,
            view: self.view.id,
            result,
        });
        if let Some(reply) = &reply {
            self.replies.add(
                request.client,
                request.incarnation,
                request.seq,
                reply.clone(),
            );
        }
        Executed {
            client: request.client,
            incarnation: request.incarnation,
            seq: request.seq,
            reply,
        }
    }

    /// The kept answer to a request that was executed.
    pub fn reply(&self, client: ClientId, incarnation: u64, seq: u64) -> Option<&Reply> {
        self.replies.get(client, incarnation, seq)
    }

    /// Answers a query at the height executed last.
    pub fn query(&mut self, op: &[u8]) -> Bytes {
        self.doing = Doing::Answering(self.height);
        let result = self.service.query(op);
        self.doing = Doing::Nothing;
        result
    }

    /// Height, view, kept answers and the service's state: equal bytes at equal heights on all replicas.
    pub fn snapshot(&mut self) -> Bytes {
        self.doing = Doing::Storing(self.height);
        let state = State {
            height: self.height,
            view: self.view.clone(),
            replies: self.replies.clone(),
            service: self.service.snapshot(),
        };
        self.doing = Doing::Nothing;
        postcard::to_stdvec(&state)
            .expect("these types have no unserialisable parts")
            .into()
    }

    /// Replaces everything by what [`snapshot`](Machine::snapshot) gave, here or at another replica. The caller has
    /// checked that the bytes are a correct replica's, for instance by [`digest`] and what f + 1 say of it.
    ///
    /// # Errors
    /// When the bytes are no state; nothing but the service may have changed then, and it must not be used further.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let State {
            height,
            view,
            replies,
            service,
        } = postcard::from_bytes(state).map_err(|error| format!("not a state: {error}"))?;
        self.doing = Doing::Storing(height);
        self.service.restore(&service)?;
        self.doing = Doing::Nothing;
        (self.height, self.view, self.replies) = (height, view, replies);
        Ok(())
    }
}

/// Names a snapshot.
pub fn digest(snapshot: &[u8]) -> Digest {
    Digest::of(b"steeldb/1/node-state", &[snapshot])
}

#[cfg(test)]
mod tests {
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
        other.restore(&one.snapshot()).unwrap();
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
        copy.restore(&machine.snapshot()).unwrap();
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
}
