//! One program in another's place: whole, on the disk and at once, with the old one kept.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hyprbox_protocol::to_hex;
use ring::digest::{Context, SHA256};

/// A file that is being made, and is gone again unless it gets its place.
pub(super) struct Making {
    path: PathBuf,
}

/// A program and the one that will have its place, beside it.
pub(super) struct Swap {
    program: PathBuf,
    making: Making,
    old: PathBuf,
}

impl Making {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file, for its owner alone as long as it is not whole.
    pub(super) fn create(&self) -> Result<File, String> {
        let made = self.remove().and_then(|()| {
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)
        });
        made.map_err(|error| told(&self.path, &error))
    }

    /// Has it on the disk.
    pub(super) fn finish(&self, file: File) -> Result<(), String> {
        file.sync_all().map_err(|error| told(&self.path, &error))
    }

    fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // An error leaves a file that the next upgrade removes.
        let _left = self.remove();
    }
}

impl Swap {
    pub(super) fn beside(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            making: Making::at(with(program, ".new")),
            old: old_of(program),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.making.path()
    }

    pub(super) fn old(&self) -> &Path {
        &self.old
    }

    pub(super) fn create(&self) -> Result<File, String> {
        self.making.create()
    }

    /// Gives the new file the owner and the mode of the program, and has it on the disk.
    pub(super) fn finish(&self, file: File) -> Result<(), String> {
        like(&self.program, self.path()).map_err(|error| told(self.path(), &error))?;
        self.making.finish(file)
    }

    /// The new file gets the program's name; the program itself stays beside it.
    pub(super) fn replace(&self) -> Result<(), String> {
        let replace = || {
            match std::fs::remove_file(&self.old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::hard_link(&self.program, &self.old)?;
            std::fs::rename(self.path(), &self.program)?;
            sync_folder(&self.program)
        };
        replace().map_err(|error| told(&self.program, &error))
    }

    /// The old program gets its name back.
    pub(super) fn undo(&self) -> Result<(), String> {
        std::fs::rename(&self.old, &self.program)
            .and_then(|()| sync_folder(&self.program))
            .map_err(|error| told(&self.program, &error))
    }
}

/// Where the program before the last upgrade is.
pub(super) fn old_of(program: &Path) -> PathBuf {
    with(program, ".old")
}

fn with(program: &Path, ending: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Each file gets the other's name; there is a program at every moment.
pub(super) fn exchange(program: &Path, old: &Path) -> Result<(), String> {
    let between = Making::at(with(program, ".new"));
    let exchange = || {
        between.remove()?;
        std::fs::hard_link(program, between.path())?;
        std::fs::rename(old, program)?;
        std::fs::rename(between.path(), old)?;
        sync_folder(program)
    };
    exchange().map_err(|error| told(program, &error))
}

/// Owner and mode as of the other file.
pub(super) fn like(model: &Path, path: &Path) -> io::Result<()> {
    let about = model.metadata()?;
    let own = path.metadata()?;
    if (own.uid(), own.gid()) != (about.uid(), about.gid()) {
        chown(path, Some(about.uid()), Some(about.gid()))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(about.mode() & 0o7777))
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

/// What went wrong with a file, in one line, with the mend where it is known.
pub(super) fn told(path: &Path, error: &io::Error) -> String {
    let mends = [
        (io::ErrorKind::PermissionDenied, "; run this as root"),
        (
            io::ErrorKind::ReadOnlyFilesystem,
            "; the file system is mounted read-only",
        ),
        (io::ErrorKind::StorageFull, "; make room there"),
    ];
    let known = mends.iter().find(|(kind, _)| *kind == error.kind());
    let mend = known.map_or("", |(_, mend)| mend);
    format!("{} can't be written: {error}{mend}", path.display())
}
