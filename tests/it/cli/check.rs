//! `hyprbox presets check`: files on this machine, and no server.

use std::path::Path;

use super::Cli;

const BAD: &str = "name: bad\ntargets: [any]\nparams:\n  name: { type: string, required: true }\nsteps:\n  - name: One\n    run: echo $name\n";

#[test]
fn each_outcome_has_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("bad.yaml"), BAD).expect("written");
    std::fs::write(
        path("good.yaml"),
        BAD.replace("bad", "good").replace("$name", "\"$name\""),
    )
    .expect("written");
    let nobody = Cli::nobody();
    let good = nobody
        .run(&["presets", "check", &path("good.yaml")])
        .ends(0);
    assert_eq!(good.text(), "1 file: no problems found\n");

    let bad = nobody.run(&["presets", "check", &path("")]).ends(1);
    let first = format!("{}:7:15: warning: $name is not quoted", path("bad.yaml"));
    assert!(bad.text().starts_with(&first), "{bad:?}");
    assert!(
        bad.text()
            .ends_with("2 files; errors: 0, warnings and notes: 1\n"),
        "{bad:?}"
    );

    let missing = nobody.run(&["presets", "check", &path("good.yaml"), &path("none.yaml")]);
    assert!(
        missing
            .ends(125)
            .text()
            .contains("none.yaml: can't be read: No such file")
    );

    let json = nobody
        .run(&["presets", "check", "--json", &path("bad.yaml")])
        .ends(1)
        .json();
    let finding = &json["findings"][0];
    assert_eq!(
        (finding["line"].as_u64(), finding["rule"].as_str()),
        (Some(7), Some("unquoted-param"))
    );
    nobody.run(&["presets", "check"]).ends(64);
}

/// The folder of broken presets: each fault is told at its line.
#[test]
fn a_folder_of_broken_presets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/presets/tests/broken");
    let ran = Cli::nobody()
        .run(&["presets", "check", &folder.display().to_string()])
        .ends(1);
    let told = ran.text();
    let mut count = 0;
    for file in std::fs::read_dir(&folder).expect("the folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a preset");
        let expected = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# expect: "));
        let (place, rule) = expected
            .expect("its fault")
            .split_once(' ')
            .expect("a place");
        let begin = format!("{}:{place}: ", path.display());
        let is_told = |line: &str| line.starts_with(&begin) && line.ends_with(&format!("[{rule}]"));
        assert!(told.lines().any(is_told), "{begin} {rule}\n{told}");
        count += 1;
    }
    assert!(count >= 20, "{count}");
}
