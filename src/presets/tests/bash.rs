//! Runs a rendered script as the agent does: `/bin/bash -s`, the script as a file on standard
//! input, a clean environment, secrets on file descriptor 3.

use std::io::{Seek, Write};
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::presets::{Preset, Script, Values, render};

/// Exit code and output of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

pub(super) fn ran(code: i32, stdout: &str, stderr: &str) -> Ran {
    Ran {
        code: Some(code),
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    }
}

/// A preset whose YAML after the name is `rest`.
pub(super) fn preset(rest: &str) -> Preset {
    let text = format!("name: test\ntitle: Test\n{rest}");
    Preset::parse("test", &text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

/// A preset for every Linux with the given steps (YAML list items).
pub(super) fn steps(steps: &str) -> Preset {
    preset(&format!("targets: [any]\nsteps:\n{steps}"))
}

pub(super) fn values(preset: &Preset, params: Value) -> Values {
    let Value::Object(params) = params else {
        panic!("params are an object")
    };
    Values::check(preset, &params).expect("good params")
}

pub(super) fn rendered(preset: &Preset) -> Script {
    let none = Values::check(preset, &Map::new()).expect("no params needed");
    render(preset, &none)
}

/// Renders `preset` without params and runs the script.
pub(super) fn run(preset: &Preset) -> Ran {
    run_script(&rendered(preset).text, &[], b"")
}

/// Runs `script` with `env` added to the clean environment, and with `fd3` as the content of a pipe
/// at descriptor 3.
pub(super) fn run_script(script: &str, env: &[(&str, &str)], fd3: &[u8]) -> Ran {
    let mut stdin = tempfile::tempfile().expect("a temp file");
    stdin.write_all(script.as_bytes()).expect("written");
    stdin.rewind().expect("rewound");
    let mut command = Command::new("/bin/bash");
    let mut secrets = tempfile::NamedTempFile::new().expect("a temp file");
    if fd3.is_empty() {
        command.arg("-s");
    } else {
        secrets.write_all(fd3).expect("written");
        // Safe Rust can't place a descriptor at 3. Another bash does, and then executes the bash
        // under test.
        let place = r#"exec /bin/bash -s 3< <(cat "$0")"#;
        command.args(["-c", place]).arg(secrets.path());
    }
    let output = command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/")
        .env("LANG", "C.UTF-8")
        .envs(env.iter().copied())
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .output()
        .expect("bash starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
