//! `hyprbox demo`: a server, an agent and one job in one process. Apart from that everything is
//! real: the job goes over HTTP and through the database, and runs in bash under its own
//! supervisor.

mod client;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::app::App;
use crate::auth::ClientAddress;
use crate::config::Config;
use client::{Client, JobEnd};

/// The demo's only node.
const NODE: &str = "demo";
/// The demo's only user.
const EMAIL: &str = "demo@example.org";
/// The preset to run: it changes nothing on the machine.
const PRESET: &str = "system-report";
/// Pause between the preset's steps in milliseconds, so that there is something to watch.
const PACE_MS: u64 = 450;
/// How long the agent may take to connect.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demo. With `once`, or without a terminal, it ends with the job; otherwise the server
/// runs until Ctrl-C. Returns the job's exit code.
pub async fn run(once: bool) -> anyhow::Result<u8> {
    let folder = tempfile::tempdir().context("can't create a temporary folder")?;
    let listener = listen().await?;
    let (stop, stopping) = watch::channel(false);
    let app = build(&folder, &listener, stopping).await?;
    let (url, auth) = (app.public_url.clone(), app.auth.clone());
    let (token, user) = auth
        .login(
            EMAIL,
            &password(&folder),
            ClientAddress(std::net::Ipv4Addr::LOCALHOST.into()),
        )
        .await
        .map_err(|error| anyhow::anyhow!(error.message))?;
    let serving = tokio::spawn(app.serve(listener));
    let client = Client::new(&url, token)?;
    let agent = start_agent(&client, &url, folder.path()).await?;
    let mut terminal = Terminal(Ok(()));
    let end = run_job(&client, &mut terminal).await?;
    let path = format!(
        "{url}/once/{}?to=/jobs/{}",
        auth.one_time_code(&user.id),
        end.id
    );
    if !once && std::io::stdout().is_terminal() {
        terminal.print(&format!(
            "\n  Open the job in a browser, already signed in (the link works once):\n  {path}\n\n  The server runs until you press Ctrl-C.\n"
        ));
        hyprbox_agent::shutdown::requested()
            .context("signals can't be received")?
            .await;
    } else {
        terminal.print(&format!(
            "\n  The job's page was {path}\n  The demo has ended. Run it in a terminal without --once to keep the server running.\n"
        ));
    }
    agent.stop().await;
    // An error means that the server has already stopped.
    let _down = stop.send(true);
    serving.await.context("the server panicked")??;
    terminal.0.context("the output can't be written")?;
    Ok(end.exit_code)
}

async fn listen() -> anyhow::Result<TcpListener> {
    let usual = SocketAddr::from(([127, 0, 0, 1], 4000));
    match TcpListener::bind(usual).await {
        Ok(listener) => Ok(listener),
        // A real server may use the usual port; any other port will do.
        Err(_) => TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("can't listen on 127.0.0.1"),
    }
}

/// A password from the folder's random name, which nobody else knows.
fn password(folder: &TempDir) -> String {
    format!("demo {}", folder.path().display())
}

async fn build(
    folder: &TempDir,
    listener: &TcpListener,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<App> {
    let data_dir = folder.path().join("server");
    let words = [
        "serve".into(),
        "--data-dir".into(),
        data_dir.into_os_string(),
    ];
    let flags = crate::config::serve_command()
        .try_get_matches_from(words)
        .context("the demo's own flags")?;
    let mut config = Config::read(&flags, &|_| None)?;
    config.admin = Some((EMAIL.to_owned(), password(folder)));
    Ok(App::build(&config, listener, stopping).await?)
}

/// An agent that runs in this process.
struct Agent {
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<(), hyprbox_agent::RunError>>,
}

impl Agent {
    async fn stop(self) {
        // An error means that the agent has already ended; its result is handled below.
        let _ended = self.stop.send(());
        match self.running.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the agent failed"),
            Err(error) => tracing::warn!(%error, "the agent panicked"),
        }
    }
}

async fn start_agent(client: &Client, url: &str, folder: &Path) -> anyhow::Result<Agent> {
    let node_token = client.add_node(NODE).await?;
    let config = hyprbox_agent::Config {
        trusted_servers: None,
        signers: None,
        api_url: url.to_owned(),
        node_id: NODE.to_owned(),
        node_token,
        interval: Duration::from_secs(30),
        state_dir: folder.join("agent"),
        ca_file: None,
        insecure_http: false,
        job_env: Vec::new(),
        force: false,
        spool_max: hyprbox_agent::config::SPOOL_MAX_BYTES,
    };
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(hyprbox_agent::run(config, async {
        // An error means that the demo is ending.
        let _gone = stopped.await;
    }));
    let deadline = Instant::now() + AGENT_PATIENCE;
    while !client.is_online(NODE).await? {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the agent did not connect within {AGENT_PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Agent { stop, running })
}

async fn run_job(client: &Client, terminal: &mut Terminal) -> anyhow::Result<JobEnd> {
    terminal.print(&format!(
        "\n  HyprBox Jobs: queueing the preset {PRESET} on the node {NODE}\n\n  "
    ));
    let clicked = Instant::now();
    let id = client.queue(PRESET, NODE, PACE_MS).await?;
    let accepted = clicked.elapsed();
    let mut first_output = None;
    let end = client
        .follow(&id, |text| {
            first_output.get_or_insert_with(|| clicked.elapsed());
            terminal.print(&text.replace('\n', "\n  "));
            Ok(())
        })
        .await?;
    terminal.print(&summary(&end, accepted, first_output, clicked.elapsed()));
    Ok(end)
}

fn summary(
    end: &JobEnd,
    accepted: Duration,
    first_output: Option<Duration>,
    all: Duration,
) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let claimed = end
        .queued_to_claimed_ms
        .map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let first = first_output.map_or("none".to_owned(), ms);
    format!(
        "\n  {} (exit code {})\n\n  request → queued (durable)   {}\n  queued → claimed             {claimed}\n  request → first output here  {first}\n  request → done               {:.2} s\n",
        end.status,
        end.exit_code,
        ms(accepted),
        all.as_secs_f64(),
    )
}

/// Standard output. If its reader closes it, further output is dropped, and the demo still ends its
/// job, agent and server cleanly.
struct Terminal(std::io::Result<()>);

impl Terminal {
    fn print(&mut self, text: &str) {
        if self.0.is_ok() {
            let mut stdout = std::io::stdout();
            self.0 = stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush());
        }
    }
}
