//! Who is connected, and who is to look into the log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_bus::{Bus, Filter, Missed};
use ark_conversation::event::PartyRole;
use ark_conversation::live::Live;
use ark_conversation::{ConversationId, Record};
use tokio::sync::Notify;

use super::limits::{SOCKETS_OF_ADDRESS_MAX, SOCKETS_OF_VISITOR_MAX, UPLOADS_OF_ADDRESS_MAX};

/// What one page's task is told: there is something to look at.
#[derive(Default)]
pub(super) struct Poke {
    pub(super) notify: Notify,
    /// The thread may belong to another conversation now.
    pub(super) moved: AtomicBool,
    /// Whether somebody of the house types; none: nothing was said.
    pub(super) typing: Mutex<Option<bool>>,
}

/// Connected pages by thread and by conversation.
#[derive(Default)]
pub(super) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    threads: HashMap<String, Vec<Arc<Poke>>>,
    conversations: HashMap<ConversationId, Vec<Arc<Poke>>>,
    addresses: HashMap<String, usize>,
    uploads: HashMap<String, usize>,
}

/// A file's place among those of its address; dropping it gives it back.
pub(super) struct Uploading {
    registry: Arc<Registry>,
    address: String,
}

impl Drop for Uploading {
    fn drop(&mut self) {
        one_less(&mut self.registry.lock().uploads, &self.address);
    }
}

fn one_less(counts: &mut HashMap<String, usize>, of: &str) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// A page's place in the registry; dropping it gives it back.
pub(super) struct Registered {
    registry: Arc<Registry>,
    source: String,
    address: String,
    conversation: Option<ConversationId>,
    pub(super) poke: Arc<Poke>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a page; none: too many of this visitor or address are there.
    pub(super) fn join(self: &Arc<Self>, source: &str, address: &str) -> Option<Registered> {
        let mut tables = self.lock();
        let here = tables.threads.get(source).map_or(0, Vec::len);
        let of_address = tables.addresses.get(address).copied().unwrap_or(0);
        if here >= SOCKETS_OF_VISITOR_MAX || of_address >= SOCKETS_OF_ADDRESS_MAX {
            return None;
        }
        let poke = Arc::new(Poke::default());
        tables.threads.entry(source.to_owned()).or_default().push(Arc::clone(&poke));
        tables.addresses.insert(address.to_owned(), of_address + 1);
        drop(tables);
        let (source, address) = (source.to_owned(), address.to_owned());
        Some(Registered { registry: Arc::clone(self), source, address, conversation: None, poke })
    }

    /// A place for a file; none: too many of this address are on their way.
    pub(super) fn upload(self: &Arc<Self>, address: &str) -> Option<Uploading> {
        let mut tables = self.lock();
        let count = tables.uploads.entry(address.to_owned()).or_default();
        if *count >= UPLOADS_OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        drop(tables);
        Some(Uploading { registry: Arc::clone(self), address: address.to_owned() })
    }

    /// A record was committed.
    fn tell(&self, record: &Record) {
        let tables = self.lock();
        for poke in tables.conversations.get(&record.conversation).into_iter().flatten() {
            poke.notify.notify_one();
        }
        for poke in tables.threads.get(&record.event.source).into_iter().flatten() {
            poke.moved.store(true, Ordering::Relaxed);
            poke.notify.notify_one();
        }
    }

    /// Records may have been missed.
    fn tell_all(&self) {
        for poke in self.lock().threads.values().flatten() {
            poke.moved.store(true, Ordering::Relaxed);
            poke.notify.notify_one();
        }
    }

    fn types(&self, conversation: ConversationId, on: bool) {
        for poke in self.lock().conversations.get(&conversation).into_iter().flatten() {
            *poke.typing.lock().unwrap_or_else(PoisonError::into_inner) = Some(on);
            poke.notify.notify_one();
        }
    }
}

impl Registered {
    /// From now on it is told of that conversation.
    pub(super) fn follow(&mut self, conversation: ConversationId) {
        if self.conversation == Some(conversation) {
            return;
        }
        let mut tables = self.registry.lock();
        if let Some(before) = self.conversation.replace(conversation) {
            leave(&mut tables.conversations, &before, &self.poke);
        }
        tables.conversations.entry(conversation).or_default().push(Arc::clone(&self.poke));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut tables = self.registry.lock();
        leave(&mut tables.threads, &self.source, &self.poke);
        if let Some(conversation) = self.conversation {
            leave(&mut tables.conversations, &conversation, &self.poke);
        }
        one_less(&mut tables.addresses, &self.address);
    }
}

fn leave<K: std::hash::Hash + Eq>(table: &mut HashMap<K, Vec<Arc<Poke>>>, key: &K, poke: &Arc<Poke>) {
    if let Some(pokes) = table.get_mut(key) {
        pokes.retain(|one| !Arc::ptr_eq(one, poke));
        if pokes.is_empty() {
            table.remove(key);
        }
    }
}

/// Listens for all pages, until the bus is closed.
pub(super) async fn listen(bus: Arc<dyn Bus>, registry: Arc<Registry>) {
    let Ok(mut records) = bus.subscribe(Filter::default()).await else { return };
    let Ok(mut lives) = bus.overhear() else { return };
    drop(bus);
    loop {
        tokio::select! {
            record = records.next() => match record {
                Ok(record) => registry.tell(&record),
                Err(Missed::Lagged { .. }) => registry.tell_all(),
                Err(Missed::Closed) => return,
            },
            live = lives.next() => match live {
                Ok(live) => if let Live::Typing(typing) = &live.event
                    && typing.sender.role != PartyRole::Customer
                {
                    registry.types(typing.conversation, typing.on);
                },
                Err(Missed::Lagged { .. }) => {}
                Err(Missed::Closed) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_and_an_address_have_so_many_places_and_give_them_back() {
        let registry = Arc::new(Registry::default());
        let of_one: Vec<_> = (0..SOCKETS_OF_VISITOR_MAX).map(|_| registry.join("t", "a").unwrap()).collect();
        assert!(registry.join("t", "a").is_none(), "of one visitor");
        let others: Vec<_> =
            (of_one.len()..SOCKETS_OF_ADDRESS_MAX).map(|n| registry.join(&format!("t{n}"), "a").unwrap()).collect();
        assert!(registry.join("x", "a").is_none() && registry.join("x", "b").is_some(), "of one address");
        drop((of_one, others));
        let mut one = registry.join("t", "a").unwrap();
        one.follow(ConversationId::new(1, 1));
        one.follow(ConversationId::new(1, 2));
        assert_eq!(registry.lock().conversations.len(), 1);
        drop(one);
        let files: Vec<_> = (0..UPLOADS_OF_ADDRESS_MAX).map(|_| registry.upload("a").unwrap()).collect();
        assert!(registry.upload("a").is_none() && registry.upload("b").is_some());
        drop(files);
        let tables = registry.lock();
        assert!(tables.threads.is_empty() && tables.conversations.is_empty() && tables.addresses.is_empty());
        assert!(tables.uploads.is_empty());
    }
}
