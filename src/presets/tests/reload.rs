//! The presets folder, file by file: loading, keeping the last good version, reporting.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use hyprbox_testkit::eventually;

use super::watched::{Watched, yaml};
use crate::presets::{Catalog, Origin, Snapshot};

#[test]
fn files_are_added_changed_and_removed() {
    let watched = Watched::new();
    assert_eq!(watched.title("mine"), None);
    watched.write("mine.yaml", &yaml("mine", "First"));
    assert_eq!(watched.title("mine").as_deref(), Some("First"));
    // Same length, and within the same tick of the file system's clock.
    watched.write("mine.yaml", &yaml("mine", "Fifth"));
    assert_eq!(watched.title("mine").as_deref(), Some("Fifth"));
    let entry = Arc::clone(watched.reload().get("mine").expect("there"));
    assert_eq!(entry.origin, Origin::Folder);
    assert_eq!(entry.source, yaml("mine", "Fifth"));
    fs::rename(watched.path("mine.yaml"), watched.path("mine.yml")).expect("renamed");
    assert_eq!(watched.title("mine").as_deref(), Some("Fifth"));
    fs::remove_file(watched.path("mine.yml")).expect("removed");
    assert_eq!(watched.title("mine"), None);
    assert_eq!(watched.errors(), [""; 0]);
}

/// A replacement with the same time and length (`cp -p`, a restored backup).
#[test]
fn a_change_with_the_same_time_is_noticed() {
    let watched = Watched::new();
    let old = crate::clock::system_now() - std::time::Duration::from_secs(3_600);
    let write_as_of_then = |title: &str| {
        watched.write("mine.yaml", &yaml("mine", title));
        let file = fs::File::options()
            .write(true)
            .open(watched.path("mine.yaml"));
        file.expect("opened").set_modified(old).expect("set");
    };
    write_as_of_then("First");
    assert_eq!(watched.title("mine").as_deref(), Some("First"));
    write_as_of_then("Other");
    assert_eq!(watched.title("mine").as_deref(), Some("Other"));
}

#[test]
fn a_built_in_preset_is_overridden_and_restored() {
    let watched = Watched::new();
    let built_in = watched.title("server-light");
    watched.write("server-light.yaml", &yaml("server-light", "Ours"));
    assert_eq!(watched.title("server-light").as_deref(), Some("Ours"));
    let origin = |snapshot: &Snapshot| snapshot.get("server-light").map(|entry| entry.origin);
    assert_eq!(origin(&watched.reload()), Some(Origin::Override));
    fs::remove_file(watched.path("server-light.yaml")).expect("removed");
    assert_eq!(watched.title("server-light"), built_in);
    assert_eq!(origin(&watched.reload()), Some(Origin::BuiltIn));
    // An invalid file overrides nothing.
    watched.write("server-light.yaml", "name: server-light\n");
    assert_eq!(watched.title("server-light"), built_in);
    assert_eq!(
        watched.errors(),
        ["server-light.yaml:1:1: missing field `targets`"]
    );
}

#[test]
fn an_invalid_file_keeps_its_last_good_version() {
    let watched = Watched::new();
    watched.write("mine.yaml", &yaml("mine", "Good"));
    watched.write("yours.yaml", &yaml("yours", "Good"));
    assert_eq!(watched.title("mine").as_deref(), Some("Good"));
    let half = yaml("mine", "Better");
    for length in 0..half.trim_end().len() {
        watched.write("mine.yaml", &half[..length]);
        assert_eq!(watched.title("mine").as_deref(), Some("Good"), "{length}");
        assert_eq!(watched.reload().errors().len(), 1, "{length}");
        assert_eq!(watched.reload().errors()[0].file, "mine.yaml");
    }
    watched.write("mine.yaml", &half.replace("targets", "target"));
    assert_eq!(
        watched.errors(),
        [
            "mine.yaml:3:1: unknown field `target`, expected one of `name`, `title`, `description`, `targets`, `derivatives`, `risk`, `timeout`, `params`, `keepProcesses`, `confirm`, `steps`"
        ]
    );
    watched.write("mine.yaml", &half);
    assert_eq!(watched.title("mine").as_deref(), Some("Better"));
    assert_eq!(watched.errors(), [""; 0]);
    // A removed file has no last good version.
    watched.write("mine.yaml", "name: [");
    fs::remove_file(watched.path("mine.yaml")).expect("removed");
    assert_eq!(watched.title("mine"), None);
    assert_eq!(watched.title("yours").as_deref(), Some("Good"));
}

