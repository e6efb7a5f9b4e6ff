//! tests/with-cli: a shell script that has nothing but the command line.

use std::path::Path;
use std::process::Command;

use crate::harness::Setup;

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/with-cli")
}

#[test]
fn the_script_finds_everything_in_order() {
    let setup = Setup::new();
    let mut command = Command::new(path());
    if setup.database().sqlite().is_none() {
        command.env("HYPRBOX_DATABASE_URL", setup.database().url());
    }
    let output = command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HYPRBOX", env!("CARGO_BIN_EXE_hyprbox"))
        .env_remove("HYPRBOX_URL")
        .env_remove("HYPRBOX_TOKEN")
        .output()
        .expect("it runs");
    let (said, told) = (
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    assert!(output.status.success(), "{}\n{told}\n{said}", output.status);
    assert!(told.ends_with("with-cli: passed\n"), "{told}\n{said}");
}

#[test]
fn the_script_is_clean_to_shellcheck() {
    let output = Command::new("shellcheck")
        .arg(path())
        .output()
        .expect("shellcheck");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
