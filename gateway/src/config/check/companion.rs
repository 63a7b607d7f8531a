//! Sense checks of `[companion]` and `[sms]`.

use super::{Checker, Config, Key};
use crate::webhooks::reach::Place;

impl Checker<'_> {
    pub(super) fn survey(&mut self, config: &Config) {
        if let Some((key, what)) = config.survey.as_ref().and_then(super::super::Survey::wrong) {
            self.error(&[Key("survey"), Key(key)], what, "leave it out for the usual words");
        }
        if config.survey.as_ref().is_some_and(|survey| survey.sms) && config.sms.is_none() {
            let what = "no short messages can be sent".to_owned();
            self.error(&[Key("survey"), Key("sms")], what, "set [sms], or leave `sms` out");
        }
    }

    pub(super) fn companion(&mut self, config: &Config) {
        let companion = &config.companion;
        if let Some(url) = &companion.url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.trim_end_matches('/').contains('/')) {
                let path = [Key("companion"), Key("url")];
                self.error(
                    &path,
                    format!("`{url}` is not an origin"),
                    "write scheme and host only: \"https://k.example\"",
                );
            }
        }
        if !companion.sms_text.contains("{url}") {
            let path = [Key("companion"), Key("sms_text")];
            self.error(&path, "the short message does not hold the link", "write {url} where it belongs");
        }
        if let Some(hook) = &companion.app_hook {
            let at = |key| [Key("companion"), Key("app_hook"), Key(key)];
            match Place::parse(&hook.url) {
                Err(error) => self.error(&at("url"), error, "for example url = \"https://app.example/ark-link\""),
                Ok(place) => self.webhook_place(&at("url"), &place, hook.allow_private),
            }
            if let Err(error) = crate::companion::AppHook::build(hook) {
                self.error(&at("secrets"), error, "secrets = [{ file = \"secrets/app-hook\" }]");
            }
        }
        self.sms(config);
        if let Some((key, why)) = config.oidc.as_ref().and_then(|oidc| oidc.wrong()) {
            self.error(&[Key("oidc"), Key(key)], why, "docs/accounts.md has an example");
        }
    }

    fn sms(&mut self, config: &Config) {
        let Some(sms) = &config.sms else { return };
        if sms.allow.is_empty() {
            let path = [Key("sms"), Key("allow")];
            self.error(&path, "no number may be written to", "name what they begin with: allow = [\"+861\"]");
        }
        for prefix in &sms.allow {
            let fits = prefix
                .strip_prefix('+')
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
            if !fits {
                let path = [Key("sms"), Key("allow")];
                self.error(&path, format!("`{prefix}` begins no number"), "write `+` and digits: \"+861\"");
            }
        }
        if sms.http.is_some() == sms.smpp.is_some() {
            let help = "add one of [sms.http] and [sms.smpp]";
            self.error(&[Key("sms")], "[sms] does not say how messages are sent", help);
            return;
        }
        if let Err(error) = crate::sms::Sms::new(sms) {
            let key = if sms.http.is_some() { "http" } else { "smpp" };
            self.error(&[Key("sms"), Key(key)], error, "docs/companion.md has an example of each");
        }
    }
}