#[test]
fn unusable_files_are_reported_and_stop_nothing() {
    let watched = Watched::new();
    watched.write("good.yaml", &yaml("good", "Good"));
    watched.write("notes.txt", "no preset");
    watched.write(".hidden.yaml", "no preset");
    watched.write("good.yaml~", "no preset");
    watched.write("Caps.yaml", &yaml("Caps", "Caps"));
    watched.write("other.yaml", &yaml("mine", "Mine"));
    watched.write(
        "huge.yaml",
        &format!("{}#{}", yaml("huge", "Huge"), "x".repeat(300_000)),
    );
    fs::write(
        watched.path("latin.yaml"),
        b"name: latin\ntitle: \xe9t\xe9\n",
    )
    .expect("written");
    fs::create_dir(watched.path("folder.yaml")).expect("made");
    symlink("/nowhere", watched.path("nowhere.yaml")).expect("linked");
    symlink("loop.yaml", watched.path("loop.yaml")).expect("linked");
    let made = std::process::Command::new("mkfifo")
        .arg(watched.path("pipe.yaml"))
        .status();
    assert!(made.expect("mkfifo").success());
    let strange = Path::new(std::ffi::OsStr::from_bytes(b"\xff.yaml"));
    fs::write(watched.dir.path().join(strange), yaml("x", "X")).expect("written");

    assert_eq!(
        watched.errors(),
        [
            "Caps.yaml:1:7: name must have 1 to 100 characters of a-z, 0-9 and - ([a-z0-9-]+)",
            "folder.yaml::: is not a regular file (a folder, a pipe or a device)",
            "huge.yaml::: has more than 262144 bytes, the most that a preset may have",
            "latin.yaml:2:: is not UTF-8 from this line on",
            "loop.yaml::: can't be read: Too many levels of symbolic links (os error 40)",
            "nowhere.yaml::: can't be read: No such file or directory (os error 2)",
            "other.yaml:1:7: name must match the file name: other (or rename the file to mine.yaml)",
            "pipe.yaml::: is not a regular file (a folder, a pipe or a device)",
            "\u{fffd}.yaml::: the file's name is not UTF-8; a preset's name has only a-z, 0-9 and -",
        ]
    );
    assert_eq!(watched.title("good").as_deref(), Some("Good"));
    let before = watched.reload();
    assert!(
        Arc::ptr_eq(&before, &watched.reload()),
        "nothing changed, so the snapshot is the same"
    );
}

#[test]
fn links_are_followed_and_their_change_is_noticed() {
    let watched = Watched::new();
    fs::create_dir(watched.path("..one")).expect("made");
    fs::create_dir(watched.path("..two")).expect("made");
    watched.write("..one/mine.yaml", &yaml("mine", "One"));
    watched.write("..two/mine.yaml", &yaml("mine", "Two"));
    // Like a ConfigMap in Kubernetes: the file is a link through a link that is swapped.
    symlink("..one", watched.path("..data")).expect("linked");
    symlink("..data/mine.yaml", watched.path("mine.yaml")).expect("linked");
    assert_eq!(watched.title("mine").as_deref(), Some("One"));
    symlink("..two", watched.path("..new")).expect("linked");
    fs::rename(watched.path("..new"), watched.path("..data")).expect("swapped");
    assert_eq!(watched.title("mine").as_deref(), Some("Two"));
}

