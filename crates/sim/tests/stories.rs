//! Plays the golden stories. `cargo x sim --story FILE --bless` rewrites one: commit the difference
//! only if you understand what caused it.

/// Each story and its name.
const STORIES: [(&str, &str); 6] = [
    ("carts.txt", include_str!("../stories/carts.txt")),
    ("catch_up.txt", include_str!("../stories/catch_up.txt")),
    ("honest_acks.txt", include_str!("../stories/honest_acks.txt")),
    ("logout_wins.txt", include_str!("../stories/logout_wins.txt")),
    ("read_your_writes.txt", include_str!("../stories/read_your_writes.txt")),
    ("lost_write.txt", include_str!("../stories/lost_write.txt")),
];

#[test]
fn every_story_ends_as_it_is_told() {
    for (name, story) in STORIES {
        let played = sim::story::play(story);
        assert!(played == story, "{name} now comes to:\n{played}");
    }
}
