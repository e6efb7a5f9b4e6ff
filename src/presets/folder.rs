//! The operator's presets folder: which files changed, what each holds now, and the last version of
//! each that was good.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, SystemTime};

use super::catalog::FileError;
use super::schema::{Fault, MAX_FILE_BYTES, Preset};

/// A file's times advance in steps (4 ms on many kernels, 2 s on some network shares): a file that
/// changed less than this long before it was read may change once more with nothing to show for it,
/// and is read again.
const TIME_GRAIN: Duration = Duration::from_secs(2);

/// How long a request waits for a changed file to be parsed. A file that takes longer is parsed in
/// the background, and its last good version stays in use meanwhile.
const PARSE_PATIENCE: Duration = Duration::from_millis(250);
/// A file of at most so many bytes is parsed within milliseconds. Only a machine that is busy takes
/// longer, and there the next request waits for a saved change as well.
const SMALL_FILE_BYTES: usize = 4 * 1024;
const SMALL_FILE_PATIENCE: Duration = Duration::from_secs(5);

/// Why a file can't be used. Faults of its content are told apart by line; the others are of the
/// file as a whole.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is not a regular file (a folder, a pipe or a device)")]
    NotAFile,
    #[error("has more than {MAX_FILE_BYTES} bytes, which no preset needs")]
    TooLarge,
    #[error("the file's name is not UTF-8; a preset's name is of a-z, 0-9 and -")]
    NameNotUtf8,
    #[error("{0} has the same name: remove one of the two")]
    Twin(String),
    #[error("is not UTF-8 from this line on")]
    NotUtf8 { line: usize },
    #[error("is not a preset")]
    Faulty(Vec<Fault>),
}

/// What `stat` tells about a file's content. The time of the last change of the inode is among it
/// because a copy may keep the other time (`cp -p`, `rsync -t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether the file had been left alone for long enough, at `now`, that a change would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(since_epoch) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        let newest = self.modified.0.max(self.changed.0);
        let age = i128::from(since_epoch.as_secs()) - i128::from(newest);
        age > i128::from(TIME_GRAIN.as_secs())
    }
}

#[derive(Debug, Default)]
struct Known {
    /// None: read it again at the next look.
    signature: Option<Signature>,
    /// The text of the last reading, good or bad.
    text: Option<String>,
    good: Option<(Preset, String)>,
    errors: Vec<FileError>,
    /// The result of a parse that goes on in the background.
    parsing: Option<Receiver<Parsed>>,
}

/// A text, and what it was parsed to.
type Parsed = (String, Result<Preset, Vec<Fault>>);

/// The folder as of the last look.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<OsString, Known>,
    /// Why the folder itself couldn't be read.
    error: Option<FileError>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            files: BTreeMap::new(),
            error: None,
        }
    }

    /// The good version of every file, a later one of the same name winning: `a.yaml` is put after
    /// `a.yml`.
    pub(super) fn presets(&self) -> Vec<(Preset, String)> {
        // In byte order `a.yaml` comes before `a.yml`.
        let good = self.files.values().rev();
        good.filter_map(|known| known.good.clone()).collect()
    }

    /// By file, then by line.
    pub(super) fn errors(&self) -> Vec<FileError> {
        let of_files = self.files.values().flat_map(|known| &known.errors);
        self.error.iter().chain(of_files).cloned().collect()
    }

    /// Reads what changed. True if presets or errors are others than before.
    pub(super) fn look(&mut self) -> bool {
        let names = match list(&self.path) {
            Ok(names) => names,
            Err(error) => return self.folder_failed(&error),
        };
        let mut changed = self.error.take().is_some();
        self.files.retain(|name, _| {
            let stays = names.contains(name);
            changed |= !stays;
            stays
        });
        for name in &names {
            let twin = twin_of(name).filter(|twin| names.contains(twin));
            let known = self.files.entry(name.clone()).or_default();
            changed |= known.look(&self.path, name, twin);
        }
        changed
    }

    /// A folder that is gone or closed is more likely an accident (an unmounted share, a chmod)
    /// than the wish to have no presets: all that was good stays.
    fn folder_failed(&mut self, error: &io::Error) -> bool {
        let error = FileError {
            file: self.path.display().to_string(),
            line: None,
            column: None,
            message: format!("the presets folder can't be read: {error}"),
        };
        if self.error.as_ref() == Some(&error) {
            return false;
        }
        tracing::warn!("{}: {}", error.file, error.message);
        self.error = Some(error);
        true
    }
}

