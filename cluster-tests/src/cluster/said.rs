//! What a node says of itself, read.

use std::collections::BTreeSet;

use serde_json::Value;

/// Whether a node serves, nobody is catching up, and each other member answers and is well.
pub(crate) fn is_whole(status: &Value, is_well: impl Fn(&Value) -> bool) -> bool {
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let own = status["name"].as_str();
    let others = members(status).into_iter().filter(|name| Some(name.as_str()) != own);
    let mut others = others.map(|name| peers.iter().find(|peer| peer["name"] == *name));
    status["health"] == "ok"
        && status["is_in_transition"] == false
        && others.all(|peer| peer.is_some_and(|peer| peer["reachable"] == true && is_well(peer)))
}

pub(crate) fn lacks_nothing(peer: &Value) -> bool {
    peer["lag_sessions"] == 0 && peer["lag_slots"] == 0
}

/// The names of the members, as a node has them.
#[must_use]
pub fn members(status: &Value) -> BTreeSet<String> {
    let members = status["members"].as_array().into_iter().flatten();
    members.filter_map(|member| member["name"].as_str().map(str::to_owned)).collect()
}

/// The names of those who make decisions, as a node knows them.
#[must_use]
pub fn voters(status: &Value) -> BTreeSet<String> {
    let voters = status["voters"].as_array().into_iter().flatten();
    voters.filter_map(|voter| voter.as_str().map(str::to_owned)).collect()
}
