//! Operators and the nodes that answer them.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::operator::{
    OPERATORS_MAX, PROTOCOL, REQUESTS_MAX, ann, ask, connect, next, node, node_with, one_line, why,
};
use support::{Cluster, PATIENCE, node_name, until};
use tokio::time::timeout;
use transport::hostile::HostileConnection;
use transport::issue::Validity;
use transport::{
    Lane, Limits, OPERATOR_ANSWER_BYTES_MAX, OPERATOR_REQUEST_BYTES_MAX, Operator, OperatorError,
    Unanswered,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_asks_and_the_program_answers() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    assert_eq!(operator.node(), &node.name);
    assert_eq!(operator.address(), node.endpoint.local_addr());
    let longest = Bytes::from(vec![7; OPERATOR_REQUEST_BYTES_MAX]);
    let longest_answer = Bytes::from(vec![9; OPERATOR_ANSWER_BYTES_MAX]);
    for (request, answer) in [
        (Bytes::from("status"), Bytes::from("well")),
        (Bytes::new(), Bytes::new()),
        (longest, longest_answer),
    ] {
        let asked = ask(&operator, &mut operators, request.clone(), |got| {
            assert_eq!((got.operator.as_str(), &got.bytes), ("ann", &request));
            assert!(got.from.ip().is_loopback());
            answer.clone()
        });
        assert!(asked.await.unwrap() == answer);
    }
    node.counted(|counters| counters.operator_requests == 3).await;
    assert_eq!(node.endpoint.counters().operator_requests_refused, 0);
    assert!(node.endpoint.status().is_empty(), "an operator is no peer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_many_operators_are_answered_each_its_own() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let identity = ann(&cluster);
    let program = tokio::spawn(async move {
        while let Some(request) = operators.next().await {
            let answer = request.bytes.clone();
            request.answer(answer);
        }
    });
    let mut asking = Vec::new();
    for number in 0..OPERATORS_MAX as u32 {
        let operator = connect(&node, &identity).await;
        asking.push(tokio::spawn(async move {
            for round in 0..20 {
                let words = |nth: u32| Bytes::from(format!("{number} {round} {nth}"));
                let (a, b, c) = tokio::join!(
                    operator.request(words(1)),
                    operator.request(words(2)),
                    operator.request(words(3)),
                );
                assert_eq!([a, b, c].map(Result::unwrap), [1, 2, 3].map(words));
            }
            operator.close().await;
        }));
    }
    for asking in asking {
        timeout(PATIENCE, asking).await.unwrap().unwrap();
    }
    node.endpoint.shutdown(PATIENCE).await;
    timeout(PATIENCE, program).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_has_few_requests_open_at_once() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    let requests = async {
        tokio::join!(
            operator.request("1".into()),
            operator.request("2".into()),
            operator.request("3".into()),
        )
    };
    let program = async {
        let mut open = Vec::new();
        for _ in 0..REQUESTS_MAX {
            open.push(next(&mut operators).await);
        }
        let more = timeout(Duration::from_millis(50), operators.next()).await;
        assert!(more.is_err(), "one more than allowed");
        open.remove(0).answer("first".into());
        open.push(next(&mut operators).await);
        for request in open {
            request.answer("later".into());
        }
    };
    let ((a, b, c), ()) = tokio::join!(requests, program);
    assert_eq!([a, b, c].into_iter().filter(Result::is_ok).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_takes_requests_they_are_refused() {
    let cluster = Cluster::new("c1");
    let node = cluster.start("n1");
    let operator = connect(&node, &ann(&cluster)).await;
    assert_eq!(why(operator.request("status".into()).await), Unanswered::Nobody);
    let mut operators = node.endpoint.operators().unwrap();
    assert!(node.endpoint.operators().is_none(), "they are taken once");
    ask(&operator, &mut operators, "status".into(), |_| "well".into()).await.unwrap();
    drop(operators);
    assert_eq!(why(operator.request("status".into()).await), Unanswered::Nobody);
    node.counted(|counters| counters.operator_requests_refused == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_program_drops_is_refused() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    let dropping = async { drop(next(&mut operators).await) };
    let (outcome, ()) = tokio::join!(operator.request("rm".into()), dropping);
    assert_eq!(why(outcome), Unanswered::Dropped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_answered_in_time_is_told_so() {
    let cluster = Cluster::new("c1");
    let short = |limits: &mut Limits| limits.operator_deadline = Duration::from_millis(300);
    let (node, mut operators) = node_with(&cluster, short);
    let operator = connect(&node, &ann(&cluster)).await;
    let (outcome, late) = tokio::join!(operator.request("slow".into()), next(&mut operators));
    assert_eq!(why(outcome), Unanswered::Late);
    late.answer("too late".into());
    node.counted(|counters| counters.operator_requests_refused == 1).await;
    // One that never sends all of it has no longer either.
    let bob = cluster.ca.operator(&node_name("bob"), Validity::days(1)).unwrap();
    let at = node.endpoint.local_addr();
    let held = HostileConnection::connect_with(at, Some(&bob), PROTOCOL).await.unwrap();
    let mut part = held.ask(&[0, 0, 0, 9, b'p']).await.unwrap();
    assert_eq!(part.outcome().await, Err(Some(Unanswered::Late)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_the_program_are_bounded() {
    let cluster = Cluster::new("c1");
    let short = |limits: &mut Limits| limits.operator_deadline = Duration::from_millis(20);
    let (node, operators) = node_with(&cluster, short);
    let operator = connect(&node, &ann(&cluster)).await;
    // The program has taken the requests, but takes none: those that were given up still wait.
    let mut given_up = 0;
    let last = loop {
        let outcome = why(operator.request("wait".into()).await);
        if outcome != Unanswered::Late {
            break outcome;
        }
        given_up += 1;
    };
    assert_eq!(last, Unanswered::Busy);
    assert!(given_up >= OPERATORS_MAX * REQUESTS_MAX, "{given_up}");
    drop(operators);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_not_sent() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    let long = Bytes::from(vec![0; OPERATOR_REQUEST_BYTES_MAX + 1]);
    let error = operator.request(long).await.unwrap_err();
    one_line(&error, &OPERATOR_REQUEST_BYTES_MAX.to_string());
    assert!(matches!(error, OperatorError::TooLong { .. }));
    let long = Bytes::from(vec![0; OPERATOR_ANSWER_BYTES_MAX + 1]);
    let outcome = ask(&operator, &mut operators, "all".into(), |_| long).await;
    assert_eq!(why(outcome), Unanswered::AnswerTooLong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_makes_room() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    for _ in 0..5 * REQUESTS_MAX {
        let request = tokio::select! {
            outcome = operator.request("never mind".into()) => panic!("{outcome:?}"),
            request = next(&mut operators) => request,
        };
        request.answer("nobody hears it".into());
    }
    ask(&operator, &mut operators, "status".into(), |_| "well".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_does_not_read_the_answer_is_not_waited_for() {
    let cluster = Cluster::new("c1");
    let short = |limits: &mut Limits| limits.operator_deadline = Duration::from_millis(200);
    let (node, mut operators) = node_with(&cluster, short);
    let bob = cluster.ca.operator(&node_name("bob"), Validity::days(1)).unwrap();
    let at = node.endpoint.local_addr();
    let connection = HostileConnection::connect_with(at, Some(&bob), PROTOCOL).await.unwrap();
    // More than its window takes, so that a part stays at the node.
    let longest = Bytes::from(vec![9; OPERATOR_ANSWER_BYTES_MAX]);
    let mut unread = connection.ask(b"\0\0\0\0").await.unwrap();
    unread.stream.finish();
    next(&mut operators).await.answer(longest);
    node.counted(|counters| counters.operator_requests_refused == 1).await;
    assert_eq!(unread.outcome().await, Err(Some(Unanswered::Late)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_waits_no_longer_than_a_node_may_take() {
    let cluster = Cluster::new("c1");
    // It takes requests, and nothing comes of them.
    let (node, _operators) = node(&cluster);
    let impatient = Limits { operator_deadline: Duration::from_millis(50), ..support::limits() };
    let operator = Operator::connect(&ann(&cluster), &node.at().address, &impatient).await;
    let outcome = timeout(PATIENCE, operator.unwrap().request("status".into())).await.unwrap();
    assert_eq!(why(outcome), Unanswered::Late);
    node.counted(|counters| counters.operator_requests_refused == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_several_addresses_is_found_at_the_one_that_answers() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let address = format!("localhost:{}", node.endpoint.local_addr().port());
    let operator = Operator::connect(&ann(&cluster), &address, &support::limits()).await.unwrap();
    ask(&operator, &mut operators, "status".into(), |_| "well".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_sends_the_answers_that_it_has_given() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    let large = Bytes::from(vec![3; OPERATOR_ANSWER_BYTES_MAX]);
    let stopping = async {
        let (first, second) = (next(&mut operators).await, next(&mut operators).await);
        let [stop, other] = if first.bytes == "stop" { [first, second] } else { [second, first] };
        stop.answer(large.clone());
        node.endpoint.shutdown(PATIENCE).await;
        drop(other);
        assert!(operators.next().await.is_none());
    };
    let requests =
        async { tokio::join!(operator.request("stop".into()), operator.request("wait".into())) };
    let ((answered, other), ()) = tokio::join!(requests, stopping);
    assert!(answered.unwrap() == large);
    assert_eq!(why(other), Unanswered::Stopping);
    let error = operator.request("more".into()).await.unwrap_err();
    one_line(&error, "the connection to n1 has ended: it was stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_a_node_that_fails_is_unknown() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let operator = connect(&node, &ann(&cluster)).await;
    let failing = async {
        let request = next(&mut operators).await;
        drop(node);
        request
    };
    let (outcome, _request) = tokio::join!(operator.request("drain".into()), failing);
    let error = outcome.unwrap_err();
    one_line(&error, "look whether the request was carried out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_do_not_disturb_links() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let mut operators = a.endpoint.operators().unwrap();
    let operator = connect(&a, &ann(&cluster)).await;
    for _ in 0..20 {
        a.send(&b, Lane::Live, "frame");
        ask(&operator, &mut operators, "status".into(), |_| "well".into()).await.unwrap();
        assert_eq!(b.frame().await.1, "frame");
    }
    operator.close().await;
    until(|| a.endpoint.status()[0].up).await;
    assert_eq!(a.endpoint.counters().links_down, 0);
}
