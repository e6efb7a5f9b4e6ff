//! The operator's presets folder: which files changed, and the last good version of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use utoipa::ToSchema;

use super::git::Checkout;
use super::schema::{Fault, MAX_FILE_BYTES, Preset};
use crate::clock;

/// Timestamps of files advance in steps (4 ms on many kernels, 2 s on some network shares). A file
/// that is younger than this may change again without a new timestamp, so it is read again.
const TIME_GRAIN: Duration = Duration::from_secs(2);

/// How long a request waits until a changed file is parsed. After that, parsing continues in the
/// background, and the last good version stays in use.
const PARSE_PATIENCE: Duration = Duration::from_millis(250);
/// A file up to this size takes milliseconds to parse, except on a busy machine. Requests wait
/// longer for it, so that a saved change is in effect with the next request.
const SMALL_FILE_BYTES: usize = 4 * 1024;
const SMALL_FILE_PATIENCE: Duration = Duration::from_secs(5);

/// An error in the presets folder. The last good version of a file stays in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileError {
    /// The file's name in the folder; the folder's path if the folder can't be read.
    pub file: String,
    /// From 1; `null` if the error concerns the whole file.
    #[schema(required = true)]
    pub line: Option<usize>,
    /// From 1, in characters.
    #[schema(required = true)]
    pub column: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is not a regular file (a folder, a pipe or a device)")]
    NotAFile,
    #[error("has more than {MAX_FILE_BYTES} bytes, the most that a preset may have")]
    TooLarge,
    #[error("the file's name is not UTF-8; a preset's name has only a-z, 0-9 and -")]
    NameNotUtf8,
    #[error("{0} has the same name: remove one of the two")]
    Twin(String),
    #[error("is not UTF-8 from this line on")]
    NotUtf8 { line: usize },
    #[error("is not a preset")]
    Faulty(Vec<Fault>),
}

/// A file's identity according to `stat`. Includes the inode's change time, because a copy may keep
/// the modification time (`cp -p`, `rsync -t`).
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

    /// Whether the file is old enough at `now` that another change would change the signature.
    fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(since_epoch) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        let newest = self.modified.0.max(self.changed.0);
        let age = i128::from(since_epoch.as_secs()) - i128::from(newest);
        age > i128::from(TIME_GRAIN.as_secs())
    }
}

/// A file of the folder.
#[derive(Debug, Default)]
struct PresetFile {
    /// `None`: the next reload reads the file again.
    signature: Option<Signature>,
    /// The text that was last read, good or bad.
    text: Option<String>,
    good: Option<(Preset, String)>,
    errors: Vec<FileError>,
    /// Receives the result of a parse in the background.
    parsing: Option<Receiver<Parsed>>,
}

/// A text and the result of parsing it.
type Parsed = (String, Result<Preset, Vec<Fault>>);

/// The good version of a file.
#[derive(Debug)]
pub(super) struct FolderPreset {
    pub(super) preset: Preset,
    /// The YAML text.
    pub(super) source: String,
    /// The commit of the folder, if it is a git checkout; with `-dirty` if the file differs.
    pub(super) commit: Option<String>,
}

