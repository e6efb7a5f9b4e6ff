//! A preset's params from the command line, with the types that the preset declares.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answers::{Param, Preset};
use super::args::Params;
use super::ask;
use super::error::{CliError, io_message};
use super::screen::print_note;

/// Maximum size of a file with params or a value: more than the API accepts in a request.
const FILE_MAX: u64 = 8 * 1024 * 1024;

/// What to do about a missing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Ask for it on the terminal.
    Ask,
    /// Use a placeholder: a script doesn't contain secrets.
    Placeholder,
    /// Refuse it: a schedule names stored secrets.
    Stored,
}

/// Before the name of a stored secret, as a secret param's value.
const STORED: &str = "secret:";

/// The params of a request: `base`, then the file's, then those of `-p`.
pub(super) fn resolve(
    preset: &Preset,
    given: &Params,
    base: Map<String, Value>,
    secrets: Secrets,
) -> Result<Map<String, Value>, CliError> {
    let mut params = base;
    let mut stdin = Stdin::default();
    if let Some(file) = &given.params_file {
        params.extend(from_file(file, &mut stdin)?);
    }
    for (name, value) in pairs(&given.params)? {
        let param = preset.params.iter().find(|param| param.name == name);
        if is_secret(param) {
            let value = secret_param(name, value, secrets, &mut stdin)?;
            params.insert(name.to_owned(), value);
            continue;
        }
        let text = text_of(name, value, &mut stdin)?;
        params.insert(name.to_owned(), typed(param, text));
    }
    for param in preset.params.iter().filter(|param| is_secret(Some(param))) {
        if param.required && !params.contains_key(&param.name) {
            params.insert(param.name.clone(), secret(&param.name, secrets)?);
        }
    }
    Ok(params)
}

fn is_secret(param: Option<&Param>) -> bool {
    param.is_some_and(|param| param.r#type == "secret")
}

/// The value of a secret param: a reference to a stored secret, or the secret itself.
fn secret_param(
    name: &str,
    value: &str,
    secrets: Secrets,
    stdin: &mut Stdin,
) -> Result<Value, CliError> {
    match (value.strip_prefix(STORED), secrets) {
        (Some(_), Secrets::Placeholder) => secret(name, secrets),
        (Some(stored), Secrets::Ask | Secrets::Stored) => Ok(json!({"secret": stored})),
        (None, Secrets::Stored) => secret(name, secrets),
        (None, Secrets::Ask | Secrets::Placeholder) => {
            let text = text_of(name, value, stdin)?;
            if !value.starts_with('@') {
                print_note(&format!(
                    "-p {name}: a secret on the command line ends up in your shell's history. Use -p {name}=@FILE or -p {name}=@-, or type it when asked."
                ));
            }
            Ok(Value::from(text))
        }
    }
}

/// A secret that is not given.
fn secret(name: &str, secrets: Secrets) -> Result<Value, CliError> {
    match secrets {
        Secrets::Stored => Err(CliError::usage(format!(
            "-p {name}: a schedule takes a stored secret, not a value"
        ))
        .hint(format!(
            "-p {name}=secret:NAME names one; `hyprbox secrets list` lists them, `hyprbox secrets set` stores one"
        ))),
        Secrets::Placeholder => Ok(Value::from("not the real value")),
        Secrets::Ask if ask::terminal().is_some() => {
            ask::secret(&format!("{name} (secret): ")).map(Value::from)
        }
        Secrets::Ask => Err(CliError::usage(format!(
            "-p {name}: this secret is required, and there is no terminal to ask for it"
        ))
        .hint(format!(
            "-p {name}=@FILE reads it from a file, -p {name}=@- from standard input, -p {name}=secret:NAME names a stored one"
        ))),
    }
}

fn pairs(given: &[String]) -> Result<BTreeMap<&str, &str>, CliError> {
    let mut pairs = BTreeMap::new();
    for pair in given {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("-p {pair}: must be NAME=VALUE")))?;
        if pairs.insert(name, value).is_some() {
            return Err(CliError::usage(format!("-p {name} is repeated")));
        }
    }
    Ok(pairs)
}

/// Standard input can be read only once.
#[derive(Default)]
struct Stdin(Option<String>);

impl Stdin {
    fn read(&mut self, what: &str) -> Result<String, CliError> {
        if let Some(first) = &self.0 {
            return Err(CliError::usage(format!(
                "standard input can't be both {first} and {what}"
            )));
        }
        self.0 = Some(what.to_owned());
        ask::stdin(what)
    }
}

fn text_of(name: &str, value: &str, stdin: &mut Stdin) -> Result<String, CliError> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some("-") => stdin.read(&format!("the param {name}")),
        Some(text) if text.starts_with('@') => Ok(text.to_owned()),
        Some(file) => read_file(file)
            .map(ask::without_last_newline)
            .map_err(|error| error.hint(format!("to pass the text itself: -p {name}=@@{file}"))),
    }
}

fn read_file(path: &str) -> Result<String, CliError> {
    use std::io::Read;
    let wrong = |words: &str| CliError::failed(format!("{path} can't be read: {words}"));
    let file = std::fs::File::open(path).map_err(|error| wrong(&io_message(&error)))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(&io_message(&error)))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(wrong("it is larger than 8 MiB"));
    }
    // Some editors, and PowerShell's `>`, write UTF-16, which begins with this mark.
    let is_utf_16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    String::from_utf8(bytes).map_err(|_| {
        if is_utf_16 {
            wrong("it is UTF-16 text, not UTF-8").hint(format!(
                "convert it: iconv -f UTF-16 -t UTF-8 {path} > new, or save it as UTF-8"
            ))
        } else {
            wrong("it is not UTF-8 text")
        }
    })
}

