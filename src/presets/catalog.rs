//! All presets that can be queued: the built-in ones, and those of the operator's folder, which add
//! to them and override them. The folder is checked at each request ([`Catalog::refresh`]): that
//! costs one `stat` per file, and only changed files are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::folder::{FileError, Folder};
use super::schema::Preset;
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
}

/// A preset with its text and origin.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogEntry {
    pub preset: Preset,
    /// The YAML text.
    pub source: String,
    pub origin: Origin,
}

/// The presets at one moment. Never changes; a later one replaces it.
#[derive(Debug, Default)]
pub struct Snapshot {
    entries: BTreeMap<String, Arc<CatalogEntry>>,
    errors: Vec<FileError>,
}

impl Snapshot {
    pub fn get(&self, name: &str) -> Option<&Arc<CatalogEntry>> {
        self.entries.get(name)
    }

    /// All presets, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<CatalogEntry>> {
        self.entries.values()
    }

    /// The error in the file of that name, if that is why the preset is missing:
    /// `mine.yaml:3: unknown field …`.
    pub fn broken(&self, name: &str) -> Option<String> {
        let stem = |file: &str| {
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

    /// The errors in the presets folder, by file and line.
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }
}

/// The catalog: share it in an `Arc`.
#[derive(Debug)]
pub struct Catalog {
    built_in: BTreeMap<String, Arc<CatalogEntry>>,
    folder: Option<Mutex<Watched>>,
    current: RwLock<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Watched {
    folder: Folder,
    /// When the last refresh began. It also serves callers that called before it.
    refreshed_at: Option<Instant>,
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
            current: RwLock::default(),
        };
        catalog.publish(&[], Vec::new());
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
            let presets = watched.folder.presets();
            self.publish(&presets, watched.folder.errors());
        }
    }

    fn publish(&self, from_folder: &[(Preset, String)], errors: Vec<FileError>) {
        let mut entries = self.built_in.clone();
        for (preset, source) in from_folder {
            let origin = if self.built_in.contains_key(&preset.name) {
                Origin::Override
            } else {
                Origin::Folder
            };
            let entry = CatalogEntry {
                preset: preset.clone(),
                source: source.clone(),
                origin,
            };
            entries.insert(preset.name.clone(), Arc::new(entry));
        }
        let snapshot = Arc::new(Snapshot { entries, errors });
        *write(&self.current) = snapshot;
    }
}

fn built_in() -> BTreeMap<String, Arc<CatalogEntry>> {
    let mut entries = BTreeMap::new();
    for (name, source) in BUILT_IN {
        let preset = Preset::parse(name, source).expect("a test parses every built-in preset");
        let entry = CatalogEntry {
            preset,
            source: (*source).to_owned(),
            origin: Origin::BuiltIn,
        };
        entries.insert((*name).to_owned(), Arc::new(entry));
    }
    entries
}
