//! Imports point one way, and no two files import each other, directly or through others.
//!
//! Read as text: `crate::…` and `super::…` paths, with what a folder's mod.rs re-exports resolved to the file that
//! defines it. Test modules don't count, nor does what a mod.rs takes from its own children.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::{files, root, shown};

/// The server's folders and files, lowest first; a row may import from its own row and from those above it in this list.
const FLOORS: &[&[&str]] = &[
    &[
        "clock",
        "crypto",
        "sync",
        "memory",
        "metrics",
        "misleading",
        "store",
        "tasks",
        "terminal",
    ],
    &["http"],
    &["auth"],
    &["signing"],
    &[
        "audit", "config", "hub", "ledger", "nodes", "outbox", "presets", "tls",
    ],
    &["jobs"],
    &["runs", "schedules", "notify"],
    &["ops", "dashboard", "cli", "server"],
    &["app", "program"],
    &["demo"],
    &["main", "lib"],
];

/// A crate's modules by path, such as `jobs::life::claim`; the crate's root is the empty path.
struct Modules {
    /// Module path to file, as people name it.
    file: BTreeMap<String, String>,
    /// Module path to its text without tests.
    text: BTreeMap<String, String>,
    /// Module path of a folder, and a name that its mod.rs re-exports, to the child's module path.
    exported: BTreeMap<(String, String), String>,
}

impl Modules {
    fn read(source: &str) -> Self {
        let folder = root().join(source);
        let (mut file, mut text) = (BTreeMap::new(), BTreeMap::new());
        for path in files(source, &[".rs"]) {
            let module = module_of(path.strip_prefix(&folder).expect("below it"));
            if module.split("::").any(|part| part == "tests") {
                continue;
            }
            let all = std::fs::read_to_string(&path).expect("UTF-8");
            text.insert(module.clone(), without_tests(&all));
            file.insert(module, shown(&path));
        }
        let mut modules = Self {
            file,
            text,
            exported: BTreeMap::new(),
        };
        for (module, text) in modules.text.clone() {
            for used in uses(&text) {
                let first = used.split("::").next().unwrap_or_default();
                let child = join(&module, first);
                let name = used.rsplit("::").next().unwrap_or_default();
                if !matches!(first, "crate" | "super" | "self") && modules.file.contains_key(&child)
                {
                    let target = modules.longest(&join(&module, &used)).unwrap_or(child);
                    modules
                        .exported
                        .insert((module.clone(), name.to_owned()), target);
                }
            }
        }
        modules
    }

    /// The module that is the longest beginning of `path`.
    fn longest(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if self.file.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::").map_or("", |(before, _)| before);
            if path.is_empty() {
                return None;
            }
        }
    }

    /// The modules that `module` imports from, each with the path that says so.
    fn imports(&self, module: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for used in uses(&self.text[module]) {
            let Some(path) = absolute(module, &used) else {
                continue;
            };
            let Some(mut target) = self.longest(&path) else {
                continue;
            };
            // A re-export stands for the file that defines the name, through as many folders as it takes.
            let mut rest = path[target.len()..].trim_start_matches("::").to_owned();
            while let Some(next) = self
                .exported
                .get(&(target.clone(), first(&rest).to_owned()))
            {
                if *next == target {
                    break;
                }
                target.clone_from(next);
                rest = first(&rest).to_owned();
            }
            if target != module {
                found.entry(target).or_insert(path);
            }
        }
        found
    }
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn join(module: &str, path: &str) -> String {
    if module.is_empty() {
        path.to_owned()
    } else {
        format!("{module}::{path}")
    }
}

fn module_of(path: &Path) -> String {
    let text = path
        .with_extension("")
        .display()
        .to_string()
        .replace('/', "::");
    let text = text.strip_suffix("::mod").unwrap_or(&text);
    if text == "lib" {
        String::new()
    } else {
        text.to_owned()
    }
}

/// Everything before the test module at a file's end.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A `use` tree; a new name in it; and a path inside the code.
static TREE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*(?:pub(?:\([a-z :]+\))? )?use ([^;]+);").expect("valid"));
static RENAMED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" as \w+").expect("valid"));
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b((?:crate|super|self)(?:::\w+)+)").expect("valid"));

/// Every path that a text imports or names: `use` trees expanded, and `crate::…` or `super::…`
/// inside the code.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for capture in TREE.captures_iter(text) {
        let bare = RENAMED.replace_all(&capture[1], "");
        expand("", &bare.split_whitespace().collect::<String>(), &mut found);
    }
    for capture in NAMED.captures_iter(&TREE.replace_all(text, "")) {
        found.insert(capture[1].to_owned());
    }
    found
}

