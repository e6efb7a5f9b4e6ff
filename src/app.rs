//! Builds the server from its parts and serves. One file, because the start is one sequence of
//! steps that depend on one another.

mod background;
mod startup_rollback;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, middleware};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::startup_rollback::StartupRollback;
use crate::auth::{Auth, AuthConfig, strict_transport};
use crate::config::{BackupPlan, Config, DatabaseUrl, reachable};
use crate::http::{ApiError, Budget, KnownParameters, answer_headers, refuse_unknown_parameters};
use crate::hub::Hub;
use crate::jobs::{Jobs, Limits, PollFastPath, SecretKey, finish_key_rotation, sign_existing};
use crate::ledger::Ledger;
use crate::metrics::{Metrics, count_requests};
use crate::nodes::{Install, Nodes, RunClock};
use crate::notify::Notifications;
use crate::ops::{self, Ops, ServerLock};
use crate::outbox::Outbox;
use crate::presets::Catalog;
use crate::runs::Runs;
use crate::schedules::Schedules;
use crate::signing::{CurrentKey, ServerSigner};
use crate::store::{Change, Store, Tx, refuse_emptied, server_state};
use crate::tasks::TASKS;
use crate::tls::Tls;
use crate::{audit, dashboard, ledger, server};

/// How long the last signs of life may take to be written when the server shuts down.
const LAST_WRITES_WITHIN: Duration = Duration::from_secs(1);

/// Why the server can't start, as one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// A start error with the message of `error`.
    pub fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The server, ready to serve.
pub struct App {
    /// Authentication, for callers that create the first user or a one-time link.
    pub auth: Auth,
    /// Jobs, for callers that queue one.
    pub jobs: Jobs,
    /// The address at which people reach the server.
    pub public_url: String,
    router: Router,
    budget: Budget,
    store: Store,
    catalog: Arc<Catalog>,
    clock: Arc<RunClock>,
    lease_seconds: u64,
    tls: Option<Tls>,
    ops: Ops,
    ping_url: Option<String>,
    backups: Option<(BackupPlan, PathBuf)>,
    stopping: watch::Receiver<bool>,
    /// The lock on a database that only one server may use.
    lock: Option<ServerLock>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "HyprBox Jobs",
        description = "Queues presets as jobs on nodes and reports their state and output."
    ),
    components(schemas(hyprbox_protocol::ErrorBody))
)]
struct ApiDocument;

/// Connections that may wait to be accepted; the kernel may cap it. After a restart all agents and
/// viewers connect at once, and one that finds no room tries again after a second.
const BACKLOG: u32 = 4096;

/// Binds the address that the configuration names.
pub fn bind(config: &Config) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = match config.listen {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Otherwise a restart fails until the kernel has forgotten the old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(config.listen)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: std::io::Error| {
        StartError(format!(
            "can't listen on HYPRBOX_LISTEN={}: {error}; set it to a free address and port",
            config.listen
        ))
    })
}