/// The folder as of the last reload.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<OsString, PresetFile>,
    /// Why the folder itself couldn't be read.
    error: Option<FileError>,
    /// The commit that is checked out, if the folder is in a git checkout.
    checkout: Option<Checkout>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            files: BTreeMap::new(),
            error: None,
            checkout: None,
        }
    }

    /// The good version of every file. Of two with the same name the later one wins: `a.yaml` comes
    /// after `a.yml`.
    pub(super) fn presets(&self) -> Vec<FolderPreset> {
        // In byte order `a.yaml` comes before `a.yml`.
        let good = self.files.iter().rev();
        let preset = |(name, file): (&OsString, &PresetFile)| {
            let (preset, source) = file.good.clone()?;
            let commit = self.checkout.as_ref();
            Some(FolderPreset {
                commit: commit.map(|checkout| checkout.commit_of(name, source.as_bytes())),
                preset,
                source,
            })
        };
        good.filter_map(preset).collect()
    }

    /// By file, then by line.
    pub(super) fn errors(&self) -> Vec<FileError> {
        let of_files = self.files.values().flat_map(|file| &file.errors);
        self.error.iter().chain(of_files).cloned().collect()
    }

    /// Reads changed files and returns whether presets or errors changed.
    pub(super) fn reload(&mut self) -> bool {
        let names = match list(&self.path) {
            Ok(names) => names,
            Err(error) => return self.folder_failed(&error),
        };
        let mut changed = self.error.take().is_some();
        changed |= Checkout::refresh(&mut self.checkout, &self.path);
        self.files.retain(|name, _| {
            let stays = names.contains(name);
            changed |= !stays;
            stays
        });
        for name in &names {
            let twin = twin_of(name).filter(|twin| names.contains(twin));
            let file = self.files.entry(name.clone()).or_default();
            changed |= file.reload(&self.path, name, twin);
        }
        changed
    }

    /// Keeps the last good presets: a missing or unreadable folder is more likely an accident (an
    /// unmounted share, a chmod) than intended.
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

impl PresetFile {
    fn reload(&mut self, folder: &Path, name: &OsString, twin: Option<OsString>) -> bool {
        let path = folder.join(name);
        let mut changed = false;
        match self.parsing.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Disconnected)) => self.parsing = None,
            Some(Err(TryRecvError::Empty)) => return false,
            Some(Ok(parsed)) => {
                self.parsing = None;
                changed = self.store_result(&path, name, parsed);
            }
        }
        let now = clock::system_now();
        let signature = fs::metadata(&path).ok().map(|meta| Signature::of(&meta));
        if signature.is_some() && signature == self.signature && twin.is_none() {
            return changed;
        }
        // Kept only if a later change would change it. Taken before the file is read, so that a
        // change during the read is noticed.
        self.signature = signature.filter(|signature| signature.is_settled(now));
        let text = match twin {
            Some(twin) => Err(LoadError::Twin(twin.to_string_lossy().into_owned())),
            None => read(&path, name),
        };
        let has_news = match text {
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
                    Ok(parsed) => self.store_result(&path, name, parsed),
                    Err(RecvTimeoutError::Timeout) => {
                        let path = path.display();
                        tracing::warn!(
                            "{path} takes long to parse; its last good version stays in use until parsing is done"
                        );
                        self.parsing = Some(parsing);
                        false
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        let error = io::Error::other("can't start a thread to parse it");
                        self.text = None;
                        self.fail(&path, name, LoadError::Unreadable(error))
                    }
                }
            }
            Err(error) => {
                // The fix may not change the file: a parent folder becomes readable, or the file of
                // the same name goes away.
                self.signature = None;
                self.text = None;
                self.fail(&path, name, error)
            }
        };
        has_news || changed
    }

    fn store_result(&mut self, path: &Path, name: &OsString, (text, result): Parsed) -> bool {
        match result {
            Ok(preset) => self.accept(path, preset, text),
            Err(faults) => self.fail(path, name, LoadError::Faulty(faults)),
        }
    }

    fn accept(&mut self, path: &Path, preset: Preset, text: String) -> bool {
        tracing::info!(preset = preset.name, "read {}", path.display());
        self.errors.clear();
        self.good = Some((preset, text));
        true
    }

    /// Keeps the last good version, and logs the errors if they are new.
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

/// Parses in a new thread.
fn parse(stem: String, text: String) -> Receiver<Parsed> {
    let (sender, receiver) = channel();
    let work = move || {
        let result = Preset::parse(&stem, &text);
        // Nobody receives the result if the file was removed.
        let _removed = sender.send((text, result));
    };
    // If the thread can't start, the sender is dropped and the receiver is disconnected.
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

/// The names of the folder's preset files. Hidden files are skipped: editors keep copies in them,
/// and Kubernetes the folders behind a mounted ConfigMap.
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

/// The `.yaml` file with the same preset name as a `.yml` file.
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

/// Reads a file. Its type is checked first, because opening a pipe would block.
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
