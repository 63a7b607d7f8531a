//! Sense checks of `[[queue]] overflow`.

use super::{At, Checker, Config, Key, nearest};
use crate::config::Queue;

impl Checker<'_> {
    /// Where who waits too long goes on is another queue, and the way never leads back.
    pub(super) fn overflow(&mut self, config: &Config, index: usize, queue: &Queue) {
        let path = [Key("queue"), At(index), Key("overflow")];
        let Some(to) = &queue.overflow else { return };
        if queue.overflow_after.is_none() {
            let help = "say after how long: overflow_after = \"2m\"";
            return self.error(&path, "`overflow` without `overflow_after` moves nobody", help);
        }
        let next = |name: &str| config.queue.iter().find(|one| one.name == name);
        if next(to).is_none() {
            let help = match nearest(to, config.queue.iter().map(|queue| queue.name.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add a [[queue]] of this name".to_owned(),
            };
            return self.error(&path, format!("there is no queue `{to}`"), help);
        }
        let mut way = vec![queue.name.as_str()];
        let mut at = to.as_str();
        // Each queue once: a way that is longer than the list of queues has met one twice.
        while way.len() <= config.queue.len() {
            way.push(at);
            if at == queue.name {
                let way = way.join(" -> ");
                let help = "let one of them end the way: take its `overflow` out";
                return self.error(&path, format!("customers would go round for ever: {way}"), help);
            }
            match next(at).and_then(|queue| queue.overflow.as_deref()) {
                Some(further) => at = further,
                None => return,
            }
        }
    }
}