fn from_file(file: &str, stdin: &mut Stdin) -> Result<Map<String, Value>, CliError> {
    let text = match file {
        "-" => stdin.read("the params file")?,
        path => read_file(path)?,
    };
    // Some editors start a file with a byte order mark, which is not JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match serde_json::from_str(text) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(_) => Err(CliError::failed(format!(
            "{file} must hold a JSON object of params, such as {{\"ssh_port\": 2222}}"
        ))),
        Err(error) => Err(CliError::failed(format!("{file} is not JSON: {error}"))),
    }
}

/// The JSON of a param's type. Text that can't be parsed is sent as it is: the server reports the
/// error.
fn typed(param: Option<&Param>, text: String) -> Value {
    let kind = param.map_or("", |param| param.r#type.as_str());
    match (kind, text.as_str()) {
        ("int" | "port", number) => number
            .parse::<i64>()
            .map_or_else(|_| Value::from(number), Value::from),
        ("bool", "true") => Value::from(true),
        ("bool", "false") => Value::from(false),
        _ => Value::from(text),
    }
}

/// The params of an earlier job or run without its secrets, which are gone.
pub(super) fn without_secrets(params: &Value, preset: &Preset) -> Map<String, Value> {
    let Value::Object(params) = params else {
        return Map::new();
    };
    let is_secret = |name: &str| {
        let mut known = preset.params.iter();
        known.any(|param| param.name == name && param.r#type == "secret")
    };
    let mut params = params.clone();
    params.retain(|name, _| !is_secret(name));
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn preset() -> Preset {
        serde_json::from_value(json!({
            "name": "p", "title": "P", "description": "", "targets": ["any"], "risk": "low",
            "timeoutSeconds": 60, "origin": "folder",
            "params": [
                {"name": "text", "type": "string", "required": false, "description": ""},
                {"name": "port", "type": "port", "required": false, "description": ""},
                {"name": "loud", "type": "bool", "required": false, "description": ""},
                {"name": "key", "type": "secret", "required": true, "description": ""},
            ]
        }))
        .expect("a preset")
    }

    fn resolved(params: &[&str]) -> Result<Map<String, Value>, CliError> {
        resolved_with(params, Secrets::Placeholder)
    }

    fn resolved_with(params: &[&str], secrets: Secrets) -> Result<Map<String, Value>, CliError> {
        let given = Params {
            params: params.iter().map(|pair| (*pair).to_owned()).collect(),
            params_file: None,
        };
        resolve(&preset(), &given, Map::new(), secrets)
    }

    #[test]
    fn values_are_of_their_params_type() {
        let params = resolved(&["text=22", "port=22", "loud=true"]).expect("params");
        assert_eq!(params["text"], "22");
        assert_eq!(params["port"], 22);
        assert_eq!(params["loud"], true);
        assert!(params["key"].is_string());
    }

    #[test]
    fn a_value_of_another_type_is_left_to_the_server() {
        let params = resolved(&["port=ssh", "loud=yes", "unknown=1"]).expect("params");
        for (name, text) in [("port", "ssh"), ("loud", "yes"), ("unknown", "1")] {
            assert_eq!(params[name], text);
        }
    }

    #[test]
    fn an_at_sign_reads_and_two_are_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "from the file\n\n").expect("writes");
        let from_file = format!("key=@{}", file.display());
        let params = resolved(&[&from_file, "text=@@home"]).expect("params");
        assert_eq!(params["key"], "from the file\n");
        assert_eq!(params["text"], "@home");
        let error = resolved(&["text=@/nonexistent"]).expect_err("no such file");
        assert!(error.to_string().contains("text=@@/nonexistent"), "{error}");
    }

    #[test]
    fn a_secret_param_names_a_stored_secret_and_a_file_can_hold_any_value() {
        let named = ["key=secret:restic", "text=secret:restic"];
        for secrets in [Secrets::Ask, Secrets::Stored] {
            let params = resolved_with(&named, secrets).expect("params");
            assert_eq!(params["key"], json!({"secret": "restic"}));
            assert_eq!(params["text"], "secret:restic");
        }
        assert!(resolved(&named).expect("params")["key"].is_string());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "secret:literal\n").expect("writes");
        let from_file = format!("key=@{}", file.display());
        let params = resolved_with(&[&from_file], Secrets::Ask).expect("params");
        assert_eq!(params["key"], "secret:literal");
        for refused in [&["key=hunter22"][..], &[&from_file], &[]] {
            let error = resolved_with(refused, Secrets::Stored).expect_err("a literal value");
            assert!(error.to_string().contains("key=secret:NAME"), "{error}");
        }
    }

    #[test]
    fn a_params_file_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("params.json");
        std::fs::write(&file, "\u{feff}{\"port\": 22}").expect("writes");
        let given = Params {
            params: Vec::new(),
            params_file: Some(file.display().to_string()),
        };
        let params = resolve(&preset(), &given, Map::new(), Secrets::Placeholder).expect("params");
        assert_eq!(params["port"], 22);
    }

    #[test]
    fn a_pair_is_one_and_comes_once() {
        assert!(resolved(&["text"]).is_err());
        assert!(resolved(&["text=a", "text=b"]).is_err());
        assert_eq!(resolved(&["text=a=b"]).expect("params")["text"], "a=b");
    }
}
