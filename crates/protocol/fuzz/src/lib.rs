//! What the fuzz targets try, as plain functions: `tests/corpus.rs` calls them with the committed
//! inputs, without a fuzzer.

mod checks;
mod events;
mod nodes;
mod views;

use protocol::wire::{Frame, Hello, WIRE_VERSION};
use session::{Inc, Time};

use events::Events;
use nodes::World;
use views::{SEATS, Step};

/// Reads `bytes` as a frame, as an introduction, and as what follows the head of either; what is
/// read as a message arrives at a node.
///
/// # Panics
/// If something that was read is not read the same once it is written.
pub fn frame(bytes: &[u8]) {
    read(bytes);
    for kind in 1..=3 {
        read(&[&[WIRE_VERSION, kind], bytes].concat());
    }
}

fn read(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
    let Ok(frame) = Frame::decode(bytes) else {
        return;
    };
    assert_eq!(Frame::decode(&frame.encode(WIRE_VERSION)).as_ref(), Ok(&frame));
    match frame {
        Frame::Envelope(mut envelope) => {
            let mut world = World::new();
            let inc = |at| world.inc(at).expect("it runs");
            (envelope.from, envelope.to, envelope.shard) = (inc(1), inc(0), 0);
            envelope.generation = 0;
            for _ in 0..2 {
                world.receive(0, envelope.clone());
                world.check_parts();
            }
            world.tick(5_000);
            world.check_parts();
        }
        Frame::Heartbeat(beat) => {
            let mut liveness = protocol::Liveness::new(Inc(1));
            liveness.handle_up(&"b".into(), Inc(2), Time(1_000));
            liveness.handle_heartbeat(&"b".into(), beat, Time(1_010));
            liveness.handle_tick(Time(1_050));
        }
        // Letters are read by `membership`; more there is in the trial of a next release only.
        _ => {}
    }
}

/// Drives two nodes by the events that `bytes` stand for, and checks what must hold at any time;
/// then lets them come to rest.
///
/// # Panics
/// If two copies of equal version differ (I-DET), a copy loses something (I-MONO), a session comes
/// back (I-TOMB), a derived number is wrong (I-DIGEST), or the nodes do not become equal.
pub fn node(bytes: &[u8]) {
    let mut world = World::new();
    let mut events = Events::new(bytes, 2, 128);
    let correct = events.byte().is_multiple_of(2);
    while let Some(event) = events.next(correct) {
        world.happen(event);
        world.check_parts();
        if correct {
            world.check_copies();
        }
    }
    if correct {
        world.calm();
    }
}

/// Drives two nodes, and a third that may come, by the events that `bytes` stand for, under views
/// that decisions among these events bring about and that reach each node late, in any order or
/// never; checks what must hold at any time; then lets them come to rest.
///
/// # Panics
/// As [`node`](fn@node) does, also if a correct node is accused (V10), or a transition does not end.
pub fn views(bytes: &[u8]) {
    let mut events = Events::new(bytes, SEATS, 2);
    let first = events.byte();
    let correct = !first.is_multiple_of(4);
    let mut world = World::agreed(u16::from(first >> 2 & 3), correct);
    while let Some(step) = Step::next(&mut events, correct) {
        world.step(step);
        world.check_parts();
        if correct {
            world.check_copies();
        }
    }
    if correct {
        world.settle();
        world.check_parts();
    }
}
