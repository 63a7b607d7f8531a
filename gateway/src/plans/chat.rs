//! Which plans have chats: `[[channel]] plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use ark_conversation::Owner;

use super::{Plans, name_in, plan_stem, read};
use crate::actions;
use crate::config::{BUILTIN, Channel, Config};
use crate::conversations::owner::{Ask, ChatPlans, Found};

/// A channel's plan: its name, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPlan {
    /// Its name, in the owner of its conversations (`bot:NAME`).
    pub name: String,
    /// As in `[[hotline]] dialplan`.
    pub dialplan: String,
}

/// Whether `[[channel]] plan` names a file; else it is the name of a plan.
fn is_file(plan: &str) -> bool {
    plan.starts_with(BUILTIN) || plan.contains('/') || plan.ends_with(".toml")
}

/// The name of the plan in a file; of one that cannot be read, what its file is called.
fn name_of(dialplan: &str) -> String {
    let read = read(dialplan).ok().and_then(|text| name_in(&text.source));
    read.unwrap_or_else(|| plan_stem(dialplan))
}

/// The plan that a channel's customers come to; none: they come to a queue.
///
/// # Errors
/// A sentence, when it is a name that no file of the site has.
pub fn plan_of(config: &Config, channel: &Channel) -> Result<Option<ChatPlan>, String> {
    let Some(plan) = &channel.plan else { return Ok(None) };
    if is_file(plan) {
        return Ok(Some(ChatPlan { name: name_of(plan), dialplan: plan.clone() }));
    }
    let hotlines = config.hotline.iter().map(|hotline| &hotline.dialplan);
    let files = config.channel.iter().filter_map(|other| other.plan.as_ref()).filter(|plan| is_file(plan));
    let found = hotlines.chain(files).find(|dialplan| name_of(dialplan) == *plan);
    match found {
        Some(dialplan) => Ok(Some(ChatPlan { name: plan.clone(), dialplan: dialplan.clone() })),
        None => Err(format!("no [[hotline]] and no [[channel]] has a file with the plan `{plan}`")),
    }
}

/// The files of the plans that have chats.
#[must_use]
pub fn dialplans(config: &Config) -> BTreeSet<String> {
    let plans = config.channel.iter().filter(|channel| channel.enabled);
    plans.filter_map(|channel| plan_of(config, channel).ok().flatten()).map(|plan| plan.dialplan).collect()
}

/// Who owns what a customer opens by writing, by channel: its plan, else its queue. Channels that say nothing are left out.
#[must_use]
pub fn openings(config: &Config) -> BTreeMap<(String, String), Owner> {
    let opening = |channel: &Channel| {
        let plan = plan_of(config, channel).ok().flatten().map(|plan| Owner::Bot(plan.name));
        let owner = plan.or_else(|| channel.queue.clone().map(Owner::Queue))?;
        Some(((channel.kind.clone(), channel.name.clone()), owner))
    };
    config.channel.iter().filter_map(opening).collect()
}

/// What chats' plans work with, before there are plans: `plans` is set when they are there.
#[must_use]
pub fn chat_plans(config: &Arc<Config>, plans: &Arc<OnceLock<Arc<Plans>>>) -> ChatPlans {
    let (shelf, site) = (Arc::clone(plans), Arc::clone(config));
    let queue = |channel: &Channel| Some(((channel.kind.clone(), channel.name.clone()), channel.queue.clone()?));
    ChatPlans {
        live: Arc::new(move |name| match shelf.get() {
            None => Found::Soon,
            Some(plans) => plans.live(name).map_or(Found::Nothing, |(plan, version)| Found::Live(plan, version)),
        }),
        ask: Arc::new(move |asked: &Ask| actions::ask_for_chat(&site, asked)),
        queues: config.channel.iter().filter_map(queue).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_named_by_its_file_or_by_the_name_that_a_hotline_has() {
        let config = |plan: &str| {
            let text = format!(
                "[[hotline]]\nnumber = \"95188\"\ndialplan = \"builtin:hotline-95188\"\n\
                 [[queue]]\nname = \"general\"\noperators = []\n\
                 [[channel]]\nname = \"web\"\nkind = \"web\"\nqueue = \"general\"\n{plan}"
            );
            toml::from_str::<Config>(&text).unwrap()
        };
        let both = ChatPlan { name: "hotline-95188".to_owned(), dialplan: "builtin:hotline-95188".to_owned() };
        for plan in ["plan = \"hotline-95188\"", "plan = \"builtin:hotline-95188\""] {
            let config = config(plan);
            assert_eq!(plan_of(&config, &config.channel[0]).unwrap(), Some(both.clone()));
            assert_eq!(openings(&config).into_values().next(), Some(Owner::Bot("hotline-95188".to_owned())));
            assert_eq!(dialplans(&config).len(), 1);
        }
        let nothing = config("");
        assert_eq!(plan_of(&nothing, &nothing.channel[0]).unwrap(), None);
        assert_eq!(openings(&nothing).into_values().next(), Some(Owner::Queue("general".to_owned())));
        let wrong = config("plan = \"hotlin\"");
        assert!(plan_of(&wrong, &wrong.channel[0]).unwrap_err().contains("hotlin"));
    }
}