impl Known {
    fn look(&mut self, folder: &Path, name: &OsString, twin: Option<OsString>) -> bool {
        let path = folder.join(name);
        let mut changed = false;
        match self.parsing.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Disconnected)) => self.parsing = None,
            Some(Err(TryRecvError::Empty)) => return false,
            Some(Ok(parsed)) => {
                self.parsing = None;
                changed = self.parsed(&path, name, parsed);
            }
        }
        let now = SystemTime::now();
        let signature = fs::metadata(&path).ok().map(|meta| Signature::of(&meta));
        if signature.is_some() && signature == self.signature && twin.is_none() {
            return changed;
        }
        // Remembered only if a later change will show; taken before reading, so that one made
        // meanwhile shows too.
        self.signature = signature.filter(|signature| signature.is_settled(now));
        let text = match twin {
            Some(twin) => Err(LoadError::Twin(twin.to_string_lossy().into_owned())),
            None => read(&path, name),
        };
        let came = match text {
            Ok(text) if self.text.as_ref() == Some(&text) => false,
            Ok(text) => {
                self.text = Some(text.clone());
                let patience = if text.len() <= SMALL_FILE_BYTES {
                    SMALL_FILE_PATIENCE
                } else {
                    PARSE_PATIENCE
                };
                let parsing = parse(stem(name).to_owned(), text);
                match parsing.recv_timeout(patience) {
                    Ok(parsed) => self.parsed(&path, name, parsed),
                    Err(RecvTimeoutError::Timeout) => {
                        let path = path.display();
                        tracing::warn!(
                            "{path} takes long to parse; the server goes on without this version until it is done"
                        );
                        self.parsing = Some(parsing);
                        false
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        let error = io::Error::other("there is no thread to parse it");
                        self.text = None;
                        self.fail(&path, name, LoadError::Unreadable(error))
                    }
                }
            }
            Err(error) => {
                // What mends this may not show in the file itself: a folder above it is opened, its
                // twin is gone.
                self.signature = None;
                self.text = None;
                self.fail(&path, name, error)
            }
        };
        came || changed
    }

    fn parsed(&mut self, path: &Path, name: &OsString, (text, result): Parsed) -> bool {
        match result {
            Ok(preset) => self.take(path, preset, text),
            Err(faults) => self.fail(path, name, LoadError::Faulty(faults)),
        }
    }

    fn take(&mut self, path: &Path, preset: Preset, text: String) -> bool {
        tracing::info!(preset = preset.name, "read {}", path.display());
        self.errors.clear();
        self.good = Some((preset, text));
        true
    }

    /// Keeps the last good version; logs what is new about the fault.
    fn fail(&mut self, path: &Path, name: &OsString, error: LoadError) -> bool {
        let file = name.to_string_lossy().into_owned();
        let errors = file_errors(&file, error);
        if errors == self.errors {
            return false;
        }
        let kept = match &self.good {
            Some(_) => "; its last good version stays in use",
            None => "",
        };
        for error in &errors {
            let place = match (error.line, error.column) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}", path.display()),
                (Some(line), None) => format!("{}:{line}", path.display()),
                _ => path.display().to_string(),
            };
            tracing::warn!("preset file {place}: {}{kept}", error.message);
        }
        self.errors = errors;
        true
    }
}

/// Parses in a thread of its own.
fn parse(stem: String, text: String) -> Receiver<Parsed> {
    let (sender, receiver) = channel();
    let work = move || {
        let result = Preset::parse(&stem, &text);
        // Nobody waits any more if the file is gone.
        let _gone = sender.send((text, result));
    };
    // Without a thread the sender is dropped, and the receiver says so.
    let _started = std::thread::Builder::new()
        .name("preset".to_owned())
        .spawn(work);
    receiver
}

fn file_errors(file: &str, error: LoadError) -> Vec<FileError> {
    let whole = |line, message| FileError {
        file: file.to_owned(),
        line,
        column: None,
        message,
    };
    match error {
        LoadError::Faulty(faults) => faults
            .into_iter()
            .map(|fault| FileError {
                file: file.to_owned(),
                line: fault.line,
                column: fault.column,
                message: fault.message,
            })
            .collect(),
        LoadError::NotUtf8 { line } => vec![whole(Some(line), error.to_string())],
        LoadError::Unreadable(_)
        | LoadError::NotAFile
        | LoadError::TooLarge
        | LoadError::NameNotUtf8
        | LoadError::Twin(_) => vec![whole(None, error.to_string())],
    }
}

/// The names of the folder's preset files. Hidden ones are left out: editors keep their copies
/// there, and Kubernetes the folders behind a mounted ConfigMap.
fn list(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_yaml = bytes.ends_with(b".yaml") || bytes.ends_with(b".yml");
        if is_yaml && !bytes.starts_with(b".") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The `.yaml` file that a `.yml` file would have to share its preset's name with.
fn twin_of(name: &OsString) -> Option<OsString> {
    let stem = name.to_str()?.strip_suffix(".yml")?;
    Some(OsString::from(format!("{stem}.yaml")))
}

fn stem(name: &OsString) -> &str {
    let name = name.to_str().unwrap_or_default();
    name.strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"))
        .unwrap_or(name)
}

/// The kind of file is looked at before it is opened, since opening a pipe waits for its other end.
fn read(path: &Path, name: &OsString) -> Result<String, LoadError> {
    if name.to_str().is_none() {
        return Err(LoadError::NameNotUtf8);
    }
    if !fs::metadata(path)?.is_file() {
        return Err(LoadError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..good]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        LoadError::NotUtf8 { line }
    })
}
