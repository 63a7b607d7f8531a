//! Sense checks of adapters on the broker: `[[channel]] kind = "amqp"`.

use super::{At, Checker, Config, Key};
use ark_channels::AMQP;

impl Checker<'_> {
    /// Of the channel at this place: it needs a broker, and a user there that is nobody else's.
    pub(super) fn on_the_broker(&mut self, config: &Config, index: usize) {
        let channel = &config.channel[index];
        if channel.kind != AMQP || !channel.enabled {
            return;
        }
        let at = |key| [Key("channel"), At(index), Key(key)];
        if !config.bus.is_broker() {
            self.error(
                &at("kind"),
                "an adapter of kind \"amqp\" needs RabbitMQ, and [bus] url is \"embedded:\"",
                "set [bus] url = \"amqp://USER@HOST:5672/VHOST\" (docs/bus.md), or join the adapter by HTTP: kind = \"http\"",
            );
        }
        let user = |index: usize| config.channel[index].settings.get("user").and_then(serde_json::Value::as_str);
        let Some(own) = user(index) else { return };
        let twin = (0..index).find(|&other| {
            let channel = &config.channel[other];
            channel.kind == AMQP && channel.enabled && user(other) == Some(own)
        });
        if let Some(twin) = twin {
            let message = format!("`{own}` is the user of [[channel]] `{}` already", config.channel[twin].name);
            self.error(&at("settings"), message, "give each adapter a user of its own: it tells whose a message is");
        }
        let gateway = ark_bus::Broker::parse(config.bus.url.reveal());
        if config.bus.is_broker() && gateway.is_ok_and(|broker| broker.user() == own) {
            let message = format!("`{own}` is the gateway's own user on the broker");
            let help = "make one for the adapter, with the permissions that `ark bus plan` prints";
            self.error(&at("settings"), message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// What is said of a site with the adapter `shop` and these lines more; nothing: it is fine.
    fn said(bus: &str, user: &str, more: &str) -> String {
        let one = |name: &str| {
            format!("[[channel]]\nname = \"{name}\"\nkind = \"amqp\"\nsettings = {{ user = \"{user}\" }}\n")
        };
        let more = if more.is_empty() { String::new() } else { one(more) };
        let text = format!("[bus]\nurl = \"{bus}\"\n{}{more}", one("shop"));
        Config::parse(&text, "ark.toml").map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn an_adapter_on_the_broker_needs_a_broker_and_a_user_of_its_own() {
        let broker = "amqp://ark@127.0.0.1:5672/ark";
        assert_eq!(said(broker, "ark-shop", ""), "");
        let embedded = said("embedded:", "ark-shop", "");
        assert!(embedded.contains("needs RabbitMQ") && embedded.contains("amqp://USER@HOST"), "{embedded}");
        let twin = said(broker, "ark-shop", "bank");
        assert!(twin.contains("is the user of [[channel]] `shop` already"), "{twin}");
        let gateway = said(broker, "ark", "");
        assert!(gateway.contains("the gateway's own user"), "{gateway}");
        let dotted = said(broker, "ark-shop", "a.b");
        assert!(dotted.contains("ark.out.NAME"), "{dotted}");
    }
}
