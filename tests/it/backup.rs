//! Backups and what becomes of them: whole under load or not there at all, restored only where
//! nothing is lost by it. One file, because restores are tested on the backups.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    FakeAgent, Field, Person, Server, Setup, bytes_chunk, eventually, id_of, reaches, with_node,
};

/// SQLite's files are copied; PostgreSQL has tools of its own.
fn is_sqlite() -> bool {
    Setup::new().database().sqlite().is_some()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[track_caller]
fn done(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that failed says so in one line on standard error.
#[track_caller]
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(output.stdout, b"");
    stderr
}

/// A job with `bytes` of output.
fn fill(admin: &Person, agent: &FakeAgent, bytes: usize) {
    let id = admin.queue(&agent.node_id);
    agent.claim();
    let piece = vec![b'x'; 1 << 20];
    for offset in (0..bytes).step_by(piece.len()) {
        let chunk = bytes_chunk("stdout", offset as u64, &piece);
        agent.output(&id, &[chunk]);
    }
    agent.succeed(&id);
}

fn ids(path: &Path) -> HashSet<String> {
    let connection = rusqlite::Connection::open(path).expect("opens");
    let mut statement = connection.prepare("SELECT id FROM jobs").expect("prepares");
    let ids = statement.query_map([], |row| row.get(0)).expect("queries");
    ids.map(|id| id.expect("an id")).collect()
}

/// Names in a folder that a backup in the making has.
fn partials(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("reads");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| text(path).contains(".hyprbox-backup-"))
        .collect()
}

/// A copy that was stopped after its file had appeared; `None` if it was quicker.
fn stopped_copy(setup: &Setup, file: &Path) -> Option<(Child, Pid)> {
    let folder = file.parent().expect("a folder");
    let mut program = setup.program();
    let program = program.args(["backup", text(file)]);
    let program = program.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = program.spawn().expect("it runs");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    while partials(folder).is_empty() && !file.exists() {
        std::thread::yield_now();
    }
    kill(pid, Signal::SIGSTOP).expect("it is not reaped");
    if !file.exists() {
        return Some((child, pid));
    }
    kill(pid, Signal::SIGCONT).expect("it is not reaped");
    done(&child.wait_with_output().expect("it ends"));
    std::fs::remove_file(file).expect("removes");
    None
}

#[test]
fn a_backup_under_load_has_every_job_that_was_acknowledged_before() {
    if !is_sqlite() {
        return;
    }
    let (server, admin, agent) = with_node();
    for _ in 0..5 {
        fill(&admin, &agent, 4 << 20);
    }
    admin.add_node("n2");
    let file = server.setup().folder().join("backup.db");
    let (acknowledged, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let ids_so_far = || acknowledged.lock().expect("no panic").clone();
    let more = |jobs| {
        let queued = || ids_so_far().len();
        reaches("more jobs", queued() + jobs, queued);
    };
    let earlier = std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let id = admin.queue("n2");
                    acknowledged.lock().expect("no panic").push(id);
                }
            });
        }
        more(320);
        let earlier = ids_so_far();
        let (copying, pid) = eventually("a copy to be stopped before its end", || {
            stopped_copy(server.setup(), &file)
        });
        // The server goes on working in the middle of a copy, however long the copy takes.
        more(160);
        kill(pid, Signal::SIGCONT).expect("it was stopped");
        done(&copying.wait_with_output().expect("it ends"));
        more(160);
        over.store(true, Ordering::Relaxed);
        earlier
    });

    assert_eq!(mode(&file), 0o600);
    let held = ids(&file);
    let missing: Vec<_> = earlier.iter().filter(|id| !held.contains(*id)).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let restored = Setup::new();
    let database = restored.database();
    done(&restored.run(&["restore", text(&file)]));
    assert_eq!(database.integrity(), ["ok"]);
    assert_eq!(ids(database.sqlite().expect("a file")), held);
    // No backup has the sign key: the server creates another one.
    let restored = restored.start();
    let admin = restored.login("admin@example.org", crate::harness::PASSWORD);
    assert_eq!(id_of(&admin.job(&earlier[0])), earlier[0]);
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_backup_is_whole_or_not_there() {
    if !is_sqlite() {
        return;
    }
    let (mut server, admin, agent) = with_node();
    for _ in 0..10 {
        fill(&admin, &agent, 4 << 20);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup.db");
    let mut killed = server.setup().program();
    let mut killed = killed
        .args(["backup", text(&file)])
        .spawn()
        .expect("starts");
    eventually("the copy's beginning", || {
        partials(folder.path()).iter().find_map(|partial| {
            let bytes = partial.metadata().ok()?.len();
            (bytes > 1 << 20).then_some(())
        })
    });
    killed.kill().expect("kills");
    let status = killed.wait().expect("its end");
    // Were it quicker than the kill, there is all of it.
    assert_eq!(file.exists(), status.success());
    if !status.success() {
        done(&server.setup().run(&["backup", text(&file)]));
    }
    // Not overwritten, not even where a link leads nowhere.
    let before = std::fs::read(&file).expect("reads");
    let line = complaint(&server.setup().run(&["backup", text(&file)]));
    assert!(line.contains("not overwritten"), "{line}");
    assert_eq!(std::fs::read(&file).expect("reads"), before);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink("/nonexistent/x", &link).expect("links");
    complaint(&server.setup().run(&["backup", text(&link)]));
    let line = complaint(&server.setup().run(&["backup", "/nonexistent/b.db"]));
    assert!(line.contains("/nonexistent/b.db"), "{line}");
    // A stopped server's data, too.
    assert!(server.terminate().success());
    let second = folder.path().join("second.db");
    done(&server.setup().run(&["backup", text(&second)]));
    assert_eq!(ids(&second).len(), 10);
    let left: Vec<_> = partials(folder.path());
    assert!(left.len() <= usize::from(!status.success()), "{left:?}");
}

#[test]
fn a_backup_without_a_database_names_the_path_it_tried() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let file = setup.folder().join("backup.db");
    let line = complaint(&setup.run(&["backup", text(&file)]));
    assert!(line.contains("HYPRBOX_DATA_DIR"), "{line}");
    assert!(!file.exists() && !setup.data_dir().exists());
}

