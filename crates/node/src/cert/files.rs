//! Files that must not exist yet, written all or none.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use transport::issue::{Readers, write_new};

use super::CertError;

/// Files for one folder.
pub(super) struct NewFiles {
    folder: PathBuf,
    files: Vec<(PathBuf, String, Readers)>,
}

impl NewFiles {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, text: String, readers: Readers) {
        self.files.push((self.folder.join(name), text, readers));
    }

    /// Writes them, and lists them for a person. If one exists or cannot be written, none is left.
    pub(super) fn write(self) -> Result<String, CertError> {
        if let Some((path, ..)) = self.files.iter().find(|(path, ..)| is_taken(path)) {
            return Err(CertError::Exists(path.clone()));
        }
        let failed = |path: &Path, source| CertError::Write { path: path.to_owned(), source };
        fs::create_dir_all(&self.folder).map_err(|source| failed(&self.folder, source))?;
        let mut list = String::new();
        for (index, (path, text, readers)) in self.files.iter().enumerate() {
            if let Err(error) = write_new(path, text.as_bytes(), *readers) {
                for (written, ..) in &self.files[..index] {
                    // Only what was made here; if it stays, the next attempt says so.
                    let _ = fs::remove_file(written);
                }
                let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
                return Err(if is_taken {
                    CertError::Exists(path.clone())
                } else {
                    failed(path, error)
                });
            }
            let note = if *readers == Readers::Secret { "  (secret)" } else { "" };
            let _ = writeln!(list, "  {}{note}", path.display());
        }
        Ok(list)
    }
}

/// A link that leads nowhere counts as well.
fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(folder: &Path) -> NewFiles {
        let mut files = NewFiles::new(folder);
        files.add("first", "1".to_owned(), Readers::Public);
        files.add("second", "2".to_owned(), Readers::Secret);
        files
    }

    #[test]
    fn when_one_file_exists_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("second"), "old").unwrap();
        assert!(matches!(two(folder.path()).write(), Err(CertError::Exists(_))));
        assert!(!folder.path().join("first").exists());
        assert_eq!(fs::read_to_string(folder.path().join("second")).unwrap(), "old");
    }

    #[test]
    fn a_file_that_cannot_be_written_takes_the_others_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = two(folder.path());
        files.add("missing/third", "3".to_owned(), Readers::Public);
        assert!(matches!(files.write(), Err(CertError::Write { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
