//! Customers' files at WeChat and WeCom: by an address where there is one, else by their media id and the token.

use std::collections::BTreeMap;

use ark_conversation::channel::{Body, FetchFailure, FetchId, FileKind, Hosts, HttpCall, Method, Out};
use ark_conversation::event::Media;
use jiff::Timestamp;

use crate::base::Base;
use crate::inbox::{Inbox, Missing, Slot};
use crate::limits::{FETCHES_MAX, TOKEN_WAIT};
use crate::tokens::Tokens;
use crate::wire;

struct Job {
    kind: FileKind,
    name: Option<String>,
    media_id: Option<String>,
    /// Until when a token is waited for; none: the file is on its way.
    until: Option<Timestamp>,
}

/// Files that are on their way.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<FetchId, Job>);

/// Where a file is said to be.
pub(crate) struct Named {
    pub(crate) kind: FileKind,
    pub(crate) media_id: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) words: Option<String>,
}

impl Files {
    /// Begins to fetch a file. Its address is used when it may be called; pictures' addresses come with `http:` and are asked
    /// for with `https:`.
    pub(crate) fn slot(
        &mut self,
        base: &mut Base,
        now: Timestamp,
        hosts: &Hosts,
        named: Named,
        native_type: &str,
    ) -> Slot {
        let Named { kind, media_id, url, name, words } = named;
        let reference = media_id.as_deref().or(url.as_deref()).unwrap_or("-");
        let missing =
            Missing { kind, native_type: native_type.to_owned(), native_ref: format!("wechat:{reference}"), words };
        if self.0.len() >= FETCHES_MAX || (media_id.is_none() && url.is_none()) {
            return missing.too_many();
        }
        let fetch = base.next_id();
        let url = url.and_then(|url| {
            let safe = url.strip_prefix("http://").map_or_else(|| url.clone(), |rest| format!("https://{rest}"));
            [safe, url].into_iter().find(|url| hosts.allow(url))
        });
        let until = match url {
            Some(url) => {
                let from = Box::new(wire::again(wire::call(Method::Get, url, Body::Empty)));
                base.push(Out::Fetch { fetch, from, what: kind, name: name.clone() });
                None
            }
            None => Some(now + TOKEN_WAIT),
        };
        self.0.insert(fetch, Job { kind, name, media_id, until });
        Slot::Fetch(fetch, missing)
    }

    /// What became of a file: one that was not at its address is asked for by its media id.
    pub(crate) fn fetched(
        &mut self,
        base: &mut Base,
        inbox: &mut Inbox,
        now: Timestamp,
        fetch: FetchId,
        answer: Result<Media, FetchFailure>,
    ) {
        if let Some(job) = self.0.get_mut(&fetch)
            && matches!(answer, Err(FetchFailure::Away(_) | FetchFailure::Forbidden))
            && job.media_id.is_some()
            && job.until.is_none()
        {
            job.until = Some(now + TOKEN_WAIT);
            return;
        }
        self.0.remove(&fetch);
        inbox.fetched(base, now, fetch, answer);
    }

    /// Goes on with those that wait for a token. `download` makes the call for a media id.
    pub(crate) fn go_on(
        &mut self,
        base: &mut Base,
        inbox: &mut Inbox,
        tokens: &mut Tokens,
        now: Timestamp,
        download: impl Fn(&str, &str) -> HttpCall,
    ) {
        let mut over = Vec::new();
        for (fetch, job) in &mut self.0 {
            let Some(until) = job.until else { continue };
            match (tokens.get(now), &job.media_id) {
                (Some(token), Some(media_id)) => {
                    let from = Box::new(download(media_id, token));
                    base.push(Out::Fetch { fetch: *fetch, from, what: job.kind, name: job.name.clone() });
                    (job.until, job.media_id) = (None, None);
                }
                (None, Some(_)) if until > now => tokens.need(base, now),
                _ => over.push(*fetch),
            }
        }
        for fetch in over {
            self.0.remove(&fetch);
            inbox.fetched(base, now, fetch, Err(FetchFailure::Away("no access token".to_owned())));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|job| job.until).min()
    }
}