#[test]
fn a_restore_replaces_only_with_its_flag_and_keeps_the_old_database() {
    if !is_sqlite() {
        return;
    }
    let (mut server, admin, agent) = with_node();
    fill(&admin, &agent, 1 << 20);
    let file = server.setup().folder().join("backup.db");
    done(&server.setup().run(&["backup", text(&file)]));
    let late = admin.queue("n1");

    let restore = ["restore", text(&file)];
    let replace = ["restore", "--replace", text(&file)];
    assert!(complaint(&server.setup().run(&restore)).contains("--replace"));
    let line = complaint(&server.setup().run(&replace));
    assert!(line.contains("hyprbox (process "), "{line}");
    assert!(line.contains("stop the server"), "{line}");
    assert_eq!(id_of(&admin.job(&late)), late);

    // Killed: its last writes are in the log alone.
    server.kill9();
    assert!(complaint(&server.setup().run(&restore)).contains("--replace"));
    let said = done(&server.setup().run(&replace));
    let kept = said
        .split("the old database is ")
        .nth(1)
        .expect("kept")
        .trim();
    assert!(ids(Path::new(kept)).contains(&late), "{said}");
    assert_eq!(server.database().integrity(), ["ok"]);
    server.start_again();
    let admin = server.admin();
    admin
        .get(&format!("/api/jobs/{late}"))
        .refused(404, "job_not_found");
    // What the agent's node was is still known: its token holds.
    agent.at(&server).finds_nothing("");
}

#[test]
fn a_database_that_is_damaged_can_be_replaced() {
    if !is_sqlite() {
        return;
    }
    let mut server = Server::start();
    server.admin();
    let file = server.setup().folder().join("backup.db");
    done(&server.setup().run(&["backup", text(&file)]));
    assert!(server.terminate().success());
    let database = server.database();
    let path = database.sqlite().expect("a file");
    std::fs::write(path, "no database at all\n".repeat(1_000)).expect("writes");
    done(&server.setup().run(&["restore", "--replace", text(&file)]));
    server.start_again();
    server.login("admin@example.org", crate::harness::PASSWORD);
}

