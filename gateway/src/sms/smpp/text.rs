//! Words as short messages carry them: the GSM alphabet where it suffices, UCS-2 else, in parts that a phone joins.

/// `data_coding` (SMPP 3.4, 5.2.19): the centre's own, which is GSM's, one letter a byte.
pub(super) const GSM: u8 = 0;
/// UCS-2, as UTF-16BE.
pub(super) const UCS2: u8 = 8;

/// The basic alphabet (3GPP TS 23.038, 6.2.1) by its codes; U+001B leads to the extension.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension (6.2.1.1): a letter and its code after an escape.
const MORE: &[(char, u8)] = &[
    ('\u{c}', 0x0a),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2f),
    ('[', 0x3c),
    ('~', 0x3d),
    (']', 0x3e),
    ('|', 0x40),
    ('€', 0x65),
];
const ESCAPE: u8 = 0x1b;

/// A part of a message, ready to be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) data_coding: u8,
    /// Whether it begins with a user data header.
    pub(super) with_header: bool,
    pub(super) bytes: Vec<u8>,
}

/// Cuts a text into parts: one when it fits (160 letters, or 70 in UCS-2), else several of 153 or 67, which `reference` ties
/// together (3GPP TS 23.040, 9.2.3.24.1). No letter is torn.
pub(super) fn parts(text: &str, reference: u8) -> Vec<Part> {
    let (data_coding, letters, whole, part): (u8, Vec<Vec<u8>>, usize, usize) = match gsm(text) {
        Some(letters) => (GSM, letters, 160, 153),
        None => (UCS2, text.chars().map(utf16).collect(), 140, 134),
    };
    if letters.iter().map(Vec::len).sum::<usize>() <= whole {
        return vec![Part { data_coding, with_header: false, bytes: letters.concat() }];
    }
    let mut bodies: Vec<Vec<u8>> = vec![Vec::new()];
    for letter in letters {
        if bodies.last().is_some_and(|body| body.len() + letter.len() > part) {
            bodies.push(Vec::new());
        }
        if let Some(body) = bodies.last_mut() {
            body.extend_from_slice(&letter);
        }
    }
    let total = u8::try_from(bodies.len()).unwrap_or(u8::MAX);
    let numbered = (1..=total).zip(bodies);
    numbered
        .map(|(number, body)| {
            let mut bytes = vec![5, 0, 3, reference, total, number];
            bytes.extend_from_slice(&body);
            Part { data_coding, with_header: true, bytes }
        })
        .collect()
}

/// Each letter in GSM's alphabet; none when one is not in it.
fn gsm(text: &str) -> Option<Vec<Vec<u8>>> {
    text.chars()
        .map(|letter| {
            let basic = BASIC.chars().position(|one| one == letter && letter != '\u{1b}');
            let more = || MORE.iter().find(|(one, _)| *one == letter).map(|(_, code)| vec![ESCAPE, *code]);
            basic.and_then(|code| u8::try_from(code).ok()).map(|code| vec![code]).or_else(more)
        })
        .collect()
}

fn utf16(letter: char) -> Vec<u8> {
    let mut units = [0; 2];
    letter.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn the_alphabet_has_its_codes() {
        assert_eq!(BASIC.chars().count(), 128);
        let one = |text: &str| parts(text, 1).remove(0);
        assert_eq!(one("@A a€{").bytes, [0x00, 0x41, 0x20, 0x61, 0x1b, 0x65, 0x1b, 0x28]);
        assert_eq!((one("Ärger").data_coding, one("中").data_coding), (GSM, UCS2));
        assert_eq!(one("中😀").bytes, [0x4e, 0x2d, 0xd8, 0x3d, 0xde, 0x00]);
    }

    #[test]
    fn long_texts_go_in_parts_that_belong_together() {
        assert_eq!(parts(&"a".repeat(160), 9).len(), 1);
        let long = parts(&"a".repeat(161), 9);
        assert_eq!(
            (long.len(), &long[0].bytes[..6], &long[1].bytes[..6]),
            (2, &[5, 0, 3, 9, 2, 1][..], &[5, 0, 3, 9, 2, 2][..])
        );
        assert_eq!((long[0].bytes.len(), long[1].bytes.len()), (6 + 153, 6 + 8));
        assert_eq!(parts(&"界".repeat(70), 9).len(), 1);
        assert_eq!(parts(&"界".repeat(71), 9).len(), 2);
        // An escape and its letter, two halves of a letter: never torn.
        let odd = parts(&format!("{}{}", "a".repeat(152), "€".repeat(20)), 9);
        assert_eq!(odd[0].bytes.len(), 6 + 152);
        let faces = parts(&"😀".repeat(60), 9);
        assert!(faces.iter().all(|part| (part.bytes.len() - 6) % 4 == 0), "{faces:?}");
    }

    #[test]
    fn no_part_is_longer_than_a_message_takes() {
        let letters: Vec<char> = "aZ€[\u{1b}é界😀\n".chars().collect();
        for seed in 0..500 {
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let known = random.random_range(1..=letters.len());
            let length = random.random_range(0..600);
            let text: String = (0..length).map(|_| letters[random.random_range(0..known)]).collect();
            for part in parts(&text, 1) {
                let most = if part.data_coding == GSM { 160 } else { 140 };
                assert!(part.bytes.len() <= most, "seed {seed}: {} bytes", part.bytes.len());
            }
        }
    }
}
