//! `hyprbox audit`: `verify` checks the ledger on the server's machine, directly in the database.
//! `acknowledge` ends the alarms through the API.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::args::{Color, Common};
use super::error::CliError;
use super::screen::{Screen, print_note};
use super::{admin, connect};
use crate::config;
use crate::ledger::{Extent, check, check_scripts, disagreements};
use crate::store::{Store, ledger};

pub(super) const NAME: &str = "audit";

/// `hyprbox audit`
pub fn command() -> Command {
    let verify = Command::new("verify")
        .about("Check jobs and audit log against the ledger, directly in the database")
        .long_about(
            "Check jobs and audit log against the ledger, on the server's machine, directly in the database. Names the \
             first entry that does not fit, every row that has no entry, and every entry that has no row, and exits with \
             1 if there is any. Changes nothing; the server may be running. Run this command as the server's user or as root.",
        )
        .arg(
            Arg::new("head")
                .long("head")
                .value_name("HASH")
                .help("Also check that an entry still has this hash, which you have written down before"),
        )
        .arg(
            Arg::new("nodes")
                .long("nodes")
                .action(ArgAction::SetTrue)
                .help("Also name the nodes whose agents have seen another history"),
        );
    let acknowledge = Command::new("acknowledge").about(
        "Record that you have seen the alarms about a changed history, and end them (ADMIN)",
    );
    Command::new(NAME)
        .about("Check that nobody has changed the history, and acknowledge alarms")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            config::with_data_place(verify)
                .mut_arg("HYPRBOX_SECRET_KEY_FILE", |key| key.hide(true))
                .mut_arg("HYPRBOX_SIGN_KEY_FILE", |key| key.hide(true)),
        )
        .subcommand(Common::augment_args(acknowledge))
}

/// The flags of `acknowledge`.
pub(super) fn common(matches: &ArgMatches) -> Option<Common> {
    let (_, inner) = matches
        .subcommand()
        .filter(|(name, _)| *name == "acknowledge")?;
    Common::from_arg_matches(inner).ok()
}

pub(super) async fn run(matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(common) = common(matches) {
        return acknowledge(&common).await;
    }
    let Some(("verify", arguments)) = matches.subcommand() else {
        let message = "hyprbox audit has the commands verify and acknowledge";
        return Err(CliError::usage(message));
    };
    let store = admin::open(arguments)?;
    let verified = verify(&store, arguments).await;
    store.close().await;
    verified
}

async fn verify(store: &Store, arguments: &ArgMatches) -> Result<u8, CliError> {
    let wrong = |error: crate::store::StoreError| CliError::failed(error.to_string());
    let mut lines: Vec<String> = Vec::new();
    if let Some(hash) = arguments.get_one::<String>("head") {
        let wanted = hash.trim().to_lowercase();
        let found = store.read(move |tx| ledger::seq_of(tx, &wanted)).await;
        match found.map_err(wrong)? {
            Some(seq) => print_note(&format!("Entry {seq} has the hash that you have.")),
            None => lines.push(format!(
                "no entry has the hash {hash}: entries were removed or replaced since"
            )),
        }
    }
    let mut faults = check(store, Extent::All).await.map_err(wrong)?;
    faults.extend(check_scripts(store).await.map_err(wrong)?);
    if arguments.get_flag("nodes") {
        faults.extend(store.read(disagreements).await.map_err(wrong)?);
    }
    lines.extend(faults.into_iter().map(|fault| fault.detail));
    let screen = Screen::with(false, Color::Auto);
    if lines.is_empty() {
        let state = store.read(ledger::state).await.map_err(wrong)?;
        let (seq, hash) = (state.seq, state.hash);
        screen.data(&format!("The history fits: {seq} entries, head {hash}\n"))?;
        return Ok(0);
    }
    screen.data(&format!("{}\n", lines.join("\n")))?;
    Ok(1)
}

/// The answer of the server.
#[derive(Deserialize, Serialize)]
struct Acknowledged {
    acknowledged: u64,
}

async fn acknowledge(common: &Common) -> Result<u8, CliError> {
    let (client, screen) = connect(common)?;
    let path = "/api/ledger/acknowledge";
    let done = client.post::<Acknowledged>(path, &json!({})).await?;
    if screen.json {
        screen.value(&done.json)?;
        return Ok(0);
    }
    match done.value.acknowledged {
        0 => print_note("No alarm is open."),
        1 => print_note("Acknowledged 1 alarm. The audit log has it."),
        n => print_note(&format!("Acknowledged {n} alarms. The audit log has each.")),
    }
    Ok(0)
}
