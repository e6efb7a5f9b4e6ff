//! The commit of a presets folder that is a git checkout. Reads the repository's files without the
//! git program: that may be missing, refuses a checkout of another user, and runs commands that the
//! repository's configuration names.
//!
//! A check costs two small reads. Trees are read only after the commit has changed.

mod objects;
mod refs;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use hyprbox_protocol::to_hex;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use objects::{ObjectId, Objects};
use refs::GitDir;

/// The commit that is checked out in the folder.
#[derive(Debug)]
pub(super) struct Checkout {
    /// The folder without symbolic links: some tools switch a link to another checkout.
    folder: PathBuf,
    git: GitDir,
    commit: ObjectId,
    /// The files of the folder in this commit.
    blobs: HashMap<OsString, ObjectId>,
}

impl Checkout {
    /// Reads the folder's commit, and returns whether it changed.
    pub(super) fn refresh(current: &mut Option<Self>, folder: &Path) -> bool {
        let before = current.as_ref().map(|checkout| checkout.commit);
        if let Err(error) = Self::read(current, folder) {
            if before.is_some() {
                let folder = folder.display();
                tracing::warn!("{folder}: the git commit can't be read: {error}");
            }
            *current = None;
        }
        before != current.as_ref().map(|checkout| checkout.commit)
    }

    fn read(current: &mut Option<Self>, folder: &Path) -> io::Result<()> {
        let folder = fs::canonicalize(folder)?;
        if let Some(known) = current.as_mut().filter(|known| known.folder == folder) {
            let commit = known.git.head()?;
            if commit != known.commit {
                known.blobs = blobs(&known.git, &folder, commit)?;
                known.commit = commit;
            }
            return Ok(());
        }
        let Some(git) = GitDir::above(&folder)? else {
            *current = None;
            return Ok(());
        };
        let commit = git.head()?;
        *current = Some(Self {
            blobs: blobs(&git, &folder, commit)?,
            commit,
            git,
            folder,
        });
        Ok(())
    }

    /// The commit in hex, with `-dirty` if the file's `text` differs from the commit.
    pub(super) fn commit_of(&self, file: &OsStr, text: &[u8]) -> String {
        let is_clean = self.blobs.get(file) == Some(&blob_id(text));
        let dirty = if is_clean { "" } else { "-dirty" };
        format!("{}{dirty}", to_hex(self.commit))
    }
}

/// The files of `folder` in the commit.
fn blobs(git: &GitDir, folder: &Path, commit: ObjectId) -> io::Result<HashMap<OsString, ObjectId>> {
    let objects = Objects::open(git.objects())?;
    let mut tree = objects.tree_of_commit(commit)?;
    let within = folder.strip_prefix(git.worktree()).unwrap_or(Path::new(""));
    for part in within {
        let entries = objects.tree(tree)?;
        let found = entries
            .into_iter()
            .find(|entry| entry.is_tree && entry.name == part.as_encoded_bytes());
        match found {
            Some(entry) => tree = entry.id,
            // Nothing in the folder is committed.
            None => return Ok(HashMap::new()),
        }
    }
    let entries = objects.tree(tree)?.into_iter();
    Ok(entries
        .filter(|entry| !entry.is_tree)
        .map(|entry| (OsString::from_vec(entry.name), entry.id))
        .collect())
}

