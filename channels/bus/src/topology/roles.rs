//! Least privilege: what each kind of user may configure, write and read.

use std::fmt;

use serde::Serialize;

use super::TopologyError;
use super::{DEAD, HISTORY, INBOUND, OUTBOUND, UNROUTED, check_name};

/// A kind of user on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway: declares the topology and uses all of it.
    Gateway,
    /// One adapter in its own process: brings to `ark.in`, takes from its own queue.
    Adapter(String),
    /// Analytics: reads the history stream.
    Analyst,
    /// Looks at queues and dead letters; changes nothing.
    Operator,
}

/// RabbitMQ's three regular expressions over names of exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permissions {
    /// The role.
    pub role: String,
    /// May declare and delete these.
    pub configure: String,
    /// May publish to, or bind, these.
    pub write: String,
    /// May consume from, or bind from, these.
    pub read: String,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Adapter(name) => write!(f, "adapter {name}"),
            Self::Analyst => f.write_str("analyst"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

fn exactly(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| name.replace('.', "\\.")).collect();
    format!("^({})$", names.join("|"))
}

impl Role {
    /// What to give `rabbitmqctl set_permissions`.
    ///
    /// # Errors
    /// [`TopologyError::Name`] for an adapter whose name does not fit.
    pub fn permissions(&self) -> Result<Permissions, TopologyError> {
        let nothing = || "^$".to_owned();
        let (configure, write, read) = match self {
            // Replay sends a dead letter back to the queue in which it died: through the default exchange.
            Self::Gateway => ("^ark\\.".to_owned(), "^(ark\\..*|amq\\.default)$".to_owned(), "^ark\\.".to_owned()),
            Self::Adapter(name) => {
                check_name(name)?;
                (nothing(), exactly(&[INBOUND]), exactly(&[&format!("{OUTBOUND}.{name}")]))
            }
            Self::Analyst => (nothing(), nothing(), exactly(&[HISTORY])),
            Self::Operator => (nothing(), nothing(), exactly(&[DEAD, UNROUTED])),
        };
        Ok(Permissions { role: self.to_string(), configure, write, read })
    }
}
