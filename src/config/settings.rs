//! The table of settings, and the flags that it defines.

use clap::{Arg, Command};

/// One setting: variable, flag and help text.
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
        help: "Data directory [$STATE_DIRECTORY or ~/.local/share/hyprbox]",
    },
    Setting {
        variable: "HYPRBOX_PRESETS_DIR",
        flag: "presets-dir",
        help: "Directory of your own presets, which add to and override the built-in ones",
    },
    Setting {
        variable: "HYPRBOX_STDOUT_MAX_BYTES",
        flag: "stdout-max-bytes",
        help: "Bytes kept per output stream of a job [4194304]",
    },
    Setting {
        variable: "HYPRBOX_LEASE_SECONDS",
        flag: "lease-seconds",
        help: "Seconds until a running job is reported lost if its agent is silent [90]",
    },
    Setting {
        variable: "HYPRBOX_SECRET_KEY_FILE",
        flag: "secret-key-file",
        help: "File of the key that seals secrets [<data>/secret.key]",
    },
    Setting {
        variable: "HYPRBOX_SIGN_KEY_FILE",
        flag: "sign-key-file",
        help: "File of the key that signs jobs [sign.key next to the secret key]",
    },
    Setting {
        variable: "HYPRBOX_METRICS_TOKEN",
        flag: "metrics-token",
        help: "Bearer token that may read /metrics",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_EMAIL",
        flag: "admin-email",
        help: "Email of the first ADMIN, created at startup",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_PASSWORD",
        flag: "admin-password",
        help: "Password of the first ADMIN",
    },
    Setting {
        variable: "HYPRBOX_ALLOW_PUBLIC_REGISTRATION",
        flag: "allow-public-registration",
        help: "true: anybody may create an account, with role PENDING [false]",
    },
    Setting {
        variable: "HYPRBOX_TLS_CERT",
        flag: "tls-cert",
        help: "PEM file of the certificate and its chain; the server then serves only https",
    },
    Setting {
        variable: "HYPRBOX_TLS_KEY",
        flag: "tls-key",
        help: "PEM file of the certificate's private key; both files are reloaded when they change",
    },
    Setting {
        variable: "HYPRBOX_PING_URL",
        flag: "ping-url",
        help: "Address to call every minute while the server is healthy",
    },
    Setting {
        variable: "HYPRBOX_KEEP_DAYS",
        flag: "keep-days",
        help: "Days that finished jobs are kept [forever]",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_DIR",
        flag: "backup-dir",
        help: "Directory for backups of the database",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_EVERY",
        flag: "backup-every",
        help: "Interval between backups [24h]",
    },
    Setting {
        variable: "HYPRBOX_BACKUP_KEEP",
        flag: "backup-keep",
        help: "Number of backups to keep [7]",
    },
    Setting {
        variable: "HYPRBOX_AGENT_DIR",
        flag: "agent-dir",
        help: "Directory of the agents for nodes: hyprbox-agent-x86_64 and so on [/usr/share/hyprbox/agents]",
    },
    Setting {
        variable: "HYPRBOX_TRUSTED_PROXIES",
        flag: "trusted-proxies",
        help: "Addresses and networks whose X-Forwarded-For is trusted, comma-separated",
    },
    Setting {
        variable: "HYPRBOX_OPERATOR_SCOPE",
        flag: "operator-scope",
        help: "Jobs that an OPERATOR may read: all, or own [all]",
    },
    Setting {
        variable: "HYPRBOX_PRESETS",
        flag: "presets",
        help: "app: presets can be saved in the app; files: those are ignored [app]",
    },
    Setting {
        variable: "HYPRBOX_LOG",
        flag: "log",
        help: "Log filter [info]",
    },
    Setting {
        variable: "HYPRBOX_LOG_FORMAT",
        flag: "log-format",
        help: "Log format: text, or json for machines [text]",
    },
];

/// `hyprbox serve` with its flags.
pub fn serve_command() -> Command {
    with_every_flag(
        Command::new("serve")
            .about("Run the server; each flag overrides the variable in parentheses"),
    )
}

/// Adds the flags that locate the data.
pub(crate) fn with_data_place(command: Command) -> Command {
    with_flags(command, |variable| {
        matches!(
            variable,
            "HYPRBOX_DATABASE_URL"
                | "HYPRBOX_DATA_DIR"
                | "HYPRBOX_SECRET_KEY_FILE"
                | "HYPRBOX_SIGN_KEY_FILE"
        )
    })
}

/// Adds a flag for every setting.
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
