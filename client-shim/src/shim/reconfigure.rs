//! An administrator changes the membership.

use consensus::{Change, Height};
use txn::client::Answer;

use super::Shim;
use crate::error::ShimError;

impl Shim {
    /// Has the membership changed; the height that changed it. What was ordered up to there is voted on by the members before it.
    ///
    /// # Errors
    /// 55000 when nothing was changed, with the reason; 42501 when this client is no administrator; otherwise as
    /// [`Shim::invoke`].
    pub async fn reconfigure(&self, change: &Change) -> Result<Height, ShimError> {
        let seq = self.0.next_seq();
        let receiver = self.0.order_bytes(seq, change.encode());
        let reply = match self.0.answered(seq, receiver).await {
            Some(Ok(reply)) => reply,
            Some(Err(why)) => {
                let what = format!("the replicas do not accept the request: {why}");
                return Err(ShimError::new("53400", what));
            }
            None => return Err(ShimError::unknown_outcome()),
        };
        match reply.answer {
            Answer::Reconfigured { view: Some(_), .. } => Ok(reply.height),
            Answer::Reconfigured { why, .. } => Err(ShimError::new("55000", why)),
            _ => Err(ShimError::new(
                "42501",
                "this client may not change the membership",
            )),
        }
    }
}
