//! Operators, and a node whose program takes their requests.

use bytes::Bytes;
use tokio::time::timeout;
use transport::issue::Validity;
use transport::{
    Limits, Operator, OperatorError, OperatorIdentity, OperatorRequest, Operators, Unanswered,
};

use super::{Cluster, Node, PATIENCE, limits, node_name};

/// The application protocol of operators.
pub const PROTOCOL: &[u8] = b"replica-operators/1";

/// Connections of operators at once.
pub const OPERATORS_MAX: usize = 8;

/// Requests at once on one of them.
pub const REQUESTS_MAX: usize = 2;

pub fn ann(cluster: &Cluster) -> OperatorIdentity {
    let issued = cluster.ca.operator(&node_name("ann"), Validity::days(1)).unwrap();
    OperatorIdentity::load(&cluster.write("ann", &issued), cluster.ca.cluster()).unwrap()
}

/// A node whose program takes requests.
pub fn node(cluster: &Cluster) -> (Node, Operators) {
    node_with(cluster, |_| {})
}

pub fn node_with(cluster: &Cluster, set: impl FnOnce(&mut Limits)) -> (Node, Operators) {
    let mut config = cluster.config("n1");
    set(&mut config.limits);
    let node = Node::start(config);
    let operators = node.endpoint.operators().unwrap();
    (node, operators)
}

pub async fn connect(node: &Node, identity: &OperatorIdentity) -> Operator {
    let address = node.at().address;
    let limits = limits();
    let connect = Operator::connect(identity, &address, &limits);
    timeout(PATIENCE, connect).await.expect("no connection").unwrap()
}

pub async fn next(operators: &mut Operators) -> OperatorRequest {
    timeout(PATIENCE, operators.next()).await.expect("no request").expect("stopped")
}

/// Asks while the program answers with what this makes of the request.
pub async fn ask(
    operator: &Operator,
    operators: &mut Operators,
    request: Bytes,
    answer: impl FnOnce(&OperatorRequest) -> Bytes,
) -> Result<Bytes, OperatorError> {
    let answering = async {
        let request = next(operators).await;
        let answer = answer(&request);
        request.answer(answer);
    };
    tokio::join!(operator.request(request), answering).0
}

/// The error of a connection that must not be made; one line with what it must tell.
pub async fn unconnected(identity: &OperatorIdentity, address: &str, tells: &str) -> OperatorError {
    let limits = limits();
    let connect = Operator::connect(identity, address, &limits);
    let error = timeout(PATIENCE, connect).await.expect("it hangs").unwrap_err();
    one_line(&error, tells);
    error
}

pub fn one_line(error: &OperatorError, tells: &str) {
    let text = error.to_string();
    assert!(text.contains(tells) && !text.contains('\n'), "{text}");
    let remedy = text.split_once(';').or_else(|| text.split_once(": start"));
    assert!(remedy.is_some_and(|(_, remedy)| !remedy.is_empty()), "no remedy: {text}");
}

pub fn why(outcome: Result<Bytes, OperatorError>) -> Unanswered {
    let error = outcome.expect_err("it must not be answered");
    one_line(&error, "n1 does not answer");
    let OperatorError::Unanswered { why, .. } = error else {
        panic!("{error}");
    };
    why
}
