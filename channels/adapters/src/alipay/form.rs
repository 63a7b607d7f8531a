//! Forms whose charset stands in one of their fields.

/// The pairs of a form, as bytes: their charset stands in one of them. A `%` that begins no byte stays as it is.
pub(crate) fn form(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |pair: &[u8]| {
        let (name, value) = pair.iter().position(|b| *b == b'=').map_or((pair, &b""[..]), |at| {
            let (name, value) = pair.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        });
        (unescape(name), unescape(value))
    };
    body.split(|b| *b == b'&').filter(|one| !one.is_empty()).map(pair).collect()
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match (byte, hex(text.get(at)), hex(text.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two hex digits"));
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_bytes_and_escaping_goes_both_ways() {
        let pairs = form(b"a=%C4%E3+x&b&=c&%zz=1%&&d=1=2");
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(
            pairs,
            [pair(b"a", b"\xc4\xe3 x"), pair(b"b", b""), pair(b"", b"c"), pair(b"%zz", b"1%"), pair(b"d", b"1=2")]
        );
        assert_eq!(crate::wire::escape("tk/+=你"), "tk%2F%2B%3D%E4%BD%A0");
        assert_eq!(unescape(crate::wire::escape("tk/+=你").as_bytes()), "tk/+=你".as_bytes());
    }
}
