//! Settings for an operator's commands on the server's machine: flags, the environment, and the
//! service's environment file.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use clap::ArgMatches;
use hyprbox_protocol::parse_environment;

use super::source::Source;
use super::values::{data_dir, database};
use super::{Config, DatabaseUrl, secret_key_file, sign_key_file};

/// Environment file of the packaged service.
const SERVICE_FILE: &str = "/etc/hyprbox/server.env";

/// The files that hold the server's data.
pub(crate) struct DataPlace {
    pub(crate) database: DatabaseUrl,
    pub(crate) secret_key_file: PathBuf,
    pub(crate) sign_key_file: PathBuf,
}

/// Finds the data of this machine's server.
pub(crate) fn data_place(flags: &ArgMatches) -> Result<DataPlace, String> {
    let service = read_service_file(SERVICE_FILE);
    let from_service = service.as_ref().ok();
    let environment = |name: &str| {
        let own = std::env::var(name).ok().filter(|value| !value.is_empty());
        own.or_else(|| from_service?.get(name).cloned())
    };
    let source = Source {
        flags,
        environment: &environment,
    };
    let is_configured = ["HYPRBOX_DATA_DIR", "HYPRBOX_DATABASE_URL"]
        .iter()
        .any(|name| source.text(name).is_some());
    if let (Err(error), false) = (&service, is_configured) {
        return Err(format!(
            "can't read {SERVICE_FILE}: {error}; run this with sudo, or set --data-dir to the server's data directory"
        ));
    }
    let data_dir = data_dir(&source).map_err(|error| error.to_string())?;
    Ok(DataPlace {
        database: database(&source, &data_dir).map_err(|error| error.to_string())?,
        secret_key_file: secret_key_file(&source, &data_dir),
        sign_key_file: sign_key_file(&source, &data_dir),
    })
}

/// Reads all settings of this machine's server.
pub(crate) fn operators_config(flags: &ArgMatches) -> Result<Config, String> {
    let service = read_service_file(SERVICE_FILE)
        .map_err(|error| format!("can't read {SERVICE_FILE}: {error}; run this with sudo"))?;
    let environment = |name: &str| {
        let own = std::env::var(name).ok().filter(|value| !value.is_empty());
        own.or_else(|| service.get(name).cloned())
    };
    Config::read(flags, &environment).map_err(|error| error.to_string())
}

fn read_service_file(path: &str) -> io::Result<HashMap<String, String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse_environment(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_service_file_is_empty() {
        assert!(
            read_service_file("/nonexistent/server.env")
                .expect("reads")
                .is_empty()
        );
        assert!(read_service_file("/").is_err());
    }
}
