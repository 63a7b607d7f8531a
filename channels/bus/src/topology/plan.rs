//! The topology in words, for `ark bus plan`.

use std::fmt::Write as _;

use super::{Permissions, QueueKind, Role, Topology, TopologyConfig, TopologyError};

impl Topology {
    /// Everything that stands on the broker and who may use it, as text for people.
    ///
    /// Shards are shown once; `gateway` names the gateway whose own queues are shown.
    ///
    /// # Errors
    /// [`TopologyError`] for a name that does not fit.
    pub fn plan(&self, config: &TopologyConfig, gateway: &str) -> Result<String, TopologyError> {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "topology {} with {} shards: shard = xxh3_64(conversation) % {}",
            self.topology, self.shards, self.shards
        );
        out.push_str("written for RabbitMQ 3.10 to 4.x; run on 3.10.8, not run on 4.x\n\nexchanges (durable)\n");
        for exchange in &self.exchanges {
            let alternate = exchange.alternate.as_ref().map(|name| format!(", else {name}")).unwrap_or_default();
            let _ = writeln!(out, "  {:<18} {}{alternate}: {}", exchange.name, exchange.kind, exchange.purpose);
        }
        out.push_str("\nqueues\n");
        let own = Self::gateway_queues(gateway, "*")?;
        let shard_prefix = format!("{}.s", self.ingress());
        let is_later_shard = |name: &str| name.starts_with(&shard_prefix) && !name.ends_with(".s000");
        for queue in self.queues.iter().chain(&own).filter(|queue| !is_later_shard(&queue.name)) {
            let range = if queue.name.starts_with(&shard_prefix) && self.shards > 1 {
                format!(" to s{:03}", self.shards - 1)
            } else {
                String::new()
            };
            let bound: Vec<String> = self
                .bindings
                .iter()
                .filter(|binding| binding.queue == queue.name)
                .map(|binding| format!("{} '{}'", binding.exchange, binding.key))
                .collect();
            let from = match (queue.kind, bound.is_empty()) {
                (_, false) => format!(" <- {}", bound.join(", ")),
                (QueueKind::Exclusive, true) => " (bound by its gateway)".to_owned(),
                _ => String::new(),
            };
            let _ = writeln!(out, "  {}{range}, {}{from}: {}", queue.name, queue.kind, queue.purpose);
            for (name, value) in &queue.arguments {
                let _ = writeln!(out, "      {name} = {value}");
            }
        }
        out.push_str("\nusers (rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ)\n");
        for permissions in Self::permissions(config)? {
            let Permissions { role, configure, write, read } = permissions;
            let _ = writeln!(out, "  {role:<18} '{configure}' '{write}' '{read}'");
        }
        Ok(out)
    }

    /// The permissions of every role of a site.
    ///
    /// # Errors
    /// [`TopologyError`] for an adapter's name that does not fit.
    pub fn permissions(config: &TopologyConfig) -> Result<Vec<Permissions>, TopologyError> {
        let adapters = config.adapters.iter().cloned().map(Role::Adapter);
        let roles = [Role::Gateway].into_iter().chain(adapters).chain([Role::Analyst, Role::Operator]);
        roles.map(|role| role.permissions()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_the_golden_one() {
        let names = |name: &str| vec![name.to_owned()];
        let config =
            TopologyConfig { adapters: names("dingtalk"), skills: names("general"), ..TopologyConfig::default() };
        let plan = Topology::new(&config).unwrap().plan(&config, "gw1").unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/topology/plan.golden.txt");
        if std::env::var("UPDATE").as_deref() == Ok("1") {
            std::fs::write(path, &plan).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(plan, golden, "run with UPDATE=1 and read the difference");
    }
}