/// The id of a file with this content.
fn blob_id(text: &[u8]) -> ObjectId {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(format!("blob {}\0", text.len()).as_bytes());
    hash.update(text);
    let mut id = [0; 20];
    id.copy_from_slice(hash.finish().as_ref());
    id
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A repository, with the git program.
    struct Repository(tempfile::TempDir);

    impl Repository {
        fn new() -> Self {
            let it = Self(tempfile::tempdir().expect("a folder"));
            it.git(&["init", "--quiet", "--initial-branch=main"]);
            it
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn git(&self, args: &[&str]) -> String {
            let mut command = Command::new("git");
            command
                .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
                .args(args)
                .current_dir(self.0.path())
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_SYSTEM", "/dev/null")
                .env_remove("GIT_DIR");
            let output = command.output().expect("these tests need git");
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout)
                .expect("text")
                .trim()
                .to_owned()
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("writes");
        }

        fn commit(&self) -> String {
            self.git(&["add", "-A"]);
            self.git(&["commit", "--quiet", "-m", "more"]);
            self.git(&["rev-parse", "HEAD"])
        }
    }

    fn read(folder: &Path) -> Option<Checkout> {
        let mut checkout = None;
        Checkout::refresh(&mut checkout, folder);
        checkout
    }

    #[test]
    fn the_commit_of_a_file_is_the_one_that_git_names() {
        let repository = Repository::new();
        repository.write("presets/a.yaml", "one");
        repository.write("other", "x");
        let first = repository.commit();
        let folder = repository.path("presets");
        let mut checkout = read(&folder);
        let of = |checkout: &Option<Checkout>, text: &str| {
            let checkout = checkout.as_ref().expect("a checkout");
            checkout.commit_of(OsStr::new("a.yaml"), text.as_bytes())
        };
        assert_eq!(of(&checkout, "one"), first);
        assert_eq!(of(&checkout, "two"), format!("{first}-dirty"));
        let unknown = checkout.as_ref().expect("a checkout");
        let unknown = unknown.commit_of(OsStr::new("b.yaml"), b"one");
        assert_eq!(unknown, format!("{first}-dirty"), "not committed");
        assert!(!Checkout::refresh(&mut checkout, &folder), "nothing new");

        repository.write("presets/a.yaml", "two");
        let second = repository.commit();
        assert!(Checkout::refresh(&mut checkout, &folder));
        assert_eq!(of(&checkout, "two"), second);

        repository.git(&["checkout", "--quiet", "--detach", &first]);
        assert!(Checkout::refresh(&mut checkout, &folder));
        assert_eq!(of(&checkout, "one"), first);
    }

    /// Trees that are similar are stored as deltas, in one pack.
    #[test]
    fn packs_deltas_packed_refs_and_worktrees_are_read() {
        let repository = Repository::new();
        for commit in 0..40 {
            for file in 0..60 {
                let text = format!("file {file} {}", if file == commit { commit } else { 0 });
                repository.write(&format!("deep/er/{file}.yaml"), &text);
            }
            repository.commit();
        }
        repository.git(&["repack", "-adfq", "--depth=50", "--window=50"]);
        repository.git(&["pack-refs", "--all"]);
        let pack = repository.git(&["count-objects", "-v"]);
        assert!(pack.contains("count: 0"), "{pack}");
        for (at, commit) in repository
            .git(&["rev-list", "--reverse", "HEAD"])
            .lines()
            .enumerate()
        {
            repository.git(&["checkout", "--quiet", "--detach", commit]);
            let checkout = read(&repository.path("deep/er")).expect("a checkout");
            let name = format!("{at}.yaml");
            let text = format!("file {at} {at}");
            assert_eq!(
                checkout.commit_of(OsStr::new(&name), text.as_bytes()),
                commit
            );
        }
        repository.git(&["checkout", "--quiet", "main"]);
        repository.git(&["worktree", "add", "--quiet", "aside", "-b", "aside"]);
        let head = repository.git(&["rev-parse", "HEAD"]);
        let checkout = read(&repository.path("aside/deep/er")).expect("a worktree");
        assert_eq!(
            checkout.commit_of(OsStr::new("39.yaml"), b"file 39 39"),
            head
        );

        let elsewhere = tempfile::tempdir().expect("a folder");
        let copy = elsewhere.path().join("copy");
        let from = repository.0.path().to_string_lossy().into_owned();
        let to = copy.to_string_lossy().into_owned();
        repository.git(&["clone", "--quiet", "--shared", &from, &to]);
        let checkout = read(&copy.join("deep/er")).expect("a clone without objects of its own");
        assert_eq!(
            checkout.commit_of(OsStr::new("39.yaml"), b"file 39 39"),
            head
        );
    }

    #[test]
    fn no_checkout_has_no_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).is_none());
        let repository = Repository::new();
        assert!(read(repository.0.path()).is_none(), "no commit yet");
        repository.write("a.yaml", "one");
        repository.commit();
        for damage in ["HEAD", "refs/heads/main"] {
            repository.write(&format!(".git/{damage}"), "nonsense\n");
            assert!(read(repository.0.path()).is_none(), "{damage}");
            repository.write(".git/HEAD", "ref: refs/heads/main\n");
        }
        repository.write(".git/HEAD", "ref: refs/heads/../../../../etc/passwd\n");
        assert!(read(repository.0.path()).is_none());
    }
}
