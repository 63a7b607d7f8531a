//! What RabbitMQ 4.x drops or changes silently, refused before it is declared.

use super::{Argument, Queue, QueueKind, Topology};

/// A line of a topology that would not work, or would work otherwise, on RabbitMQ 4.x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The queue or the exchange.
    pub name: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// Arguments that 4.x rejects or ignores, and why.
const DROPPED: &[(&str, &str)] = &[
    ("x-queue-mode", "4.3 rejects it: lazy queues are gone; leave it out"),
    ("x-queue-version", "4.3 rejects version 1 and knows no other; leave it out"),
    ("x-max-priority", "quorum queues refuse it below 4.3; use one queue per priority class"),
    ("x-ha-policy", "mirrored queues are gone since 4.0; use a quorum queue"),
    ("ha-mode", "mirrored queues are gone since 4.0; use a quorum queue"),
];

/// Every line that RabbitMQ 4.x would not take as 3.10 does. Empty for what [`Topology::new`] lays out.
///
/// Written after the release notes of 4.0 to 4.3; nothing was run on 4.x.
#[must_use]
pub fn check(topology: &Topology, own: &[Queue]) -> Vec<Breach> {
    let shared = own.iter().filter(|queue| queue.kind != QueueKind::Exclusive).map(|queue| Breach {
        name: queue.name.clone(),
        why: "a gateway's own queue must be exclusive: 4.3 refuses transient ones that several connections may use"
            .to_owned(),
    });
    topology.queues.iter().chain(own).flat_map(check_queue).chain(shared).collect()
}

fn check_queue(queue: &Queue) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut say = |why: &str| breaches.push(Breach { name: queue.name.clone(), why: why.to_owned() });
    for (name, why) in DROPPED {
        if queue.argument(name).is_some() {
            say(&format!("{name}: {why}"));
        }
    }
    let type_named = match queue.argument("x-queue-type") {
        Some(Argument::Text(kind)) => kind.as_str(),
        _ => "classic",
    };
    let expected = match queue.kind {
        QueueKind::Quorum => "quorum",
        QueueKind::Stream => "stream",
        QueueKind::Exclusive => "classic",
    };
    if type_named != expected {
        say(&format!("x-queue-type is {type_named}, and it is declared as {}", queue.kind));
    }
    if queue.kind == QueueKind::Quorum && !matches!(queue.argument("x-delivery-limit"), Some(Argument::Number(1..))) {
        say("x-delivery-limit must be said: 4.0 sets 20 where 3.10 has none, and drops what passes it");
    }
    if queue.kind == QueueKind::Exclusive && queue.argument("x-max-length").is_none() {
        say("x-max-length must be said: a gateway that does not read would fill the broker");
    }
    let at_least_once = queue.argument("x-dead-letter-strategy") == Some(&Argument::Text("at-least-once".into()));
    let rejects = queue.argument("x-overflow") == Some(&Argument::Text("reject-publish".into()));
    if at_least_once && !rejects {
        say("at-least-once dead letters need x-overflow=reject-publish; else they are at-most-once, silently");
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TopologyConfig;

    fn sound() -> Topology {
        let names = |name: &str| vec![name.to_owned()];
        Topology::new(&TopologyConfig { adapters: names("a"), skills: names("s"), ..TopologyConfig::default() })
            .unwrap()
    }

    #[test]
    fn what_is_declared_is_what_4_x_takes() {
        let own = Topology::gateway_queues("gw1", "1").unwrap();
        assert_eq!(check(&sound(), &own), []);
    }

    #[test]
    fn what_4_x_drops_is_refused() {
        let spoil = |spoil: &dyn Fn(&mut Queue)| {
            let mut topology = sound();
            let queue = topology.queues.iter_mut().find(|queue| queue.name.ends_with("s000")).unwrap();
            spoil(queue);
            let breaches = check(&topology, &[]);
            assert!(
                !breaches.is_empty() && breaches.iter().all(|breach| breach.name.ends_with("s000")),
                "{breaches:?}"
            );
            breaches[0].why.clone()
        };
        for (name, _) in DROPPED {
            assert!(spoil(&|queue| queue.arguments.push((name, Argument::Number(1)))).contains(name));
        }
        let without =
            |name: &'static str| spoil(&|queue: &mut Queue| queue.arguments.retain(|(known, _)| *known != name));
        assert!(without("x-delivery-limit").contains("must be said"));
        assert!(without("x-overflow").contains("at-least-once"));
        // A durable classic queue where a quorum queue was meant.
        assert!(without("x-queue-type").contains("classic"));
        // A transient queue for several connections.
        let mut own = Topology::gateway_queues("gw1", "1").unwrap();
        own[2].kind = QueueKind::Quorum;
        let breaches = check(&sound(), &own);
        assert!(breaches.iter().any(|breach| breach.name == own[2].name && breach.why.contains("exclusive")));
        own[2].kind = QueueKind::Exclusive;
        own[2].arguments.clear();
        assert_eq!(check(&sound(), &own).len(), 1);
    }
}