impl App {
    /// Opens the data and builds the parts. `stopping` turns true when the server must shut down.
    pub async fn build(
        config: &Config,
        listener: &TcpListener,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr().map_err(StartError::of)?;
        let public_url = config.public_url.clone().unwrap_or_else(|| {
            let scheme = if config.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", reachable(address))
        });
        let mut rollback = StartupRollback::default();
        rollback.create_folder(&config.data_dir, "HYPRBOX_DATA_DIR")?;
        // Before the database, so that it is not migrated if the key can't be used.
        let key = rollback.load_key(&config.secret_key_file)?;
        let backups = backups_of(config);
        if let Some((plan, _)) = &backups {
            rollback.create_folder(&plan.dir, "HYPRBOX_BACKUP_DIR")?;
        }
        let mut lock = match &config.database {
            DatabaseUrl::Sqlite(path) => ServerLock::acquire(path).map_err(StartError)?,
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(_) => None,
        };
        if let Some(created) = lock.as_ref().and_then(|lock| lock.created.as_ref()) {
            rollback.add_file(created);
        }
        let database = match &config.database {
            DatabaseUrl::Sqlite(path) => path.parent(),
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(_) => None,
        };
        let backup_dir = backups.as_ref().map(|(plan, _)| plan.dir.as_path());
        for folder in [database, backup_dir].into_iter().flatten() {
            ops::backup::remove_leftovers(folder);
        }
        if let (DatabaseUrl::Sqlite(path), Some(backups)) = (&config.database, backup_dir) {
            refuse_emptied(path, backups).map_err(StartError::of)?;
        }
        let hub = Arc::new(Hub::default());
        let auth_cell = Arc::new(OnceLock::new());
        let store = open_store(config, Arc::clone(&hub), Arc::clone(&auth_cell))?;
        let key = finish_key_rotation(&store, &config.secret_key_file, key);
        let key = key.await.map_err(StartError::of)?;
        if store.is_shared() {
            refuse_other_key(&store, &key, config).await?;
        }
        if let Some(lock) = &mut lock {
            lock.name_holder().map_err(StartError::of)?;
        }
        rollback.disarm();
        let auth_config = AuthConfig {
            public_url: public_url.clone(),
            is_public_url_set: config.public_url.is_some(),
            own_tls: config.tls.is_some(),
            serves_in_the_clear: config.serves_in_the_clear(),
            allow_public_registration: config.allow_public_registration,
            trusted_proxies: config.trusted_proxies.clone(),
        };
        let auth = if store.is_shared() {
            // Every server must accept the setup code that any of them printed.
            let digest = key.digest(b"setup code");
            let bytes = *digest.first_chunk().expect("a digest has 32 bytes");
            Auth::sharing(auth_config, store.clone(), bytes)
        } else {
            Auth::new(auth_config, store.clone())
        };
        // Nothing was cached yet, so a change before this line had nothing to invalidate.
        let _first = auth_cell.set(auth.clone());
        let catalog = Arc::new(Catalog::open(config.presets_dir.as_deref()));
        let clock = Arc::new(RunClock::default());
        let key = Arc::new(key);
        let signer = open_signer(&store, &key, config).await?;
        let install = Install::new(config.agent_dir.clone(), signer.clone());
        let outbox = Outbox::new(&public_url);
        let ledger = Ledger::new(store.clone(), Arc::clone(&hub), outbox.clone());
        let nodes = Nodes::load(
            store.clone(),
            hub,
            Arc::clone(&clock),
            install.clone(),
            signer,
            ledger,
            outbox.clone(),
        )
        .await
        .map_err(StartError::of)?;
        let limits = Limits {
            stdout_max_bytes: config.stdout_max_bytes,
            lease_seconds: config.lease_seconds,
            keep_days: config.keep_days,
            operator_scope: config.operator_scope,
            saves_presets: config.saves_presets,
        };
        let jobs = Jobs::new(
            nodes.clone(),
            Arc::clone(&catalog),
            Metrics::new(&nodes.store),
            limits,
            key,
            outbox,
            stopping.clone(),
        );
        let ops = Ops::new(jobs.clone(), config.metrics_token.clone());
        let budget = Budget::default();
        let router = router(&auth, &budget, &nodes, &jobs, &ops);
        if let Some((email, password)) = &config.admin {
            auth.ensure_admin(email, password)
                .await
                .map_err(|error| StartError(error.message))?;
        }
        Ok(Self {
            auth,
            jobs,
            public_url,
            router,
            budget,
            store,
            catalog,
            clock,
            lease_seconds: config.lease_seconds,
            tls: config.tls.clone(),
            ops,
            ping_url: config.ping_url.clone(),
            backups,
            stopping,
            lock,
        })
    }

    /// Whether any user exists.
    pub async fn has_users(&self) -> Result<bool, StartError> {
        self.auth
            .has_users()
            .await
            .map_err(|error| StartError(error.message))
    }

