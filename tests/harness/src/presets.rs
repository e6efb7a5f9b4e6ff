//! The presets folder that every test's server has.

use std::path::Path;

/// One param of each type that needs no secret, and none of them needed.
const NOTE: &str = r#"name: note
title: Says a text
description: For tests.
targets: [any]
risk: low
timeout: 10m
params:
  text:   { type: string, default: hello, maxLength: 2000 }
  port:   { type: port, default: 22 }
  count:  { type: int, min: 1, max: 5, default: 1 }
  loud:   { type: bool, default: false }
  colour: { type: enum, values: [red, green], default: red }
  extra:  { type: string }
steps:
  - name: Say it
    run: |
      printf '%s\n' "$text"
"#;

/// Runs any bash that a test gives it.
const SHELL: &str = r#"name: shell
title: Runs what it is given
description: For tests.
targets: [any]
risk: high
timeout: 10m
params:
  code: { type: string, required: true }
steps:
  - name: Run it
    run: |
      bash -c "$code"
"#;

/// Takes a secret.
const VAULT: &str = r#"name: vault
title: Takes a secret
description: For tests.
targets: [any]
risk: low
timeout: 10m
params:
  key: { type: secret, required: true }
steps:
  - name: Use it
    run: |
      printf 'the key is %s\n' "$key"
"#;

pub(crate) fn write_all(folder: &Path) {
    for (name, text) in [("note", NOTE), ("shell", SHELL), ("vault", VAULT)] {
        write_preset(folder, name, text);
    }
}

/// Writes a preset's file as editors do: whole, under its name at once.
pub fn write_preset(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).expect("writes");
    std::fs::rename(&new, folder.join(format!("{name}.yaml"))).expect("renames");
}
