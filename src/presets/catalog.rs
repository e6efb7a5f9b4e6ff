//! All presets that can be queued: those of the operator's folder, those saved in the app, and the
//! built-in ones. If several have the same name, the first of these three wins. The folder is
//! checked at each request ([`Catalog::refresh`]): that costs one `stat` per file, and only changed
//! files are read. The caller reads saved presets from the database ([`Catalog::apply_saved`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::folder::{FileError, Folder, FolderPreset};
use super::schema::Preset;
use crate::clock::Timestamp;
use crate::sync::{lock, read, write};

/// The presets that are part of the program. A test compares this list with the files in
/// `presets/`.
const BUILT_IN: &[(&str, &str)] = &[
    (
        "agent-upgrade",
        include_str!("../../presets/agent-upgrade.yaml"),
    ),
    ("caddy-site", include_str!("../../presets/caddy-site.yaml")),
    (
        "docker-host",
        include_str!("../../presets/docker-host.yaml"),
    ),
    ("fail2ban", include_str!("../../presets/fail2ban.yaml")),
    (
        "node-exporter",
        include_str!("../../presets/node-exporter.yaml"),
    ),
    (
        "postgres-server",
        include_str!("../../presets/postgres-server.yaml"),
    ),
    (
        "restic-backup",
        include_str!("../../presets/restic-backup.yaml"),
    ),
    (
        "server-light",
        include_str!("../../presets/server-light.yaml"),
    ),
    ("ssh-keys", include_str!("../../presets/ssh-keys.yaml")),
    ("swap-file", include_str!("../../presets/swap-file.yaml")),
    (
        "system-report",
        include_str!("../../presets/system-report.yaml"),
    ),
    (
        "system-update",
        include_str!("../../presets/system-update.yaml"),
    ),
];

/// Where a preset comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Part of the program.
    BuiltIn,
    /// From the presets folder.
    Folder,
    /// From the presets folder, instead of the built-in preset of the same name.
    Override,
    /// Saved in the app.
    App,
}

impl Origin {
    /// Which of the sources has the preset, whether or not it hides another one.
    pub fn layer(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Folder | Self::Override => "folder",
            Self::App => "app",
        }
    }
}

/// A preset with its text and origin.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogEntry {
    pub preset: Preset,
    /// The YAML text.
    pub source: String,
    pub origin: Origin,
    /// Origins of presets of the same name that this one hides.
    pub hides: Vec<Origin>,
    /// Of a preset that was saved in the app.
    pub saved: Option<SavedInfo>,
    /// The commit of the presets folder, if that is a git checkout; with `-dirty` if the file
    /// differs from it.
    pub commit: Option<String>,
}

impl CatalogEntry {
    /// A preset that was saved in the app.
    pub fn saved(preset: Preset, source: String, info: SavedInfo) -> Self {
        Self {
            saved: Some(info),
            ..Self::new(preset, source, Origin::App)
        }
    }

    fn new(preset: Preset, source: String, origin: Origin) -> Self {
        Self {
            preset,
            source,
            origin,
            hides: Vec::new(),
            saved: None,
            commit: None,
        }
    }
}

/// Who saved a version of a preset in the app, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedInfo {
    pub version: u64,
    pub by_email: String,
    pub at: Timestamp,
}

/// A preset saved in the app, as the database has it.
#[derive(Debug, Clone)]
pub struct SavedText {
    pub name: String,
    /// Number of its last change, counted over all presets.
    pub change_no: i64,
    /// `None` if the preset was deleted.
    pub source: Option<String>,
    pub info: SavedInfo,
}

/// The presets at one moment. Never changes; a later one replaces it.
#[derive(Debug, Default)]
pub struct Snapshot {
    entries: BTreeMap<String, Arc<CatalogEntry>>,
    errors: Vec<FileError>,
    /// The versions in use of presets that were saved in the app, also of hidden ones.
    saved: BTreeMap<String, u64>,
}

impl Snapshot {
    pub fn get(&self, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.entries.get(name)
    }

    /// All presets, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.entries.values()
    }

    /// The version of the preset of that name that was saved in the app and not deleted since. A
    /// file of the presets folder may hide it.
    pub fn saved_version(&self, name: &str) -> Option<u64> {
        self.saved.get(name).copied()
    }

    /// The error in the preset of that name, if that is why the preset is missing: `mine.yaml:3:
    /// unknown field …`.
    pub fn broken(&self, name: &str) -> Option<String> {
        let stem = |file: &str| {
            let file = file.split(" (").next().unwrap_or(file);
            file.strip_suffix(".yaml")
                .or_else(|| file.strip_suffix(".yml"))
                .is_some_and(|stem| stem == name)
        };
        let error = self.errors.iter().find(|error| stem(&error.file))?;
        let line = error
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        Some(format!("{}{line}: {}", error.file, error.message))
    }

    /// The errors in the presets folder, by file and line, and in presets that were saved by
    /// another version of this program.
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }
}

