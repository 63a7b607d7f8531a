//! CloudEvents sources: where an event comes from.

use std::fmt;
use std::str::FromStr;

use crate::digest::Hash;
use crate::id::{ConversationId, Tenant};
use crate::limits::{CALL_ID_BYTES_MAX, SOURCE_BYTES_MAX};

/// The source of a call's events: `/ark/{tenant}/sip/{trunk}/{call-id}`.
///
/// What is not allowed in a path is escaped with `%`; of a Call-ID longer than [`CALL_ID_BYTES_MAX`] the beginning
/// and a hash stay.
#[must_use]
pub fn call(tenant: &Tenant, trunk: &str, call_id: &[u8]) -> String {
    let mut source = String::with_capacity(96);
    source.push_str("/ark/");
    source.push_str(tenant.as_str());
    source.push_str("/sip/");
    escape(&mut source, trunk.as_bytes().get(..64).unwrap_or(trunk.as_bytes()));
    source.push('/');
    escape(&mut source, call_id.get(..CALL_ID_BYTES_MAX).unwrap_or(call_id));
    if call_id.len() > CALL_ID_BYTES_MAX {
        source.push_str(&format!("~{:016x}", fnv1a(call_id)));
    }
    source
}

/// The source of the events of a browser's call: `/ark/{tenant}/webrtc/{call-id}`, escaped and cut as in [`call`].
#[must_use]
pub fn web(tenant: &Tenant, call_id: &[u8]) -> String {
    let mut source = String::with_capacity(96);
    source.push_str("/ark/");
    source.push_str(tenant.as_str());
    source.push_str("/webrtc/");
    escape(&mut source, call_id.get(..CALL_ID_BYTES_MAX).unwrap_or(call_id));
    if call_id.len() > CALL_ID_BYTES_MAX {
        source.push_str(&format!("~{:016x}", fnv1a(call_id)));
    }
    source
}

/// The source of what a gateway does itself (plans, gaps): `/ark/{tenant}/gateway/{id}/{subject}`.
#[must_use]
pub fn gateway(tenant: &Tenant, gateway: &str, subject: &str) -> String {
    let mut source = format!("/ark/{tenant}/gateway/");
    escape(&mut source, gateway.as_bytes().get(..64).unwrap_or(gateway.as_bytes()));
    source.push('/');
    escape(&mut source, subject.as_bytes().get(..64).unwrap_or(subject.as_bytes()));
    source
}

/// The source of what a conversation itself writes (ownership, sessions, messages out):
/// `/ark/{tenant}/conversation/{conversation}`.
///
/// A message's key is its event's id, so the log's own rule (one event for each tenant, source and id) keeps a key from
/// being written twice in one conversation.
#[must_use]
pub fn conversation(tenant: &Tenant, conversation: ConversationId) -> String {
    format!("/ark/{tenant}/conversation/{conversation}")
}

/// The source of a thread's events, as the adapter standard asks: `/ark/{tenant}/{adapter}/{account}/{thread}`.
///
/// What a path does not allow is escaped with `%`.
#[must_use]
pub fn thread(tenant: &Tenant, adapter: &str, account: &str, thread: &str) -> String {
    let mut source = format!("/ark/{tenant}");
    for part in [adapter, account, thread] {
        source.push('/');
        escape(&mut source, part.as_bytes());
    }
    source
}

/// The adapter's name in the sources of companion links: pages for pictures and words during a call.
pub const COMPANION: &str = "companion";

/// The source of all that belongs to a companion link: the thread is its name.
#[must_use]
pub fn link(tenant: &Tenant, link: Hash) -> String {
    thread(tenant, COMPANION, "link", &link.to_string())
}

/// The source of a conversation's survey that is asked by a link, so that the log takes one question and one answer of it.
#[must_use]
pub fn survey(tenant: &Tenant, conversation: ConversationId) -> String {
    format!("/ark/{tenant}/survey/{conversation}")
}

/// The source of a spoken code; the thread is the hash of the code and of what else must be known with it.
#[must_use]
pub fn link_code(tenant: &Tenant, code: Hash) -> String {
    thread(tenant, COMPANION, "code", &code.to_string())
}