#[test]
fn of_two_files_with_one_name_yaml_wins() {
    let watched = Watched::new();
    watched.write("a.yml", &yaml("a", "Short"));
    assert_eq!(watched.title("a").as_deref(), Some("Short"));
    // The invalid file has no version yet, so the other one stays in use.
    watched.write("a.yaml", "name: a\n");
    assert_eq!(watched.title("a").as_deref(), Some("Short"));
    watched.write("a.yaml", &yaml("a", "Long"));
    assert_eq!(watched.title("a").as_deref(), Some("Long"));
    assert_eq!(
        watched.errors(),
        ["a.yml::: a.yaml has the same name: remove one of the two"]
    );
    fs::remove_file(watched.path("a.yaml")).expect("removed");
    assert_eq!(watched.title("a").as_deref(), Some("Short"));
    assert_eq!(watched.errors(), [""; 0]);
}

#[test]
fn a_missing_folder_keeps_its_presets() {
    let watched = Watched::new();
    let gone = watched.path("gone");
    let catalog = Catalog::open(Some(&gone));
    assert!(catalog.current().get("system-report").is_some());
    assert_eq!(
        catalog.current().errors()[0].file,
        gone.display().to_string()
    );
    fs::create_dir(&gone).expect("made");
    fs::write(gone.join("mine.yaml"), yaml("mine", "Mine")).expect("written");
    catalog.refresh();
    assert!(catalog.current().errors().is_empty());
    fs::rename(&gone, watched.path("elsewhere")).expect("moved");
    catalog.refresh();
    assert!(catalog.current().get("mine").is_some());
    assert_eq!(catalog.current().errors().len(), 1);
    fs::rename(watched.path("elsewhere"), &gone).expect("moved back");
    catalog.refresh();
    assert!(catalog.current().errors().is_empty());
}

/// Root can read every file, so this tests nothing as root.
#[test]
fn an_unreadable_file_keeps_its_last_good_version() {
    let watched = Watched::new();
    watched.write("mine.yaml", &yaml("mine", "Mine"));
    assert_eq!(watched.title("mine").as_deref(), Some("Mine"));
    let set_mode =
        |mode| fs::set_permissions(watched.path("mine.yaml"), fs::Permissions::from_mode(mode));
    set_mode(0o000).expect("closed");
    if fs::read(watched.path("mine.yaml")).is_ok() {
        return;
    }
    assert_eq!(watched.title("mine").as_deref(), Some("Mine"));
    assert_eq!(
        watched.errors(),
        ["mine.yaml::: can't be read: Permission denied (os error 13)"]
    );
    set_mode(0o644).expect("opened");
    assert_eq!(watched.errors(), [""; 0]);
}

/// A file that takes long to parse does not delay the others, and is loaded when it is done.
#[test]
fn a_slow_file_is_parsed_in_the_background() {
    let watched = Watched::new();
    let mut slow = yaml("slow", "Slow");
    slow.push_str("params:\n");
    for n in 0..100 {
        slow.push_str(&format!(
            "  p{n}: {{ type: string, pattern: '\\w{{5}}' }}\n"
        ));
    }
    // On a busy machine this test may read so late that the file is parsed.
    eventually("a read of `other` while `slow` is parsed", || {
        watched.write("slow.yaml", &yaml("slow", "Quick"));
        watched.write("other.yaml", &yaml("other", "First"));
        until_title(&watched, "slow", "Quick");
        watched.write("slow.yaml", &slow);
        watched.write("other.yaml", &yaml("other", "Second"));
        assert_eq!(watched.title("other").as_deref(), Some("Second"));
        (watched.title("slow").as_deref() == Some("Quick")).then_some(())
    });
    watched.write("other.yaml", &yaml("other", "Third"));
    assert_eq!(watched.title("other").as_deref(), Some("Third"));
    until_title(&watched, "slow", "Slow");
}

fn until_title(watched: &Watched, name: &str, title: &str) {
    eventually(title, || {
        assert_eq!(watched.errors(), [""; 0]);
        (watched.title(name).as_deref() == Some(title)).then_some(())
    });
}

#[test]
fn concurrent_reloads() {
    let watched = Watched::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    watched.catalog.refresh();
                    assert!(watched.catalog.current().get("system-report").is_some());
                }
            });
        }
        for title in ["One", "Two", "Six", "Ten"] {
            watched.write("mine.yaml", &yaml("mine", title));
            assert_eq!(watched.title("mine").as_deref(), Some(title));
        }
    });
}
