//! What operators ask of a node over its own port, and what it answers. An embedding program has
//! nothing to do for it: whoever has an operator's certificate of the cluster can look at a node,
//! drain it, and change the cluster.

use std::sync::Weak;

use bytes::Bytes;
use membership::ProposeError;
use protocol::{Copies, Decision, Member, Refused};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use transport::Operators;

use crate::replica::{Replica, Shared};

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// A picture of the node: [`Status`](crate::Status).
    Status,
    /// Another number of copies of every session, on all nodes.
    Resize {
        /// How many.
        copies: Copies,
    },
    /// The node takes no more requests, hands over what it holds, leaves and ends.
    Drain,
    /// A member that does not answer is removed now.
    Remove {
        /// Its name.
        name: String,
        /// Also if sessions are lost that nobody else holds.
        accept_loss: bool,
    },
    /// All members run a later release: they speak its version of the wire from now on, and the
    /// release before cannot come back.
    Upgrade,
    /// The majority of the voters is lost for good: membership is made anew from what this node
    /// knows, with the members that it reaches.
    Recover,
}

/// What a node answers: what there is to tell, or one line that says why not.
pub type Answer = Result<Value, String>;

impl Request {
    /// As bytes, for the network.
    ///
    /// # Panics
    /// Never: every request can be written.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("it has no map with other keys than texts").into()
    }
}

/// Reads an answer.
///
/// # Errors
/// What the node says is wrong, or that its answer cannot be read.
pub fn read_answer(bytes: &[u8]) -> Answer {
    serde_json::from_slice::<Answer>(bytes)
        .unwrap_or_else(|error| Err(format!("the node runs another release: {error}")))
}

/// Answers operators until the node stops.
pub(crate) async fn serve(shared: Weak<Shared>, mut operators: Operators) {
    while let Some(request) = operators.next().await {
        let Some(shared) = shared.upgrade() else { return };
        tokio::spawn(async move {
            let who = request.operator.clone();
            let answer = match serde_json::from_slice::<Request>(&request.bytes) {
                Ok(asked) => {
                    if asked != Request::Status {
                        tracing::warn!("operator {who} asks for {asked:?}");
                    }
                    Replica { shared }.obey(asked).await
                }
                Err(error) => Err(format!("this node runs another release: {error}")),
            };
            let bytes = serde_json::to_vec(&answer).unwrap_or_default();
            request.answer(bytes.into());
        });
    }
}

impl Replica {
    async fn obey(&self, request: Request) -> Answer {
        match request {
            Request::Status => {
                serde_json::to_value(self.status()).map_err(|error| error.to_string())
            }
            Request::Drain => {
                self.shared.drain_asked.send_replace(true);
                Ok(json!({ "draining": self.name() }))
            }
            Request::Resize { copies } => self.decide(Decision::Resize { copies }).await,
            Request::Remove { name, accept_loss } => {
                let view = self.shared.driver.links.agreed().view.clone();
                let member = view.members.iter().find(|member| member.name.0 == name);
                let inc = member.and_then(|member| member.inc);
                let inc = inc.ok_or_else(|| format!("{name} is no member"))?;
                self.decide(Decision::Remove { inc, accept_loss }).await
            }
            Request::Upgrade => {
                let view = self.shared.driver.links.agreed().view.clone();
                let version = view.possible_protocol();
                self.decide(Decision::SetProtocol { version }).await?;
                let latest = view.members.iter().map(|member| member.version).max();
                let is_behind = |member: &&Member| Some(member.version) < latest;
                let behind = view.members.iter().filter(is_behind);
                let behind: Vec<String> = behind.map(|member| member.name.to_string()).collect();
                Ok(json!({ "protocol": version, "was": view.protocol, "behind": behind }))
            }
            Request::Recover => match &self.shared.agreement {
                Some(agreement) => agreement.recover().await.map(|kept| json!({ "members": kept })),
                None => Err(FIXED.to_owned()),
            },
        }
    }

    async fn decide(&self, decision: Decision) -> Answer {
        let Some(agreement) = &self.shared.agreement else { return Err(FIXED.to_owned()) };
        match agreement.decide(decision).await {
            Ok(epoch) => Ok(json!({ "epoch": epoch })),
            Err(ProposeError::Refused { why: Refused::NoNews, .. }) => Ok(json!({ "epoch": null })),
            Err(ProposeError::Refused { why: Refused::WouldLose(slots), .. }) => Err(format!(
                "{} of 4096 parts of the sessions have no other member that holds them; \
                 --accept-loss removes it nevertheless",
                slots.len()
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}

const FIXED: &str = "the members of this cluster are fixed by its configuration";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written_and_nothing_else_is() {
        let two = Copies::Count(2.try_into().unwrap());
        let remove = Request::Remove { name: "n2".to_owned(), accept_loss: true };
        for request in [
            Request::Status,
            Request::Resize { copies: two },
            Request::Resize { copies: Copies::All },
            Request::Drain,
            Request::Upgrade,
            remove,
            Request::Recover,
        ] {
            assert_eq!(serde_json::from_slice::<Request>(&request.to_bytes()).unwrap(), request);
        }
        for wrong in ["", "{}", "\"stop\"", "{\"remove\":{\"name\":\"n1\"}}"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
        assert!(read_answer(b"x").is_err_and(|error| error.contains("another release")));
        assert_eq!(read_answer(b"{\"Err\":\"no\"}"), Err("no".to_owned()));
        assert_eq!(read_answer(b"{\"Ok\":7}"), Ok(json!(7)));
    }
}
