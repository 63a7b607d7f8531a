//! Where a channel may call.

/// The hosts that a channel may call: names (`api.dingtalk.com`), or all below one (`*.dingtalk.com`).
///
/// Every address that came in a message is checked with it before it is called, and again on each redirect. A name that
/// is allowed still may not lead to an address inside the house; the host checks that after looking it up.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These. `http://` before a name allows plain HTTP to it, and a port: for providers' fakes on loopback.
    #[must_use]
    pub fn new(hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect())
    }

    /// As they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether this address may be called: `https` (or `wss`) on port 443 to one of the names, without a user in it.
    #[must_use]
    pub fn allow(&self, url: &str) -> bool {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains(['@', '\\', '%']) || authority.bytes().any(|b| b <= b' ') {
            return false;
        }
        let authority = authority.to_ascii_lowercase();
        match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => {
                let name = authority.strip_suffix(":443").unwrap_or(&authority);
                self.0.iter().any(|host| {
                    host.strip_prefix("*.").map_or(host == name, |below| {
                        name.strip_suffix(below)
                            .and_then(|rest| rest.strip_suffix('.'))
                            .is_some_and(|rest| !rest.is_empty())
                    })
                })
            }
            "http" | "ws" => self.0.iter().any(|host| host.strip_prefix("http://") == Some(&authority)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_over_tls_may_be_called() {
        let hosts = Hosts::new(["*.dingtalk.com", "api.weixin.qq.com", "http://127.0.0.1:9000"]);
        for url in [
            "https://oapi.dingtalk.com/robot/sendBySession?session=1",
            "https://OAPI.dingtalk.com:443/",
            "wss://wss-open-connection.dingtalk.com/connect",
            "https://api.weixin.qq.com",
            "http://127.0.0.1:9000/fake",
        ] {
            assert!(hosts.allow(url), "{url}");
        }
        for url in [
            "http://oapi.dingtalk.com/",
            "https://dingtalk.com/",
            "https://oapi.dingtalk.com.evil.example/",
            "https://evil.example/?oapi.dingtalk.com",
            "https://evil.example#.dingtalk.com",
            "https://evildingtalk.com/",
            "https://api.weixin.qq.com@evil.example/",
            "https://evil.example\\@oapi.dingtalk.com/",
            "https://oapi.dingtalk.com:8443/",
            "http://127.0.0.1:9001/",
            "https://127.0.0.1:9000/",
            "file:///etc/passwd",
            "//oapi.dingtalk.com/",
            "https://",
        ] {
            assert!(!hosts.allow(url), "{url}");
        }
    }
}