    /// Serves until `stopping` turns true, then ends cleanly. An error means that the server could
    /// not continue.
    pub async fn serve(self, listener: TcpListener) -> Result<(), StartError> {
        let mut tasks = JoinSet::new();
        let stopping = || self.stopping.clone();
        let (auth, nodes, lease_seconds) = (
            self.auth.clone(),
            self.jobs.nodes.clone(),
            self.lease_seconds,
        );
        let (catalog, clock) = (self.catalog, self.clock);
        tasks.spawn(TASKS.keep("housekeeping", stopping(), move || {
            let (catalog, clock) = (Arc::clone(&catalog), Arc::clone(&clock));
            background::run(auth.clone(), nodes.clone(), catalog, clock, lease_seconds)
        }));
        if self.store.is_shared() {
            let nodes = self.jobs.nodes.clone();
            tasks.spawn(TASKS.keep("shared-presence", stopping(), move || {
                background::merge_lives(nodes.clone(), lease_seconds)
            }));
        }
        let budget = self.budget;
        tasks.spawn(TASKS.keep("memory", stopping(), move || {
            background::return_memory(budget.clone())
        }));
        let jobs = self.jobs.clone();
        tasks.spawn(TASKS.keep("leases", stopping(), move || jobs.clone().run_sweeps()));
        let ledger = self.jobs.nodes.ledger.clone();
        tasks.spawn(TASKS.keep("ledger", stopping(), move || ledger.clone().follow()));
        let schedules = Schedules::new(Runs::new(self.jobs.clone()));
        tasks.spawn(TASKS.keep("schedules", stopping(), move || schedules.clone().follow()));
        let notifications = Notifications::new(self.jobs.clone());
        let sender = notifications.clone();
        tasks.spawn(TASKS.keep("notifications", stopping(), move || {
            sender.clone().send_deliveries()
        }));
        let watch = notifications.clone();
        tasks.spawn(TASKS.keep("node-watch", stopping(), move || {
            watch.clone().watch_nodes()
        }));
        let pings = notifications.clone();
        tasks.spawn(TASKS.keep("schedule-pings", stopping(), move || {
            pings.clone().send_pings()
        }));
        if let Some(url) = self.ping_url {
            let ops = self.ops;
            tasks.spawn(TASKS.keep("ping", stopping(), move || {
                let ops = ops.clone();
                let is_healthy = move || {
                    let ops = ops.clone();
                    async move { ops.check_ready().await }
                };
                notifications
                    .clone()
                    .ping_while_healthy(url.clone(), is_healthy)
            }));
        }
        if let Some(tls) = self.tls.clone() {
            tls.warn_of_readable_key();
            tasks.spawn(TASKS.keep("certificate", stopping(), move || {
                tls.clone().follow_renewals()
            }));
        }
        if let Some((plan, database)) = self.backups {
            let (jobs, stop) = (self.jobs.clone(), stopping());
            tasks.spawn(TASKS.keep("backups", stopping(), move || {
                let (plan, database) = (plan.clone(), database.clone());
                ops::schedule::follow(plan, database, jobs.clone(), stop.clone())
            }));
        }
        let fast_path = PollFastPath::new(self.auth.clone(), self.jobs.clone());
        let serving = server::serve(listener, self.tls, self.router, fast_path, self.stopping);
        let has_failed = tokio::select! {
            () = serving => false,
            () = TASKS.gave_up() => true,
        };
        tasks.abort_all();
        let write = async {
            self.jobs.nodes.write_seen().await?;
            self.auth.flush_last_used().await
        };
        match tokio::time::timeout(LAST_WRITES_WITHIN, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "can't write the last signs of life");
            }
            Err(_) => tracing::warn!("can't write the last signs of life within 1 s"),
        }
        self.store.close().await;
        drop(self.lock);
        match TASKS.fault() {
            Some(fault) if has_failed => Err(StartError(fault)),
            _ => Ok(()),
        }
    }
}

