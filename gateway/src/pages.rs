//! Lists of the store that do not fit into one answer, page by page.

use ark_conversation::{ConversationKind, ConversationState, Tenant};
use ark_store::{ListFilter, Store, StoreError, limits};

/// Conversations of a tenant that a filter lets through, the newest first.
pub(crate) struct Pages<'a> {
    store: &'a dyn Store,
    tenant: &'a Tenant,
    /// What is still to be read; the last one now.
    filters: Vec<ListFilter>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(store: &'a dyn Store, tenant: &'a Tenant, filter: ListFilter) -> Self {
        Self { store, tenant, filters: vec![filter] }
    }

    /// After them the system's own log, which a list without a kind leaves out.
    pub(crate) fn with_system(store: &'a dyn Store, tenant: &'a Tenant, filter: ListFilter) -> Self {
        let system = ListFilter { kind: Some(ConversationKind::System), ..filter.clone() };
        Self { store, tenant, filters: vec![system, filter] }
    }

    /// The next page, at most [`limits::LIST_MAX`] and sometimes empty; none after the last.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<ConversationState>>, StoreError> {
        let Some(filter) = self.filters.last_mut() else { return Ok(None) };
        let page = self.store.list(self.tenant, filter.clone(), limits::LIST_MAX).await?;
        match page.next {
            Some(next) => filter.before = Some(next),
            None => drop(self.filters.pop()),
        }
        Ok(Some(page.conversations))
    }
}
