//! The replicated state: the service, the answers it gave, and how far it is. Deterministic: batches in, answers out.

use bytes::Bytes;
use consensus::service::{Call, Reconfigured};
use consensus::{ChangeError, ClientId, Decided, Digest, Height, Request, Tentative, View};
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
    /// What the service has executed beyond that, to be undone if something else is decided.
    ahead: Option<Ahead>,
    doing: Doing,
}

/// The effects of a value that is not decided.
struct Ahead {
    digest: Digest,
    /// The way back.
    saved: Bytes,
    executed: Vec<Executed>,
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
            ahead: None,
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
        let executed = match self.ahead.take() {
            Some(ahead) if ahead.digest == decided.batch.digest() => {
                self.service.settle();
                ahead.executed
            }
            ahead => {
                self.undo(ahead)?;
                let time_ms = decided.batch.time_ms;
                self.run(decided.height, time_ms, &decided.requests, change.as_ref())
            }
        };
        for Executed {
            client,
            incarnation,
            seq,
            reply,
        } in &executed
        {
            if let Some(reply) = reply {
                self.replies.add(*client, *incarnation, *seq, reply.clone());
            }
        }
        self.height = decided.height;
        if let Some(Ok(next)) = change {
            self.view = next;
        }
        Ok(executed)
    }

    /// Executes what may be the next batch; nothing of it is kept, and no query sees it, before it is decided. None if it cannot be
    /// the next one.
    ///
    /// # Errors
    /// When what was executed so before cannot be undone.
    pub fn apply_tentatively(
        &mut self,
        value: &Tentative,
    ) -> Result<Option<Vec<Executed>>, String> {
        let mut clients = value.requests.iter().map(|request| request.client);
        if value.height != self.height + 1 || clients.any(|client| self.view.administers(client)) {
            return Ok(None);
        }
        let digest = value.batch.digest();
        if let Some(ahead) = self.ahead.as_ref().filter(|a| a.digest == digest) {
            return Ok(Some(ahead.executed.clone()));
        }
        let before = self.ahead.take();
        self.undo(before)?;
        self.doing = Doing::Storing(self.height);
        let saved = self.service.save();
        let time_ms = value.batch.time_ms;
        let executed = self.run(value.height, time_ms, &value.requests, None);
        self.ahead = Some(Ahead {
            digest,
            saved,
            executed: executed.clone(),
        });
        Ok(Some(executed))
    }

    fn undo(&mut self, ahead: Option<Ahead>) -> Result<(), String> {
        let Some(ahead) = ahead else { return Ok(()) };
        self.doing = Doing::Storing(self.height);
        self.service.rollback(&ahead.saved).map_err(|why| {
            format!(
                "the service cannot go back to height {}: {why}",
                self.height
            )
        })?;
        self.doing = Doing::Nothing;
        Ok(())
    }

    fn run(
        &mut self,
        height: Height,
        time_ms: u64,
        requests: &[Request],
        change: Option<&Result<View, ChangeError>>,
    ) -> Vec<Executed> {
        let mut executed = Vec::with_capacity(requests.len());
        for (index, request) in (0..).zip(requests) {
            // What replicas order among themselves is not the service's.
            if request.client.as_replica().is_some() {
                continue;
            }
            let context = Context {
                client: request.client,
                height,
                index,
                time_ms,
            };
            let result = match change {
                // An administrator's request is a change and nothing else, and the last of its batch.
                Some(change) if self.view.administers(request.client) => {
                    Reconfigured::of(change).encode()
                }
                _ => self.execute(context, request),
            };
            let reply = (result.len() <= MAX_RESULT_BYTES).then(|| Reply {
                height,
                view: self.view.id,
                result,
            });
            executed.push(Executed {
                client: request.client,
                incarnation: request.incarnation,
                seq: request.seq,
                reply,
            });
        }
        self.doing = Doing::Nothing;
        executed
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

    /// The kept answer to a request that was executed.
    pub fn reply(&self, client: ClientId, incarnation: u64, seq: u64) -> Option<&Reply> {
        self.replies.get(client, incarnation, seq)
    }

    /// Answers a query at the height executed last; not while something was executed tentatively, which it would see.
    pub fn query(&mut self, op: &[u8]) -> Bytes {
        self.doing = Doing::Answering(self.height);
        let result = self.service.query(op);
        self.doing = Doing::Nothing;
        result
    }

    /// Height, view, kept answers and the service's state: equal bytes at equal heights on all replicas. What was executed tentatively
    /// is undone, and executed again when it is decided.
    ///
    /// # Errors
    /// When it cannot be undone.
    pub fn snapshot(&mut self) -> Result<Bytes, String> {
        let ahead = self.ahead.take();
        self.undo(ahead)?;
        self.doing = Doing::Storing(self.height);
        let state = State {
            height: self.height,
            view: self.view.clone(),
            replies: self.replies.clone(),
            service: self.service.snapshot(),
        };
        self.doing = Doing::Nothing;
        Ok(postcard::to_stdvec(&state)
            .expect("these types have no unserialisable parts")
            .into())
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
        let ahead = self.ahead.take();
        self.undo(ahead)?;
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
mod tests;
