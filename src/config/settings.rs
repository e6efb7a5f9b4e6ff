//! The table of settings, and the flags that are made of it.

use clap::{Arg, Command};

/// One setting: variable, flag and what `--help` says of it.
struct Setting {
    variable: &'static str,
    flag: &'static str,
    help: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        variable: "HYPRBOX_LISTEN",
        flag: "listen",
        help: "Address and port to listen on [127.0.0.1:4000]",
    },
    Setting {
        variable: "HYPRBOX_PUBLIC_URL",
        flag: "public-url",
        help: "URL that people and agents use [http://<listen>, https:// with a certificate]",
    },
    Setting {
        variable: "HYPRBOX_DATABASE_URL",
        flag: "database-url",
        help: "sqlite:PATH or postgres://… [sqlite:<data>/hyprbox.db]",
    },
    Setting {
        variable: "HYPRBOX_DATA_DIR",
        flag: "data-dir",
        help: "Folder of the data [$STATE_DIRECTORY or ~/.local/share/hyprbox]",
    },
    Setting {
        variable: "HYPRBOX_PRESETS_DIR",
        flag: "presets-dir",
        help: "Folder of your own presets; they add to and override the built-in ones",
    },
    Setting {
        variable: "HYPRBOX_STDOUT_MAX_BYTES",
        flag: "stdout-max-bytes",
        help: "Bytes kept of each stream of a job [4194304]",
    },
    Setting {
        variable: "HYPRBOX_LEASE_SECONDS",
        flag: "lease-seconds",
        help: "Seconds that a running job lives without a sign of its agent [90]",
    },
    Setting {
        variable: "HYPRBOX_SECRET_KEY_FILE",
        flag: "secret-key-file",
        help: "File of the key that seals secrets [<data>/secret.key]",
    },
    Setting {
        variable: "HYPRBOX_METRICS_TOKEN",
        flag: "metrics-token",
        help: "Bearer token that may read /metrics",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_EMAIL",
        flag: "admin-email",
        help: "Email of the first ADMIN, made at start",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_PASSWORD",
        flag: "admin-password",
        help: "Password of the first ADMIN",
    },
    Setting {
        variable: "HYPRBOX_ALLOW_PUBLIC_REGISTRATION",
        flag: "allow-public-registration",
        help: "true: strangers may make accounts, of role PENDING [false]",
    },
    Setting {
        variable: "HYPRBOX_TLS_CERT",
        flag: "tls-cert",
        help: "PEM file of the certificate and its chain: the server then speaks https alone",
    },
    Setting {
        variable: "HYPRBOX_TLS_KEY",
        flag: "tls-key",
        help: "PEM file of the certificate's private key; both files are read anew when they change",
    },
    Setting {
        variable: "HYPRBOX_KEEP_DAYS",
        flag: "keep-days",
        help: "Days that finished jobs are kept [for ever]",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_DIR",
        flag: "backup-dir",
        help: "Folder that backups of the database are put into",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_EVERY",
        flag: "backup-every",
        help: "Time from one backup to the next [24h]",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_KEEP",
        flag: "backup-keep",
        help: "How many backups are kept [7]",
    },
    Setting {
        variable: "HYPRBOX_AGENT_DIR",
        flag: "agent-dir",
        help: "Folder of the agents that nodes fetch, hyprbox-agent-x86_64 and so on [/usr/share/hyprbox/agents]",
    },
    Setting {
        variable: "HYPRBOX_TRUSTED_PROXIES",
        flag: "trusted-proxies",
        help: "Addresses and networks whose X-Forwarded-For counts, comma-separated",
    },
    Setting {
        variable: "HYPRBOX_OPERATOR_SCOPE",
        flag: "operator-scope",
        help: "Whose jobs an OPERATOR may read: all, or own [all]",
    },
    Setting {
        variable: "HYPRBOX_LOG",
        flag: "log",
        help: "Filter of the log [info]",
    },
    Setting {
        variable: "HYPRBOX_LOG_FORMAT",
        flag: "log-format",
        help: "text, or json for machines [text]",
    },
];

/// `hyprbox serve` with its flags.
pub fn serve_command() -> Command {
    with_every_flag(
        Command::new("serve").about("Run the server; each flag has a variable, which it overrides"),
    )
}

/// Adds the flags that say where the data is.
pub(crate) fn with_data_place(command: Command) -> Command {
    with_flags(command, |variable| {
        matches!(
            variable,
            "HYPRBOX_DATABASE_URL" | "HYPRBOX_DATA_DIR" | "HYPRBOX_SECRET_KEY_FILE"
        )
    })
}

/// Adds all of them.
pub(crate) fn with_every_flag(command: Command) -> Command {
    with_flags(command, |_| true)
}

fn with_flags(command: Command, wanted: impl Fn(&str) -> bool) -> Command {
    let settings = SETTINGS.iter().filter(|setting| wanted(setting.variable));
    settings.fold(command, |command, setting| {
        command.arg(
            Arg::new(setting.variable)
                .long(setting.flag)
                .value_name("VALUE")
                .help(format!("{} ({})", setting.help, setting.variable)),
        )
    })
}
