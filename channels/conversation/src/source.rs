//! CloudEvents sources: where an event comes from.

use crate::id::Tenant;
use crate::limits::CALL_ID_BYTES_MAX;

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

/// The source of what a gateway does itself (plans, gaps): `/ark/{tenant}/gateway/{id}/{subject}`.
#[must_use]
pub fn gateway(tenant: &Tenant, gateway: &str, subject: &str) -> String {
    let mut source = format!("/ark/{tenant}/gateway/");
    escape(&mut source, gateway.as_bytes().get(..64).unwrap_or(gateway.as_bytes()));
    source.push('/');
    escape(&mut source, subject.as_bytes().get(..64).unwrap_or(subject.as_bytes()));
    source
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
    fn a_hostile_call_id_stays_within_the_bound() {
        let (a, b) = (vec![0xff; 60_000], vec![0xff; 60_001]);
        let (a, b) = (call(&Tenant::MAIN, &"界".repeat(100), &a), call(&Tenant::MAIN, &"界".repeat(100), &b));
        assert!(a.len() <= SOURCE_BYTES_MAX && a != b);
    }
}
