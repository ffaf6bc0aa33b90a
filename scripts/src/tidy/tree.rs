//! The files of the workspace as tidy sees them: what git tracks or would track, as text.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::rust_source::RustSource;

/// Files beyond this are data, and not read. In bytes.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// All text files of a workspace, sorted by path.
pub(crate) struct Tree {
    files: Vec<File>,
}

pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Set for files that end in `.rs`.
    pub(crate) rust: Option<RustSource>,
}

impl Tree {
    /// Reads every text file that is tracked, or new and not ignored.
    ///
    /// # Errors
    /// `root` cannot be listed, or a file cannot be read.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let mut paths = if root.join(".git").exists() { list_git(root)? } else { list_all(root)? };
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            files.extend(File::load(root, path)?);
        }
        Ok(Self { files })
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every Rust file with its parts.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&File, &RustSource)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    /// Every file whose name ends in `end`.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }
}

impl File {
    /// `None` for what is not text, is gone, or is too large.
    fn load(root: &Path, path: String) -> Result<Option<Self>> {
        let full = root.join(&path);
        let Ok(metadata) = fs::metadata(&full) else {
            return Ok(None);
        };
        if !metadata.is_file() || metadata.len() > TEXT_BYTES_MAX {
            return Ok(None);
        }
        let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(None);
        };
        let rust = path.ends_with(".rs").then(|| RustSource::parse(&text));
        Ok(Some(Self { path, text, rust }))
    }

    /// Whether the whole file serves tests: integration tests, fuzz targets, a `tests.rs` module,
    /// and the crate that consists of them.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        self.path.starts_with("cluster-tests/")
            || parts.any(|part| matches!(part, "tests" | "tests.rs" | "fuzz" | "benches"))
    }

    /// Lines with their numbers, counted from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

fn list_git(root: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output();
    let output = output.context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files failed in {}", root.display());
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    paths.dedup();
    Ok(paths)
}

/// For a tree without git: everything but build output.
fn list_all(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a file name is not UTF-8")?;
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if entry.file_type()?.is_dir() {
                if path != "target" {
                    folders.push(path);
                }
            } else {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// A tree with these files, written to a folder and read back, for the tests of the checks.
#[cfg(test)]
pub(crate) fn planted(files: &[(&str, &str)]) -> Tree {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let full = root.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, text).unwrap();
    }
    Tree::load(root.path()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_are_read_and_the_rest_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("target/debug")).unwrap();
        fs::create_dir_all(root.path().join("docs")).unwrap();
        fs::write(root.path().join("target/debug/a.rs"), "built").unwrap();
        fs::write(root.path().join("docs/picture.png"), [0xff, 0xfe, 0x00]).unwrap();
        fs::write(root.path().join("docs/a.md"), "text").unwrap();
        let tree = Tree::load(root.path()).unwrap();
        let paths: Vec<&str> = tree.files().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["docs/a.md"]);
    }

    #[test]
    fn test_files_are_told_by_their_place() {
        let is_test = |path: &str| planted(&[(path, "")]).files()[0].is_test();
        assert!(is_test("crates/a/tests/b.rs"));
        assert!(is_test("crates/a/src/store/tests.rs"));
        assert!(is_test("cluster-tests/src/lib.rs"));
        assert!(!is_test("crates/a/src/store.rs"));
    }
}
