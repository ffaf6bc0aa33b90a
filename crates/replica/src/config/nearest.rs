//! The known word that a wrong one was probably meant to be.

/// Letters that may be wrong: one in three, and at least two.
fn distance_max(word: &str) -> usize {
    (word.chars().count() / 3).max(2)
}

/// The word of `known` that `word` resembles most, if one resembles it at all. A key is also found
/// in another section than where it was looked for.
pub(super) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let elsewhere = known.clone().find(|key| Some(last(key)) == word.rsplit('.').next());
    elsewhere.or_else(|| {
        known
            .map(|key| (distance(word, key), key))
            .filter(|(distance, _)| *distance <= distance_max(word))
            .min()
            .map(|(_, key)| key)
    })
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_nonsense_is_not() {
        let known = ["node.listen", "session.idle_timeout", "replication.ack"];
        let of = |word| nearest(word, known.into_iter());
        assert_eq!(of("session.idle_timout"), Some("session.idle_timeout"));
        assert_eq!(of("node_listen"), Some("node.listen"));
        assert_eq!(of("node.ack"), Some("replication.ack"));
        assert_eq!(of("colour"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