/// Refuses to share a database with servers that have another key file, because each must decrypt
/// what the others encrypted.
async fn refuse_other_key(
    store: &Store,
    key: &SecretKey,
    config: &Config,
) -> Result<(), StartError> {
    let digest = key.database_digest();
    let is_ours = store
        .write(move |tx| server_state::is_our_key(tx, digest))
        .await
        .map_err(StartError::of)?;
    if is_ours {
        return Ok(());
    }
    Err(StartError(format!(
        "HYPRBOX_SECRET_KEY_FILE={:?} does not hold the key that this database was created with: copy the file from another server of this database; \
         if the key is lost, run `DELETE FROM server_key` in the database to accept this one",
        config.secret_key_file.display()
    )))
}

/// Opens the sign key. At the first start, creates it and signs what is queued.
async fn open_signer(
    store: &Store,
    key: &Arc<SecretKey>,
    config: &Config,
) -> Result<ServerSigner, StartError> {
    let key = Arc::clone(key);
    let sign = move |tx: &mut dyn Tx, signer: &CurrentKey| sign_existing(tx, signer, &key);
    let signer = ServerSigner::open(store.clone(), &config.sign_key_file, sign);
    signer.await.map_err(StartError::of)
}

fn backups_of(config: &Config) -> Option<(BackupPlan, PathBuf)> {
    match (&config.backups, &config.database) {
        (Some(plan), DatabaseUrl::Sqlite(database)) => Some((plan.clone(), database.clone())),
        #[cfg(feature = "postgres")]
        (Some(_), DatabaseUrl::Postgres(_)) => None,
        (None, _) => None,
    }
}

fn open_store(
    config: &Config,
    hub: Arc<Hub>,
    auth: Arc<OnceLock<Auth>>,
) -> Result<Store, StartError> {
    let listener = move |changes: &[Change]| {
        let invalidates = |change: &Change| matches!(change, Change::Credentials | Change::Foreign);
        if let (true, Some(auth)) = (changes.iter().any(invalidates), auth.get()) {
            auth.forget();
        }
        hub.publish(changes);
    };
    match &config.database {
        DatabaseUrl::Sqlite(path) => {
            Store::open_sqlite(path, Arc::new(listener)).map_err(StartError::of)
        }
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => {
            Store::open_postgres(url, Arc::new(listener)).map_err(StartError::of)
        }
    }
}

fn router(auth: &Auth, budget: &Budget, nodes: &Nodes, jobs: &Jobs, ops: &Ops) -> Router {
    let (routes, api) = OpenApiRouter::with_openapi(ApiDocument::openapi())
        .merge(crate::auth::routes(auth.clone()))
        .merge(audit::routes(jobs.store.clone()))
        .merge(ledger::routes(jobs.store.clone()))
        .merge(nodes.routes())
        .merge(jobs.routes())
        .merge(Runs::new(jobs.clone()).routes())
        .merge(Schedules::new(Runs::new(jobs.clone())).routes())
        .merge(Notifications::new(jobs.clone()).routes())
        .merge(ops::routes(ops.clone()))
        .split_for_parts();
    let document = ops::document(api);
    ops.describe(document.clone());
    let known = KnownParameters::of(&document).expect("the document is JSON");
    routes
        .layer(middleware::from_fn_with_state(
            known,
            refuse_unknown_parameters,
        ))
        .merge(nodes.install.routes())
        .merge(dashboard::routes(auth.clone(), jobs.clone(), document))
        .fallback(dashboard::not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(auth.clone()))
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::internal("a handler panicked").into_response()
        }))
        .layer(middleware::from_fn_with_state(
            (budget.clone(), auth.clone()),
            count_memory,
        ))
        .layer(middleware::from_fn_with_state(
            auth.clone(),
            strict_transport,
        ))
        .layer(middleware::from_fn(answer_headers))
        .layer(middleware::from_fn_with_state(
            jobs.metrics.clone(),
            count_requests,
        ))
}

/// Middleware: counts the memory of each request and its answer.
async fn count_memory(
    State((budget, auth)): State<(Budget, Auth)>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = auth.client_address(request.extensions(), request.headers());
    let meter = budget.meter(address.network());
    request.extensions_mut().insert(meter.clone());
    meter.pass_on(next.run(request).await)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not support this method",
    )
}