#[test]
fn a_file_that_is_not_a_sound_backup_is_not_restored() {
    if !is_sqlite() {
        return;
    }
    let (server, admin, agent) = with_node();
    fill(&admin, &agent, 1 << 20);
    let folder = server.setup().folder().to_owned();
    let file = folder.join("backup.db");
    done(&server.setup().run(&["backup", text(&file)]));
    let whole = std::fs::read(&file).expect("reads");

    let empty = Setup::new();
    let refuse = |name: &str, bytes: &[u8], words: &str| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("writes");
        let line = complaint(&empty.run(&["restore", text(&path)]));
        assert!(line.contains(words), "{name}: {line}");
        assert!(line.contains(name), "{name}: {line}");
        assert!(!empty.data_dir().exists(), "{name}");
    };
    refuse("empty.db", b"", "is empty");
    refuse(
        "words.db",
        &b"words ".repeat(1_000),
        "not a HyprBox database",
    );
    refuse("cut.db", &whole[..whole.len() / 2], "");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40_000].fill(0xff);
    refuse("damaged.db", &damaged, "damaged");
    let change = |name: &str, sql: &str, words: &str| {
        let path = folder.join("changed.db");
        std::fs::write(&path, &whole).expect("writes");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection.execute_batch(sql).expect("changes");
        connection.close().expect("closes");
        refuse(name, &std::fs::read(&path).expect("reads"), words);
    };
    change("newer.db", "PRAGMA user_version=999", "newer");
    change("other.db", "PRAGMA application_id=1", "another program");
    change(
        "torn.db",
        "PRAGMA foreign_keys=OFF; DELETE FROM jobs",
        "refers to a missing row of jobs",
    );
    let absent = complaint(&empty.run(&["restore", "/nonexistent/b.db"]));
    assert!(absent.contains("/nonexistent/b.db"), "{absent}");
}

fn backups(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| text(path).contains("/hyprbox-2"))
        .collect();
    files.sort();
    files
}

#[test]
fn the_server_takes_backups_by_itself_and_keeps_the_newest() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let folder = setup.folder().join("deep/backups");
    let setup = setup
        .with("HYPRBOX_BACKUP_DIR", text(&folder))
        .with("HYPRBOX_BACKUP_EVERY", "1s")
        .with("HYPRBOX_BACKUP_KEEP", "2");
    let mut server = setup.start();
    let admin = server.admin();
    let first = eventually("a backup", || backups(&folder).first().cloned());
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&first), 0o600);
    // Files with other names are somebody's, however old.
    let other = folder.join("hyprbox-2020.db");
    std::fs::write(&other, "").expect("writes");
    let id = admin.queue(&admin.add_node("n1").node_id);
    eventually("the job in a backup, and the first one gone", || {
        let newest = backups(&folder).into_iter().rfind(|path| *path != other)?;
        (ids(&newest).contains(&id) && !first.exists()).then_some(())
    });
    assert!(other.exists());
    let page = admin.get("/metrics").gives(200).text();
    let said = |start: &str| page.lines().any(|line| line.starts_with(start));
    assert!(
        said("hyprbox_backups_total{outcome=\"succeeded\"}"),
        "{page}"
    );
    assert!(
        said("hyprbox_backup_last_success_timestamp_seconds"),
        "{page}"
    );
    assert!(said("hyprbox_backup_size_bytes"), "{page}");
    let kept = backups(&folder).len();
    assert!((3..=4).contains(&kept), "{kept}");
}

#[test]
fn a_restart_takes_no_backup_before_its_time() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let folder = setup.folder().join("backups");
    let mut server = setup.with("HYPRBOX_BACKUP_DIR", text(&folder)).start();
    let first = eventually("a backup", || backups(&folder).first().cloned());
    server.restart();
    let admin = server.admin();
    eventually("the last backup's time", || {
        let page = admin.get("/metrics").gives(200).text();
        let name = "hyprbox_backup_last_success_timestamp_seconds";
        page.lines()
            .any(|line| line.starts_with(name))
            .then_some(())
    });
    assert_eq!(backups(&folder), [first]);
}

#[test]
fn a_backup_that_fails_is_logged_counted_and_tried_again() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let folder = setup.folder().join("backups");
    let mut server = setup
        .with("HYPRBOX_BACKUP_DIR", text(&folder))
        .with("HYPRBOX_BACKUP_EVERY", "1s")
        .start();
    let admin = server.admin();
    eventually("a backup", || backups(&folder).first().cloned());
    let page = admin.get("/metrics").gives(200).text();
    let none = "hyprbox_backups_total{outcome=\"failed\"} 0";
    assert!(page.contains(none), "{page}");
    let away = server.setup().folder().join("away");
    std::fs::rename(&folder, &away).expect("renames");
    eventually("a complaint", || {
        server
            .logged(&["ERROR", "the backup failed", "backups"])
            .then_some(())
    });
    let page = admin.get("/metrics").gives(200).text();
    assert!(
        page.contains("hyprbox_backups_total{outcome=\"failed\"} 1"),
        "{page}"
    );
    std::fs::create_dir(&folder).expect("a folder");
    eventually("another backup", || backups(&folder).first().cloned());
}

