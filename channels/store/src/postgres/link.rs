//! One connection: made, watched, with its statements prepared once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fail::Fault;
use crate::error::StoreError;
use crate::limits::{PG_COMMIT_WAIT, PG_CONNECT_WAIT};

pub(super) type Result<T> = std::result::Result<T, Fault>;
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How PostgreSQL is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgresql://user@host:port/database?sslmode=require`, as libpq writes it; several hosts may be named.
    /// `sslmode=require` checks the server's certificate and name; `prefer` (the default) and `disable` are for a
    /// database on this machine.
    pub url: String,
    /// The password; better here, from a file, than in the URL.
    pub password: Option<String>,
    /// Certificates of the authority that signed the server's (PEM); none: the public authorities.
    pub ca_file: Option<PathBuf>,
    /// The schema that holds the tables: `ark`, unless several stores share a database.
    pub schema: String,
    /// Whether committed events go into the outbox, for a relay to the bus.
    pub outbox: bool,
}

impl PostgresOptions {
    /// Schema `ark`, with an outbox.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), password: None, ca_file: None, schema: "ark".to_owned(), outbox: true }
    }

    /// Whether they can be right; nothing is connected to.
    ///
    /// # Errors
    /// [`StoreError::Refused`] says what cannot be, without the password.
    pub fn check(&self) -> std::result::Result<(), StoreError> {
        Road::new(self).map(drop)
    }
}

impl std::fmt::Debug for PostgresOptions {
    /// Without passwords, also those in the URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.url.split_once("://").map_or("", |(_, rest)| rest.rsplit('@').next().unwrap_or(rest));
        let url = url.split('?').next().unwrap_or(url);
        f.debug_struct("PostgresOptions").field("url", &url).field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// How to make connections to one database.
pub(super) struct Road {
    pub(super) config: Config,
    tls: MakeRustlsConnect,
    pub(super) ca_file: Option<PathBuf>,
    /// Whether its connections only read.
    pub(super) to_read: bool,
    pub(super) schema: String,
    /// For messages: without user and password.
    pub(super) place: String,
}

impl Road {
    pub(super) fn new(options: &PostgresOptions) -> std::result::Result<Self, StoreError> {
        let refused = |why: String| StoreError::Refused(format!("[store] url: {why}"));
        let mut config: Config = options.url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            refused(format!("{error} {cause}; postgresql://user@host:port/database is expected"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(refused("no host; postgresql://user@host:port/database is expected".to_owned()));
        }
        let schema = &options.schema;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if schema.is_empty() || schema.len() > 60 || !schema.bytes().all(plain) {
            return Err(refused(format!("schema '{schema}': 1 to 60 characters of a-z, 0-9 and '_' are expected")));
        }
        if let Some(password) = &options.password {
            config.password(password);
        }
        config
            .application_name(application(schema))
            .connect_timeout(PG_CONNECT_WAIT)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(PG_COMMIT_WAIT);
        let place = place(&config, schema);
        let tls = MakeRustlsConnect::new(tls(options.ca_file.as_ref())?);
        let (ca_file, schema) = (options.ca_file.clone(), schema.clone());
        Ok(Self { config, tls, ca_file, to_read: false, schema, place })
    }

    /// The name by which the database knows the connections to this store.
    pub(super) fn application(&self) -> String {
        application(&self.schema)
    }

    /// A new connection, its session set up; not yet known to be a store.
    pub(super) async fn connect(&self) -> Result<Link> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, connection) = match tokio::time::timeout(PG_CONNECT_WAIT * 2, connecting).await {
            Ok(connected) => connected?,
            Err(_) => {
                let detail = format!("no answer within {} s", PG_CONNECT_WAIT.as_secs() * 2);
                return Err(StoreError::Away { place: self.place.clone(), detail }.into());
            }
        };
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the store's database ended");
            }
        });
        let link = Link { client, statements: Mutex::default(), driver };
        // A gateway that hangs must not hold a lease's row for ever; a commit is on the disk when it is answered.
        let session = format!(
            "set search_path to {}; set synchronous_commit to on; set lock_timeout to '10s'; set jit to off;
             set statement_timeout to '{}s'; set idle_in_transaction_session_timeout to '{}s'",
            self.schema,
            PG_COMMIT_WAIT.as_secs(),
            PG_COMMIT_WAIT.as_secs(),
        );
        link.batch(&session).await?;
        if self.to_read {
            link.batch("set default_transaction_read_only to on").await?;
        }
        Ok(link)
    }
}

fn application(schema: &str) -> String {
    format!("ark.{}", schema.get(..59).unwrap_or(schema))
}

fn place(config: &Config, schema: &str) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = (0..)
        .zip(config.get_hosts())
        .map(|(at, host): (usize, _)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    format!("postgresql://{}/{}#{schema}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

fn tls(ca_file: Option<&PathBuf>) -> std::result::Result<rustls::ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let refused = |why: String| StoreError::Refused(format!("{}: {why}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refused("no certificate in it (PEM is expected)".to_owned()));
            }
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection that is up, or was.
pub(super) struct Link {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Comes back when the connection has ended.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.driver).await;
    }

    async fn statement(&self, sql: &str) -> Result<Statement> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Prepares statements, so that they can be sent one behind the other without waiting.
    pub(super) async fn prepare(&self, statements: &[&str]) -> Result<()> {
        for sql in statements {
            self.statement(sql).await?;
        }
        Ok(())
    }

    pub(super) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    pub(super) async fn one(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query_opt(&statement, params).await?)
    }

    /// Rows written.
    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql).await?)
    }
}
