//! How much memory hostile frames make the decoder take: a program of its own, because it asks the
//! operating system for the highest that the whole process ever had.

use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{Frame, WIRE_VERSION};

/// What one frame may cost at most: sixteen times its own bound.
const DECODING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The process's peaks in bytes: of its address space, and of what it touched. `None` where the
/// system does not tell.
#[expect(clippy::disallowed_methods, reason = "the system's own account of this process")]
fn peaks() -> Option<[usize; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<usize>().ok()
    };
    Some([field("VmPeak:")? * 1024, field("VmHWM:")? * 1024])
}

fn length(number: u64) -> Vec<u8> {
    [&[253][..], &number.to_le_bytes()].concat()
}

/// A frame of the largest size: `head`, a count, and as many of `item` as fit.
fn filled(head: &[u8], item: &[u8], count: u64) -> Vec<u8> {
    let head = [&[WIRE_VERSION, 1, 0, 1, 1, 2, 0][..], head, &length(count)].concat();
    let items = item.iter().copied().cycle().take(FRAME_BYTES_MAX - head.len());
    head.into_iter().chain(items).collect()
}

/// Every place where a list stands, with its smallest item: what grows most when it is read.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let key = [7; 16];
    let delta = |rest: &[u8]| [&[3, 1, 1, 1][..], &key, &[0], rest].concat();
    let commit = [&[4, 1, 1][..], &key, &[0, 0]].concat();
    let end = [&key[..], &[1, 0, 0]].concat();
    let empty = [&key[..], &[0, 0, 0, 0, 0, 0]].concat();
    // No core, `lo` and `hi` empty: what follows are the attributes, or the elements of one.
    let attributes = delta(&[0, 0, 0]);
    let within = |content: &[u8]| [&delta(&[0, 0, 0, 1, 1, b'a', 0])[..], content].concat();
    vec![
        ("deltas that end", [&[0, 1][..]].concat(), end.clone()),
        ("deltas that change nothing", vec![0, 1], empty),
        ("refusals", vec![1, 1], [&key[..], &[2]].concat()),
        ("versions in refusals", vec![1, 1], [&key[..], &[0, 0]].concat()),
        ("a version", delta(&[0]), vec![1, 1]),
        ("attributes", attributes, vec![1, b'a', 0, 0]),
        ("tallies", within(&[1]), vec![1, 1, 1, 1]),
        ("elements", within(&[2]), vec![0, 0]),
        ("elements with a stamp", within(&[2]), vec![0, 1, 1, 1]),
        ("bytes of a value", within(&[3]), vec![0]),
        ("edits", commit.clone(), vec![2, 1, b'a']),
        ("digests", vec![8, 1], [&[0][..], &[7; 16]].concat()),
        ("entries of a list", vec![10, 1, 1, 0], [&key[..], &[0]].concat()),
        ("wants", vec![11, 1], [&key[..], &[0]].concat()),
        ("absent keys", vec![12, 1, 0], vec![1]),
        ("supplied deltas", vec![12, 1], end),
    ]
    .into_iter()
    .flat_map(|(label, head, item)| {
        let fits = (FRAME_BYTES_MAX / item.len()) as u64;
        [fits - 16, 1 << 40].map(|count| (label, filled(&head, &item, count)))
    })
    .collect()
}

/// Tests rule W1: whoever sends it, a frame of any content costs a bounded amount of memory.
#[test]
fn no_frame_makes_the_decoder_take_much_memory() {
    let bombs = bombs();
    let Some(before) = peaks() else {
        println!("not tested: this system does not tell a process its peaks");
        return;
    };
    for (label, bytes) in &bombs {
        assert_eq!(bytes.len(), FRAME_BYTES_MAX, "{label}");
        let read = Frame::decode(bytes).is_ok();
        let after = peaks().expect("it told before");
        let grown = [after[0] - before[0], after[1] - before[1]];
        println!("{label}: read {read}, peaks grew by {grown:?} bytes");
        assert!(grown.iter().all(|bytes| *bytes < DECODING_BYTES_MAX), "{label}: {grown:?}");
    }
}
