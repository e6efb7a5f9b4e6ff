//! Where the data is, for the commands that an operator types beside the server: by a flag, by the
//! environment, or as the service's own file says.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use clap::ArgMatches;
use hyprbox_protocol::parse_environment;

use super::source::Source;
use super::values::{data_dir, database};
use super::{Config, DatabaseUrl, secret_key_file};

/// What the packaged service reads its environment from.
const SERVICE_FILE: &str = "/etc/hyprbox/server.env";

/// Where the data is.
pub(crate) struct DataPlace {
    pub(crate) database: DatabaseUrl,
    pub(crate) secret_key_file: PathBuf,
}

/// Where the data of this machine's server is.
pub(crate) fn data_place(flags: &ArgMatches) -> Result<DataPlace, String> {
    let service = read_service_file(SERVICE_FILE);
    let of_service = service.as_ref().ok();
    let environment = |name: &str| {
        let own = std::env::var(name).ok().filter(|value| !value.is_empty());
        own.or_else(|| of_service?.get(name).cloned())
    };
    let source = Source {
        flags,
        environment: &environment,
    };
    let is_told = ["HYPRBOX_DATA_DIR", "HYPRBOX_DATABASE_URL"]
        .iter()
        .any(|name| source.text(name).is_some());
    if let (Err(error), false) = (&service, is_told) {
        return Err(format!(
            "can't read {SERVICE_FILE}: {error}; run this with sudo, or say with --data-dir where the data is"
        ));
    }
    let data_dir = data_dir(&source).map_err(|error| error.to_string())?;
    Ok(DataPlace {
        database: database(&source, &data_dir).map_err(|error| error.to_string())?,
        secret_key_file: secret_key_file(&source, &data_dir),
    })
}

/// All settings of this machine's server.
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
    fn a_file_that_is_not_there_says_nothing() {
        assert!(
            read_service_file("/nonexistent/server.env")
                .expect("reads")
                .is_empty()
        );
        assert!(read_service_file("/").is_err());
    }
}
