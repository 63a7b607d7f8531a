//! Opening what the site names: its store and its bus. `ark serve` and the commands beside it open them here.

use std::sync::Arc;
use std::time::Duration;

use ark_bus::topology::TopologyConfig;
use ark_bus::{Broker, Bus, BusError, EmbeddedBus, RabbitBus, RabbitConfig};
use ark_store::{Options, PostgresOptions, PostgresStore, SqliteStore, Store, StoreError};

use crate::channel_host::on_the_broker;
use crate::config::Config;
use crate::serve::StartError;

/// How long the first attempt at a broker may take: on an empty one the whole topology is laid.
const FIRST_ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the broker to take what was handed over; the outbox has the rest.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Opens the store of `[store]`. Its outbox is kept when `[bus]` names a broker: a relay must then carry it there.
///
/// # Errors
/// [`StartError::Store`] with what is wrong and what to do: nobody answers, no way in, a later layout, a file that another
/// process has. [`StartError::Folder`] for the folder of an SQLite file.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    if let Some(path) = config.store.sqlite_path() {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|source| StartError::Folder {
                what: "the store's folder",
                path: folder.display().to_string(),
                source,
                advice: "Make it, or change [store] url",
            })?;
        }
        let options = Options { outbox: config.bus.is_broker(), ..Options::new(path) };
        let open = || crate::priority::in_background(|| SqliteStore::open_with(&options));
        return Ok(Arc::new(tokio::task::block_in_place(open)?));
    }
    let options = postgres_options(config)?;
    let open = || crate::priority::in_background(|| PostgresStore::open(&options));
    let store = tokio::task::block_in_place(open).map_err(|error| match error {
        // It goes on trying later, but not at start.
        StoreError::Away { place, detail } => StartError::NoDatabase { place, detail },
        other => other.into(),
    })?;
    Ok(Arc::new(store))
}

/// How PostgreSQL of `[store]` is reached.
///
/// # Errors
/// [`StoreError::Refused`] when the password cannot be read.
pub fn postgres_options(config: &Config) -> Result<PostgresOptions, StoreError> {
    let password = config.store.password.as_ref().map(crate::config::Secret::read).transpose();
    Ok(PostgresOptions {
        password: password.map_err(|error| StoreError::Refused(format!("[store] password: {error}")))?,
        ca_file: config.store.ca_file.clone(),
        outbox: config.bus.is_broker(),
        ..PostgresOptions::new(config.store.url.reveal())
    })
}

/// A bus that is open.
#[derive(Clone)]
pub struct Carrier {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    rabbit: Option<Arc<RabbitBus>>,
}

impl Carrier {
    /// A bus that lives in this process.
    #[must_use]
    pub fn embedded() -> Self {
        Self { bus: Arc::new(EmbeddedBus::new()), rabbit: None }
    }

    /// Whether it is a broker: then the store keeps an outbox, and a relay carries it.
    #[must_use]
    pub const fn is_broker(&self) -> bool {
        self.rabbit.is_some()
    }

    /// The broker, when it is one: adapters may be there.
    #[must_use]
    pub fn broker(&self) -> Option<Arc<RabbitBus>> {
        self.rabbit.clone()
    }

    /// Waits a moment for what was handed over, then says goodbye to the broker.
    pub async fn close(&self) {
        if let Some(rabbit) = &self.rabbit {
            rabbit.close(CLOSE_MAX).await;
        }
    }
}

/// Opens the bus of `[bus]` for the store that it carries.
///
/// A broker that does not answer refuses nothing: the bus goes on trying, and says in its health that it is away.
///
/// # Errors
/// [`StartError::Bus`] for what only a person can put right: a wrong password or virtual host, the broker of another store, a
/// topology that is in conflict, a certificate that is not trusted.
pub async fn open_bus(config: &Config, store: &dyn Store) -> Result<Carrier, StartError> {
    if !config.bus.is_broker() {
        return Ok(Carrier::embedded());
    }
    let rabbit = Arc::new(RabbitBus::start(&rabbit_config(config, store)?)?);
    match rabbit.tried(FIRST_ATTEMPT_MAX).await {
        Ok(()) => {}
        Err(error) if error.is_temporary() => {
            tracing::error!(%error, "the gateway starts without its broker; events wait in the store and follow at its return");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Carrier { bus: Arc::clone(&rabbit) as Arc<dyn Bus>, rabbit: Some(rabbit) })
}

/// How the broker of `[bus]` is used for a store: its nodes, and the shards that the store has.
///
/// # Errors
/// [`BusError::Config`] says what does not fit.
pub fn rabbit_config(config: &Config, store: &dyn Store) -> Result<RabbitConfig, BusError> {
    let topology = store.topology();
    let version = u16::try_from(topology.version)
        .map_err(|_| BusError::Config(format!("the store's topology version {} is too large", topology.version)))?;
    let topology = TopologyConfig {
        topology: version,
        shards: topology.shards,
        adapters: adapters(config),
        ..TopologyConfig::default()
    };
    broker(config, store.store_id(), topology)
}

/// Whether `[bus]` can be right; nobody is connected to.
///
/// # Errors
/// [`BusError::Config`] says what does not fit.
pub fn check_broker(config: &Config) -> Result<(), BusError> {
    broker(config, "", TopologyConfig { adapters: adapters(config), ..TopologyConfig::default() }).map(drop)
}

/// Adapters that take what is for them from the broker.
fn adapters(config: &Config) -> Vec<String> {
    on_the_broker(config).into_iter().map(|(account, _)| account).collect()
}

fn broker(config: &Config, store_id: &str, topology: TopologyConfig) -> Result<RabbitConfig, BusError> {
    let bus = &config.bus;
    let mut found = RabbitConfig::new(bus.url.reveal(), &config.gateway.id, store_id)?;
    found.topology = topology;
    if let Some(password) = &bus.password {
        let password = password.read().map_err(|error| BusError::Config(format!("[bus] password: {error}")))?;
        found.brokers = found.brokers.into_iter().map(|broker| broker.with_password(&password)).collect();
    }
    let others: Vec<Broker> = bus
        .nodes
        .iter()
        .flat_map(|node| found.brokers.first().map(|first| first.at(node)))
        .collect::<Result<_, _>>()?;
    found.brokers.extend(others);
    found.tls.authorities.clone_from(&bus.ca_file);
    found.tls.identity = bus.client.as_ref().map(|tls| (tls.cert.clone(), tls.key.clone()));
    found.check()?;
    Ok(found)
}
