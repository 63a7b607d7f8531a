//! The public models of whisper in ggml's format: names, sizes and checksums as their publisher states them.
//!
//! Source: `models/README.md` of ggml-org/whisper.cpp (commit 41e789e), the table "Available models". The publisher states SHA-1,
//! which finds a damaged or exchanged download; who must be sure of more pins a file's SHA-256 (`[speech] sha256`).

/// Where the publisher keeps them: `{base}/ggml-{name}.bin`.
pub const BASE: &str = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main";
/// Where that one is kept that tells speakers apart.
const TDRZ_BASE: &str = "https://huggingface.co/akashmjn/tinydiarize-whisper.cpp/resolve/main";

/// A model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// On disk, as the publisher rounds it.
    pub size: &'static str,
    /// Of the file, 40 hexadecimal digits.
    pub sha1: &'static str,
}

impl Known {
    /// Whether it knows other languages than English.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        !self.name.contains(".en")
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("ggml-{}.bin", self.name)
    }

    /// Where it can be fetched, from another place than the publisher's if one is named.
    #[must_use]
    pub fn url(&self, base: Option<&str>) -> String {
        let own = if self.name.ends_with("-tdrz") { TDRZ_BASE } else { BASE };
        format!("{}/{}", base.unwrap_or(own).trim_end_matches('/'), self.file())
    }

    /// The least and the most bytes that the stated size can mean.
    #[must_use]
    pub fn bytes(&self) -> std::ops::RangeInclusive<u64> {
        let (number, unit) = self.size.split_once(' ').unwrap_or((self.size, "MiB"));
        let unit = if unit == "GiB" { 1_u64 << 30 } else { 1 << 20 };
        let tenths = (number.parse::<f64>().unwrap_or(0.0) * 10.0) as u64;
        let step = if number.contains('.') { 1 } else { 10 };
        tenths.saturating_sub(step) * unit / 10..=(tenths + step) * unit / 10
    }
}

const fn known(name: &'static str, size: &'static str, sha1: &'static str) -> Known {
    Known { name, size, sha1 }
}

/// All that the publisher's table has.
pub const MODELS: [Known; 16] = [
    known("tiny", "75 MiB", "bd577a113a864445d4c299885e0cb97d4ba92b5f"),
    known("tiny.en", "75 MiB", "c78c86eb1a8faa21b369bcd33207cc90d64ae9df"),
    known("base", "142 MiB", "465707469ff3a37a2b9b8d8f89f2f99de7299dac"),
    known("base.en", "142 MiB", "137c40403d78fd54d454da0f9bd998f78703390c"),
    known("small", "466 MiB", "55356645c2b361a969dfd0ef2c5a50d530afd8d5"),
    known("small.en", "466 MiB", "db8a495a91d927739e50b3fc1cc4c6b8f6c2d022"),
    known("small.en-tdrz", "465 MiB", "b6c6e7e89af1a35c08e6de56b66ca6a02a2fdfa1"),
    known("medium", "1.5 GiB", "fd9727b6e1217c2f614f9b698455c4ffd82463b4"),
    known("medium.en", "1.5 GiB", "8c30f0e44ce9560643ebd10bbe50cd20eafd3723"),
    known("large-v1", "2.9 GiB", "b1caaf735c4cc1429223d5a74f0f4d0b9b59a299"),
    known("large-v2", "2.9 GiB", "0f4c8e34f21cf1a914c59d8b3ce882345ad349d6"),
    known("large-v2-q5_0", "1.1 GiB", "00e39f2196344e901b3a2bd5814807a769bd1630"),
    known("large-v3", "2.9 GiB", "ad82bf6a9043ceed055076d0fd39f5f186ff8062"),
    known("large-v3-q5_0", "1.1 GiB", "e6e2ed78495d403bef4b7cff42ef4aaadcfea8de"),
    known("large-v3-turbo", "1.5 GiB", "4af2b29d7ec73d781377bfd1758ca957a807e941"),
    known("large-v3-turbo-q5_0", "547 MiB", "e050f7970618a659205450ad97eb95a18d69c9ee"),
];

/// The model of a name.
#[must_use]
pub fn of(name: &str) -> Option<&'static Known> {
    MODELS.iter().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for model in MODELS {
            assert!(model.sha1.len() == 40 && model.sha1.bytes().all(|b| b.is_ascii_hexdigit()), "{}", model.name);
            assert!(*model.bytes().start() > 70 << 20, "{}", model.name);
        }
        assert!(of("small").is_some_and(|known| known.bytes().contains(&487_601_967)), "466 MiB as bytes");
        assert_eq!(of("tiny.en").map(Known::is_multilingual), Some(false));
        assert_eq!(of("base").unwrap().url(Some("http://mirror/x/")), "http://mirror/x/ggml-base.bin");
    }
}
