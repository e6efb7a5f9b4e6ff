//! A watched presets folder, and the log of its catalog.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::presets::{Catalog, Snapshot};

/// A folder and its catalog.
pub(super) struct Watched {
    pub(super) dir: tempfile::TempDir,
    pub(super) catalog: Catalog,
}

impl Watched {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp folder");
        let catalog = Catalog::open(Some(dir.path()));
        Self { dir, catalog }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    pub(super) fn reload(&self) -> Arc<Snapshot> {
        self.catalog.refresh();
        self.catalog.current()
    }

    /// The title of a preset after a reload, if the preset exists.
    pub(super) fn title(&self, name: &str) -> Option<String> {
        self.reload()
            .get(name)
            .map(|entry| entry.preset.title.clone())
    }

    /// `file:line:column: message` of every error after a reload.
    pub(super) fn errors(&self) -> Vec<String> {
        let place = |number: Option<usize>| number.map_or(String::new(), |n| n.to_string());
        self.reload()
            .errors()
            .iter()
            .map(|e| {
                format!(
                    "{}:{}:{}: {}",
                    e.file,
                    place(e.line),
                    place(e.column),
                    e.message
                )
            })
            .collect()
    }
}

pub(super) fn yaml(name: &str, title: &str) -> String {
    format!(
        "name: {name}\ntitle: {title}\ntargets: [any]\nsteps:\n- {{ name: One, run: 'true' }}\n"
    )
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An invalid file is logged with file, line and reason, once per reason and not at every reload.
#[test]
fn a_fault_is_logged_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let watched = Watched::new();
    tracing::subscriber::with_default(subscriber, || {
        watched.write("mine.yaml", &yaml("mine", "Mine"));
        watched.reload();
        watched.write("mine.yaml", "name: mine\nsteps: 5\n");
        watched.reload();
        watched.reload();
        watched.write("mine.yaml", "name: mine\nstep: 5\n");
        watched.reload();
        watched.reload();
    });
    let log = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("UTF-8");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    let path = watched.path("mine.yaml").display().to_string();
    for (warning, expected) in warnings
        .iter()
        .zip([":2:8: steps: invalid type", ":2:1: unknown field `step`"])
    {
        assert!(
            warning.contains(&format!("preset file {path}{expected}")),
            "{warning}"
        );
        assert!(
            warning.ends_with("; its last good version stays in use"),
            "{warning}"
        );
    }
}
