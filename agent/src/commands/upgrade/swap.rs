//! Replaces a program in one durable step, and keeps the previous one.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hyprbox_protocol::to_hex;
use ring::digest::{Context, SHA256};

/// A new file, which is removed on drop unless it was renamed.
pub(super) struct NewFile {
    path: PathBuf,
}

/// A program, and the file next to it that will replace it.
pub(super) struct Swap {
    program: PathBuf,
    new: NewFile,
    previous: PathBuf,
}

impl NewFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the file. Only its owner can read it until it is complete.
    pub(super) fn create(&self) -> Result<File, String> {
        let created = self.remove().and_then(|()| {
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)
        });
        created.map_err(|error| write_error(&self.path, &error))
    }

    /// Syncs the file to the disk.
    pub(super) fn finish(&self, file: File) -> Result<(), String> {
        file.sync_all()
            .map_err(|error| write_error(&self.path, &error))
    }

    fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After an error the next upgrade removes the file.
        let _result = self.remove();
    }
}

impl Swap {
    pub(super) fn next_to(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            new: NewFile::at(with_suffix(program, ".new")),
            previous: previous_program(program),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.new.path()
    }

    pub(super) fn previous(&self) -> &Path {
        &self.previous
    }

    pub(super) fn create(&self) -> Result<File, String> {
        self.new.create()
    }

    /// Gives the new file the owner and mode of the program, and syncs it to the disk.
    pub(super) fn finish(&self, file: File) -> Result<(), String> {
        copy_owner_and_mode(&self.program, self.path())
            .map_err(|error| write_error(self.path(), &error))?;
        self.new.finish(file)
    }

    /// Renames the new file to the program's name. The previous program stays next to it.
    pub(super) fn replace(&self) -> Result<(), String> {
        let replace = || {
            match std::fs::remove_file(&self.previous) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::hard_link(&self.program, &self.previous)?;
            std::fs::rename(self.path(), &self.program)?;
            sync_folder(&self.program)
        };
        replace().map_err(|error| write_error(&self.program, &error))
    }

    /// Renames the previous program back.
    pub(super) fn undo(&self) -> Result<(), String> {
        std::fs::rename(&self.previous, &self.program)
            .and_then(|()| sync_folder(&self.program))
            .map_err(|error| write_error(&self.program, &error))
    }
}

/// The path of the program that the last upgrade replaced.
pub(super) fn previous_program(program: &Path) -> PathBuf {
    with_suffix(program, ".old")
}

fn with_suffix(program: &Path, suffix: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Exchanges the names of two files. `program` names one of them at every moment.
pub(super) fn exchange(program: &Path, other: &Path) -> Result<(), String> {
    let temporary = NewFile::at(with_suffix(program, ".new"));
    let exchange = || {
        temporary.remove()?;
        std::fs::hard_link(program, temporary.path())?;
        std::fs::rename(other, program)?;
        std::fs::rename(temporary.path(), other)?;
        sync_folder(program)
    };
    exchange().map_err(|error| write_error(program, &error))
}

/// Gives `path` the owner and mode of `model`.
pub(super) fn copy_owner_and_mode(model: &Path, path: &Path) -> io::Result<()> {
    let wanted = model.metadata()?;
    let current = path.metadata()?;
    if (current.uid(), current.gid()) != (wanted.uid(), wanted.gid()) {
        chown(path, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(wanted.mode() & 0o7777))
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Context::new(&SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(to_hex(digest.finish())),
            count => digest.update(&piece[..count]),
        }
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Describes a write error in one line, with the fix if there is an obvious one.
pub(super) fn write_error(path: &Path, error: &io::Error) -> String {
    let fixes = [
        (io::ErrorKind::PermissionDenied, "; run this as root"),
        (
            io::ErrorKind::ReadOnlyFilesystem,
            "; mount the file system read-write",
        ),
        (io::ErrorKind::StorageFull, "; free space on that disk"),
    ];
    let known = fixes.iter().find(|(kind, _)| *kind == error.kind());
    let fix = known.map_or("", |(_, fix)| fix);
    format!("{} can't be written: {error}{fix}", path.display())
}
