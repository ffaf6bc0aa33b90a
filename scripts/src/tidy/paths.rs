//! No file names a folder of the machine it was written on.

use super::Finding;
use super::tree::Tree;

/// Written apart, so that this file does not find itself.
const FOLDERS: [&str; 4] =
    [concat!("/", "work/"), concat!("/", "home/"), concat!("/", "root/"), concat!("/", "Users/")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for (number, line) in file.numbered() {
            for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
                let message = format!("`{folder}` is a path of one machine");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// Whether the folder stands at the beginning of a path, and not inside of a longer one.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(position, _)| {
        let before = line[..position].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"._-/~}*".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        let path = format!("see {}me/a\n", FOLDERS[1]);
        let tree = planted(&[("a.md", &path), ("configs/a.toml", &path), ("b.sh", "cd ~/a\n")]);
        assert_eq!(check(&tree).len(), 2);
    }

    #[test]
    fn the_inside_of_a_longer_path_is_none() {
        for line in ["a/work/b", "../home/b", "https://example.org/home/a", "${HOME}/work/a"] {
            assert!(check(&planted(&[("a.md", line)])).is_empty(), "{line}");
        }
    }
}
