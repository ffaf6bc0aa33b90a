//! A run for people (Markdown) and for programs (JSON).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{NODES, Run, Summary, names};

/// Problems that are written out; the rest is a number.
const PROBLEMS_SHOWN: usize = 20;

/// Rows that say what came of the checks: what, how much, and what it means.
fn rows(summary: &Summary) -> [(&'static str, u64, &'static str); 12] {
    [
        ("lost", summary.lost, "acknowledged writes and sessions that are gone"),
        ("stale", summary.stale, "answers older than what their visitor had seen"),
        ("resurrected", summary.resurrected, "ended sessions that were served"),
        ("beyond a cut", summary.beyond_cut, "the same on a node that was cut off; may be"),
        ("phantoms", summary.phantoms, "values that nobody wrote"),
        ("disagreements", summary.disagreements, "counters that differ between nodes at the end"),
        ("errors", summary.errors, "requests that failed where none may"),
        ("in flight", summary.in_flight, "requests on a node when it was killed or hung"),
        ("refused", summary.refused, "503 from a node that did not reach all others; may be"),
        ("short", summary.short, "writes that said that fewer copies than asked have them"),
        ("short, lost", summary.short_lost, "answers that lack such a write, its node being gone"),
        ("ghosts", summary.ghosts, "how often an ended session was looked for"),
    ]
}

/// The report as text; `plot` is the file of the picture beside it.
#[must_use]
pub fn markdown(run: &Run, summary: &Summary, plot: &str) -> String {
    let plan = &run.plan;
    let mut text = String::new();
    let verdict = if summary.is_well() { "Nothing was wrong." } else { "**Something was wrong.**" };
    let mut line = |words: String| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{words}");
    };
    line(format!("# Chaos, {}, {} minutes\n", plan.spread.name(), minutes(run.elapsed)));
    line(format!(
        "Five real nodes on loopback behind a proxy for each directed pair, {} visitors who make \
         one request after another behind a balancer that follows `/health`, level `{}`, at most \
         {} of {NODES} nodes struck at once, seed {}. {verdict}\n",
        plan.visitors,
        plan.level(),
        plan.survives(),
        plan.seed
    ));
    line(format!(
        "```sh\ncargo x chaos --minutes {} --mode {} --seed {} --visitors {}\n```\n",
        minutes(plan.length),
        plan.spread.name(),
        plan.seed,
        plan.visitors
    ));
    line(format!("![Requests per second, failures, and faults over time]({plot})\n"));
    line("| | | |\n|---|---|---|".to_owned());
    line(format!("| requests | {} | reads answered {} |", summary.requests, summary.reads));
    line(format!("| writes | {} | acknowledged by every copy that was asked |", summary.writes));
    for (what, count, means) in rows(summary) {
        line(format!("| {what} | {count} | {means} |"));
    }
    let (silence, patience) = (seconds(summary.silence), seconds(summary.patience));
    line(format!("| worst unavailability | {silence} s | no visitor at all was served |"));
    line(format!("| worst for one visitor | {patience} s | from one answer to the next |"));
    line(format!(
        "| latency | {} ms | half of the requests; 99 of 100: {} ms |",
        milliseconds(summary.p50),
        milliseconds(summary.p99)
    ));
    line(format!(
        "| convergence | {} s | from the end of faults until everybody had everything |\n",
        seconds(run.calm)
    ));
    line("| fault | times | seconds in all |\n|---|---|---|".to_owned());
    for (kind, (count, length)) in &summary.faults {
        line(format!("| {} | {count} | {} |", kind.name(), seconds(*length)));
    }
    let all = run
        .faults
        .iter()
        .fold(crate::proxy::Counts::default(), |sum, fault| sum.and(fault.datagrams));
    line(format!("\nOn the lines that were struck, while they were: {all}."));
    if !summary.is_well() {
        line("\n## What was wrong\n".to_owned());
        for problem in summary.problems.iter().take(PROBLEMS_SHOWN) {
            line(format!("- {}", problem.replace('\n', "\n  ")));
        }
        let rest = summary.problems.len().saturating_sub(PROBLEMS_SHOWN);
        if rest > 0 {
            line(format!("- and {rest} more"));
        }
    }
    text
}

/// The same for programs, with every fault and every second.
#[must_use]
pub fn json(run: &Run, summary: &Summary) -> Value {
    let plan = &run.plan;
    let faults: Vec<Value> = run
        .faults
        .iter()
        .map(|fault| {
            json!({
                "kind": fault.kind.name(),
                "nodes": names(&fault.nodes),
                "from_ms": whole_ms(fault.from),
                "until_ms": whole_ms(fault.until),
                "datagrams": {
                    "passed": fault.datagrams.passed,
                    "cut": fault.datagrams.cut,
                    "lost": fault.datagrams.lost,
                    "delayed": fault.datagrams.delayed,
                    "duplicated": fault.datagrams.duplicated,
                    "held_back": fault.datagrams.held_back,
                    "overflowed": fault.datagrams.overflowed,
                },
            })
        })
        .collect();
    let by_kind: serde_json::Map<String, Value> = summary
        .faults
        .iter()
        .map(|(kind, (count, _))| (kind.name().to_owned(), json!(count)))
        .collect();
    let checks: serde_json::Map<String, Value> = rows(summary)
        .into_iter()
        .map(|(what, count, _)| (what.replace(", ", "_").replace(' ', "_"), json!(count)))
        .collect();
    json!({
        "mode": plan.spread.name(),
        "level": plan.level(),
        "nodes": NODES,
        "struck_at_once_max": plan.survives(),
        "visitors": plan.visitors,
        "seed": plan.seed,
        "seconds": run.elapsed.as_secs_f64(),
        "requests": summary.requests,
        "reads": summary.reads,
        "writes": summary.writes,
        "checks": checks,
        "is_well": summary.is_well(),
        "worst_unavailability_ms": whole_ms(summary.silence),
        "worst_for_one_visitor_ms": whole_ms(summary.patience),
        "p50_ms": summary.p50.as_secs_f64() * 1e3,
        "p99_ms": summary.p99.as_secs_f64() * 1e3,
        "convergence_ms": whole_ms(run.calm),
        "faults_by_kind": by_kind,
        "faults": faults,
        "ok_per_second": summary.seconds.iter().map(|second| second.ok).collect::<Vec<_>>(),
        "failed_per_second": summary.seconds.iter().map(|second| second.failed).collect::<Vec<_>>(),
        "problems": summary.problems,
    })
}

fn minutes(length: Duration) -> f64 {
    (length.as_secs_f64() / 6.0).round() / 10.0
}

fn seconds(length: Duration) -> String {
    format!("{:.1}", length.as_secs_f64())
}

fn milliseconds(length: Duration) -> String {
    format!("{:.1}", length.as_secs_f64() * 1e3)
}

fn whole_ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