/// The catalog: share it in an `Arc`.
#[derive(Debug)]
pub struct Catalog {
    built_in: BTreeMap<String, Arc<CatalogEntry>>,
    folder: Option<Mutex<Watched>>,
    layers: Mutex<Layers>,
    current: RwLock<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Watched {
    folder: Folder,
    /// When the last refresh began. It also serves callers that called before it.
    refreshed_at: Option<Instant>,
}

/// What a snapshot consists of, apart from the built-in presets.
#[derive(Debug, Default)]
struct Layers {
    folder: Vec<FolderPreset>,
    folder_errors: Vec<FileError>,
    saved: BTreeMap<String, SavedLayer>,
    /// Every change up to this one was applied.
    change_no: i64,
}

/// A preset saved in the app. A deleted one remains, for the number of its change.
#[derive(Debug)]
struct SavedLayer {
    change_no: i64,
    /// `None` if it was deleted.
    entry: Option<Result<Arc<CatalogEntry>, FileError>>,
    version: u64,
}

impl Catalog {
    /// Loads the built-in presets and those of `folder`. A folder that can't be read does not stop
    /// the server: it is logged, listed among the errors, and tried again at each refresh.
    pub fn open(folder: Option<&Path>) -> Self {
        let catalog = Self {
            built_in: built_in(),
            folder: folder.map(|path| {
                Mutex::new(Watched {
                    folder: Folder::new(PathBuf::from(path)),
                    refreshed_at: None,
                })
            }),
            layers: Mutex::default(),
            current: RwLock::default(),
        };
        catalog.publish(&lock(&catalog.layers));
        catalog.refresh();
        catalog
    }

    /// The presets as of the last refresh. Cheap: no I/O, no copy.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&read(&self.current))
    }

    /// Reloads changed files. Afterwards [`Catalog::current`] has every change that was complete
    /// before the call. Blocking: one `readdir`, one `stat` per file. Concurrent callers share one
    /// refresh.
    pub fn refresh(&self) {
        let Some(folder) = &self.folder else { return };
        let called_at = Instant::now();
        let mut watched = lock(folder);
        if watched.refreshed_at.is_some_and(|began| began >= called_at) {
            return;
        }
        watched.refreshed_at = Some(Instant::now());
        if watched.folder.reload() {
            let mut layers = lock(&self.layers);
            layers.folder = watched.folder.presets();
            layers.folder_errors = watched.folder.errors();
            self.publish(&layers);
        }
    }

    /// The number of the last change of the saved presets that [`Catalog::apply_saved`] has
    /// received.
    pub fn saved_change_no(&self) -> i64 {
        lock(&self.layers).change_no
    }

    /// Applies changes of the presets that are saved in the app: all that follow the number which
    /// [`Catalog::saved_change_no`] returned. Blocking: parses them.
    pub fn apply_saved(&self, changed: Vec<SavedText>) {
        if changed.is_empty() {
            return;
        }
        let parsed: Vec<_> = changed.into_iter().map(parse_saved).collect();
        let mut layers = lock(&self.layers);
        for (name, saved) in parsed {
            layers.change_no = layers.change_no.max(saved.change_no);
            let known = layers.saved.get(&name).map(|known| known.change_no);
            // Another caller may have read a later change meanwhile.
            if known.is_none_or(|known| known < saved.change_no) {
                layers.saved.insert(name, saved);
            }
        }
        self.publish(&layers);
    }

    fn publish(&self, layers: &Layers) {
        let mut snapshot = Snapshot {
            entries: self.built_in.clone(),
            errors: layers.folder_errors.clone(),
            ..Snapshot::default()
        };
        for (name, layer) in &layers.saved {
            let Some(entry) = &layer.entry else { continue };
            snapshot.saved.insert(name.clone(), layer.version);
            match entry {
                Ok(entry) => hide(&mut snapshot.entries, CatalogEntry::clone(entry)),
                Err(error) => {
                    snapshot.entries.remove(name);
                    snapshot.errors.push(error.clone());
                }
            }
        }
        for FolderPreset {
            preset,
            source,
            commit,
        } in &layers.folder
        {
            let origin = if self.built_in.contains_key(&preset.name) {
                Origin::Override
            } else {
                Origin::Folder
            };
            let entry = CatalogEntry::new(preset.clone(), source.clone(), origin);
            let commit = commit.clone();
            hide(&mut snapshot.entries, CatalogEntry { commit, ..entry });
        }
        *write(&self.current) = Arc::new(snapshot);
    }
}

/// Puts `entry` in the place of the preset of the same name.
fn hide(entries: &mut BTreeMap<String, Arc<CatalogEntry>>, mut entry: CatalogEntry) {
    if let Some(hidden) = entries.get(&entry.preset.name) {
        // A file replaces a file of the same name; it does not hide it.
        let is_file = |origin| matches!(origin, Origin::Folder | Origin::Override);
        if !(is_file(hidden.origin) && is_file(entry.origin)) {
            entry.hides.push(hidden.origin);
        }
        entry.hides.extend(&hidden.hides);
    }
    entries.insert(entry.preset.name.clone(), Arc::new(entry));
}

fn parse_saved(saved: SavedText) -> (String, SavedLayer) {
    let (name, version) = (saved.name, saved.info.version);
    let entry = saved
        .source
        .map(|source| match Preset::parse(&name, &source) {
            Ok(preset) => Ok(Arc::new(CatalogEntry::saved(preset, source, saved.info))),
            Err(faults) => {
                let fault = faults.into_iter().next();
                let error = FileError {
                    file: format!("{name}.yaml (saved in the app, version {version})"),
                    line: fault.as_ref().and_then(|fault| fault.line),
                    column: fault.as_ref().and_then(|fault| fault.column),
                    message: fault.map_or_else(String::new, |fault| fault.message),
                };
                tracing::warn!("preset {}: {}", error.file, error.message);
                Err(error)
            }
        });
    let layer = SavedLayer {
        change_no: saved.change_no,
        entry,
        version,
    };
    (name, layer)
}

fn built_in() -> BTreeMap<String, Arc<CatalogEntry>> {
    let mut entries = BTreeMap::new();
    for (name, source) in BUILT_IN {
        let preset = Preset::parse(name, source).expect("a test parses every built-in preset");
        let entry = CatalogEntry::new(preset, (*source).to_owned(), Origin::BuiltIn);
        entries.insert((*name).to_owned(), Arc::new(entry));
    }
    entries
}