/// The leaves of a `use` tree without white space.
fn expand(before: &str, tree: &str, found: &mut BTreeSet<String>) {
    let Some(open) = tree.find('{') else {
        found.insert(
            format!("{before}{tree}")
                .trim_end_matches("::self")
                .to_owned(),
        );
        return;
    };
    let before = format!("{before}{}", &tree[..open]);
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or_default();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &inner[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < inner.len() {
        expand(&before, &inner[start..], found);
    }
}

/// `used`, as written in `module`, from the crate's root; `None` for another crate's path.
fn absolute(module: &str, used: &str) -> Option<String> {
    let mut parts = used.split("::").peekable();
    let mut base = match *parts.peek()? {
        "crate" => String::new(),
        "self" | "super" => module.to_owned(),
        _ => return None,
    };
    while let Some(&part) = parts.peek() {
        match part {
            "super" => {
                base = base
                    .rsplit_once("::")
                    .map_or(String::new(), |(up, _)| up.to_owned())
            }
            "crate" | "self" => {}
            _ => break,
        }
        parts.next();
    }
    Some(join(&base, &parts.collect::<Vec<_>>().join("::")))
}

/// What is wrong with the order of a crate's top modules.
fn upward(modules: &Modules, floors: &[&[&str]]) -> Vec<String> {
    let floor = |module: &str| floors.iter().position(|row| row.contains(&first(module)));
    let mut faults = Vec::new();
    for module in modules.file.keys().filter(|module| !module.is_empty()) {
        let Some(own) = floor(module) else {
            faults.push(format!(
                "{}: {module} has no place in FLOORS",
                modules.file[module]
            ));
            continue;
        };
        for (target, path) in modules.imports(module) {
            if floor(&target).is_some_and(|other| other > own) {
                faults.push(format!(
                    "{}: imports crate::{path}, which lies above it",
                    modules.file[module]
                ));
            }
        }
    }
    faults
}

/// Files that import each other, directly or through others.
fn circles(modules: &Modules) -> Vec<String> {
    let graph: BTreeMap<String, BTreeSet<String>> = modules
        .file
        .keys()
        .map(|module| {
            let below = format!("{module}::");
            let is_parent = |target: &str| module.is_empty() || target.starts_with(&below);
            let targets = modules.imports(module).into_keys();
            (
                module.clone(),
                targets.filter(|target| !is_parent(target)).collect(),
            )
        })
        .collect();
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|module| (module, reachable(&graph, module)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for module in graph.keys() {
        if !reach[module].contains(module) || !seen.insert(module) {
            continue;
        }
        let circle: Vec<&String> = graph
            .keys()
            .filter(|other| reach[module].contains(other) && reach[*other].contains(module))
            .collect();
        seen.extend(&circle);
        let ties: Vec<String> = circle
            .iter()
            .flat_map(|from| {
                graph[*from]
                    .iter()
                    .filter(|to| circle.contains(to))
                    .map(move |to| format!("{from} → {to}"))
            })
            .collect();
        faults.push(ties.join(", "));
    }
    faults
}

fn reachable<'a>(
    graph: &'a BTreeMap<String, BTreeSet<String>>,
    from: &str,
) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<&String> = graph[from].iter().collect();
    while let Some(module) = todo.pop() {
        if found.insert(module) {
            todo.extend(graph.get(module).into_iter().flatten());
        }
    }
    found
}

#[test]
fn the_servers_imports_point_one_way() {
    let faults = upward(&Modules::read("src"), FLOORS);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_files_import_each_other() {
    for source in [
        "src",
        "agent/src",
        "agent/protocol/src",
        "agent/signing/src",
    ] {
        let faults = circles(&Modules::read(source));
        assert!(faults.is_empty(), "{source}:\n{}", faults.join("\n"));
    }
}

/// A crate of texts alone, so that the checks are known to fail where they must.
fn of_texts(texts: &[(&str, &str)]) -> Modules {
    let mut modules = Modules {
        file: BTreeMap::new(),
        text: BTreeMap::new(),
        exported: BTreeMap::new(),
    };
    for (module, text) in texts {
        modules
            .file
            .insert((*module).to_owned(), format!("src/{module}"));
        modules
            .text
            .insert((*module).to_owned(), without_tests(text));
    }
    modules
}

#[test]
fn an_upward_import_and_a_circle_are_found() {
    let modules = of_texts(&[
        ("store", "use crate::{clock, jobs::JobError};"),
        (
            "clock",
            "// crate::jobs is a comment\n#[cfg(test)]\nmod tests { use crate::jobs; }",
        ),
        ("jobs", ""),
        ("jobs::a", "use super::b::{\n    Thing,\n    Other,\n};"),
        ("jobs::b", "fn f() { crate::jobs::a::go() }"),
    ]);
    let faults = upward(&modules, FLOORS);
    assert_eq!(
        faults,
        ["src/store: imports crate::jobs::JobError, which lies above it"]
    );
    assert_eq!(circles(&modules), ["jobs::a → jobs::b, jobs::b → jobs::a"]);
}