/// A thread's source in its parts, unescaped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ThreadSource {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The adapter: `dingtalk`, `web`.
    pub adapter: String,
    /// The account within it: a robot, an app.
    pub account: String,
    /// The channel's own name of the thread.
    pub thread: String,
}

/// Why a string is no thread's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a thread's source: /ark/TENANT/ADAPTER/ACCOUNT/THREAD of at most {SOURCE_BYTES_MAX} bytes is expected")]
pub struct SourceError;

impl fmt::Display for ThreadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&thread(&self.tenant, &self.adapter, &self.account, &self.thread))
    }
}

impl fmt::Debug for ThreadSource {
    /// Without the thread, which on many channels is a person's id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/ark/{}/{}/{}/...", self.tenant, self.adapter, self.account)
    }
}

impl FromStr for ThreadSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let rest = text.strip_prefix("/ark/").filter(|_| text.len() <= SOURCE_BYTES_MAX).ok_or(SourceError)?;
        let mut parts = rest.splitn(4, '/');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(SourceError);
        let tenant = Tenant::new(next()?).map_err(|_| SourceError)?;
        let (adapter, account, thread) = (unescape(next()?)?, unescape(next()?)?, unescape(next()?)?);
        Ok(Self { tenant, adapter, account, thread })
    }
}

/// Reads `%XX`; what is no UTF-8 then is refused.
fn unescape(text: &str) -> Result<String, SourceError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).ok_or(SourceError)?;
            let plain = hex.bytes().all(|b| b.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(hex, 16).ok().filter(|_| plain).ok_or(SourceError)?);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| SourceError)
}

/// Appends the bytes that RFC 3986 3.3 allows in a path segment as they are (`%` and `~` excepted), the others as
/// `%XX`.
fn escape(out: &mut String, bytes: &[u8]) {
    if bytes.is_empty() {
        out.push('-');
    }
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(*byte)),
            b'-' | b'.' | b'_' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':'
            | b'@' => {
                out.push(char::from(*byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// FNV-1a, 64 bits: a short name for a long Call-ID. Not a secret and no proof: events are told apart by their ids.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SOURCE_BYTES_MAX;

    #[test]
    fn a_calls_source_names_tenant_trunk_and_call() {
        assert_eq!(call(&Tenant::MAIN, "carrier", b"a84b4c76e66710@pc33"), "/ark/main/sip/carrier/a84b4c76e66710@pc33");
        assert_eq!(call(&Tenant::MAIN, "carrier", b"a/b %\xff"), "/ark/main/sip/carrier/a%2Fb%20%25%FF");
        assert_eq!(call(&Tenant::MAIN, "", b""), "/ark/main/sip/-/-");
        assert_eq!(gateway(&Tenant::MAIN, "gw1", "plans"), "/ark/main/gateway/gw1/plans");
    }

    #[test]
    fn a_threads_source_reads_as_it_was_written() {
        let written = thread(&Tenant::MAIN, "dingtalk", "dingrobot", "cid/A A==界");
        assert_eq!(written, "/ark/main/dingtalk/dingrobot/cid%2FA%20A==%E7%95%8C");
        let source: ThreadSource = written.parse().unwrap();
        assert_eq!((source.thread.as_str(), source.to_string()), ("cid/A A==界", written));
        let plain: ThreadSource = "/ark/t1/wechat/wx1/o6_/x".parse().unwrap();
        assert_eq!(plain.thread, "o6_/x", "a slash within the thread belongs to it");
        for text in
            ["", "/ark/t1/a/b", "/ark/t1/a/b/", "/ark/T1/a/b/c", "/ark/t1/a//c", "/ark/t1/a/b/%+1", "/ark/t1/a/b/%FF"]
        {
            assert_eq!(text.parse::<ThreadSource>(), Err(SourceError), "{text}");
        }
        assert!(!format!("{plain:?}").contains("o6_"));
    }

    #[test]
    fn a_hostile_call_id_stays_within_the_bound() {
        let (a, b) = (vec![0xff; 60_000], vec![0xff; 60_001]);
        let (a, b) = (call(&Tenant::MAIN, &"界".repeat(100), &a), call(&Tenant::MAIN, &"界".repeat(100), &b));
        assert!(a.len() <= SOURCE_BYTES_MAX && a != b);
    }
}
