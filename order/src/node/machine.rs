//! The replicated state: the service, the answers it gave, and how far it is. Deterministic: batches in, answers out.

use bytes::Bytes;
use consensus::service::Call;
use consensus::{ClientId, Decided, Digest, Height, Request};
use serde::{Deserialize, Serialize};

use super::bounds::MAX_RESULT_BYTES;
use super::replies::{Reply, ReplyStore};
use super::service::{Context, Service};

/// A service with its place in the order.
pub struct Machine<S> {
    service: S,
    view: u64,
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
    replies: ReplyStore,
    service: Bytes,
}

impl<S: Service> Machine<S> {
    /// A service at genesis.
    pub fn new(service: S, view: u64) -> Self {
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
            executed.push(self.execute(context, request));
        }
        self.doing = Doing::Nothing;
        self.height = decided.height;
        Ok(executed)
    }

    fn execute(&mut self, context: Context, request: &Request) -> Executed {
        self.doing = Doing::Executing(context);
        let result = match Call::decode(&request.op) {
            Some(Call::Execute(op)) => self.service.execute(&context, &op),
            Some(Call::Query(op)) => self.service.query(&op),
            // Only a client that does not keep to the protocol hears this.
            None => Bytes::new(),
        };
        let reply = (result.len() <= MAX_RESULT_BYTES).then(|| Reply {
            height: context.height,
            view: self.view,
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

    /// Height, kept answers and the service's state: equal bytes at equal heights on all replicas.
    pub fn snapshot(&mut self) -> Bytes {
        self.doing = Doing::Storing(self.height);
        let state = State {
            height: self.height,
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
            replies,
            service,
        } = postcard::from_bytes(state).map_err(|error| format!("not a state: {error}"))?;
        self.doing = Doing::Storing(height);
        self.service.restore(&service)?;
        self.doing = Doing::Nothing;
        (self.height, self.replies) = (height, replies);
        Ok(())
    }
}

/// Names a snapshot.
pub fn digest(snapshot: &[u8]) -> Digest {
    Digest::of(b"steeldb/1/node-state", &[snapshot])
}

#[cfg(test)]
mod tests {
    use consensus::{Batch, Proof, SigningKey};

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
        let key = SigningKey::from_bytes(&[1; 32]);
        let requests = calls
            .iter()
            .map(|(client, seq, call)| {
                Request::sign(&key, ClientId(*client), 1, *seq, call.encode())
            })
            .collect();
        Decided {
            height,
            regency: 0,
            batch: Batch {
                after: consensus::Digest::default(),
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
        Machine::new(Journal(Vec::new()), 7)
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
}