#[test]
fn a_backup_that_fails_sends_one_message() {
    if !is_sqlite() {
        return;
    }
    let setup = Setup::new();
    let folder = setup.folder().join("backups");
    let mut server = setup
        .with("HYPRBOX_BACKUP_DIR", text(&folder))
        .with("HYPRBOX_BACKUP_EVERY", "1s")
        .start();
    let admin = server.admin();
    let receiver = crate::notify::receiver::Receiver::start();
    let channel = crate::notify::webhook(&admin, &receiver.url, &["backup_failed"]);
    eventually("a backup", || backups(&folder).first().cloned());
    std::fs::rename(&folder, server.setup().folder().join("away")).expect("renames");
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "backup.failed");
    assert_eq!(message["data"]["event"], "backup_failed");
    assert!(
        message["data"].field("reason").contains("backups"),
        "{message}"
    );
    // The further failures of the same trouble send none.
    eventually("the next failure", || {
        let page = admin.get("/metrics").gives(200).text();
        page.contains("hyprbox_backups_total{outcome=\"failed\"} 2")
            .then_some(())
    });
    assert_eq!(crate::notify::deliveries(&admin, &channel).len(), 1);
}

#[cfg(feature = "postgres")]
#[test]
fn on_postgres_they_name_its_own_tools() {
    if is_sqlite() {
        return;
    }
    let setup = Setup::new();
    for words in [&["backup", "x.db"], &["restore", "x.db"]] {
        let line = complaint(&setup.run(words));
        assert!(line.contains("pg_dump"), "{line}");
    }
    let folder = setup.folder().join("backups");
    let line = crate::config::refused(&setup.with("HYPRBOX_BACKUP_DIR", text(&folder)));
    assert!(line.contains("pg_dump"), "{line}");
}

#[test]
fn copies_that_killed_programs_left_go_at_the_next_start() {
    if !is_sqlite() {
        return;
    }
    let mut server = Server::start();
    server.kill9();
    let folder = server.setup().data_dir();
    let left = [".hyprbox-backup-aB3dE6", ".hyprbox-backup-aB3dE6-journal"];
    for name in left {
        std::fs::write(folder.join(name), b"half a copy").expect("writes");
    }
    // One that is still being made, one of somebody else's, and a link.
    let used = folder.join(".hyprbox-backup-inUse1");
    let copy = std::fs::File::create(&used).expect("creates");
    copy.lock().expect("locks");
    let other = folder.join("hyprbox-backup-notes");
    std::fs::write(&other, b"notes").expect("writes");
    let link = folder.join(".hyprbox-backup-linked");
    std::os::unix::fs::symlink(&other, &link).expect("links");
    server.start_again();
    assert!(left.iter().all(|name| !folder.join(name).exists()));
    assert!(used.exists() && other.exists() && link.is_symlink());
}

#[test]
fn an_empty_database_next_to_what_is_left_of_one_is_refused() {
    if !is_sqlite() {
        return;
    }
    let (server, _admin, _agent) = with_node();
    let database = server.database().sqlite().expect("a file").to_owned();
    let folder = database.parent().expect("a folder").to_owned();
    let copy = folder.join("copy.db");
    done(&server.setup().run(&["backup", text(&copy)]));
    let mut server = server;
    server.terminate();
    let setup = server.into_setup();
    let log = folder.join("hyprbox.db-wal");
    std::fs::write(&database, b"").expect("empties");
    let line = crate::config::refused(&setup);
    assert!(
        line.contains("copy.db") && line.contains("hyprbox restore --replace"),
        "{line}"
    );
    assert_eq!(database.metadata().expect("is there").len(), 0);
    // So is a backup in another folder, if that is the one for backups.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let moved = elsewhere.path().join("copy.db");
    std::fs::copy(&copy, &moved).expect("copies");
    std::fs::remove_file(&copy).expect("removes");
    let setup = setup.with("HYPRBOX_BACKUP_DIR", text(elsewhere.path()));
    let line = crate::config::refused(&setup);
    assert!(line.contains(text(&moved)), "{line}");
    assert_eq!(database.metadata().expect("is there").len(), 0);
    let setup = setup.without("HYPRBOX_BACKUP_DIR");
    // Without any copy, its log is enough.
    std::fs::write(&log, b"a log").expect("writes");
    assert!(crate::config::refused(&setup).contains("hyprbox.db-wal"));
    assert_eq!(std::fs::read(&log).expect("reads"), b"a log");
    // What the line says works.
    done(&setup.run(&["restore", "--replace", text(&moved)]));
    let server = setup.start();
    server.get("/readyz").gives(200);
}
