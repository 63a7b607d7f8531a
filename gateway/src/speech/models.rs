//! Models on this machine: where one is, whether it is whole, and which one is the tests' own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::known;
use crate::config::{Speech, SpeechEngine};

/// The name under which the tests and the demo choose their own model. Nothing else does.
pub const TEST_DOUBLE: &str = "ark-demo-zh-en";
/// Its file's SHA-256: under whatever name it comes, it is known for what it is.
pub const TEST_DOUBLE_SHA256: &str = "6492111b82a8690791f9dbe5094ca43728c07473f7cde93221d6550501431e1f";
/// Its file's length.
const TEST_DOUBLE_BYTES: u64 = 7_435_797;
/// What has to be said of it wherever it is named.
pub const TEST_DOUBLE_WARNING: &str =
    "a test double: it knows synthetic voices alone and must never hear real callers (tests/speech/README.md)";

/// Where the model of `[speech]` is, or where it would be.
#[must_use]
pub fn path_of(settings: &Speech) -> PathBuf {
    let name = settings.model.as_str();
    if name == TEST_DOUBLE {
        return test_double().unwrap_or_else(|| settings.models.join(format!("{TEST_DOUBLE}.bin")));
    }
    if let Some(known) = known::of(name) {
        return settings.models.join(known.file());
    }
    let path = Path::new(name);
    // A file of the models' folder may be named as such.
    if !path.exists() && path.components().count() == 1 {
        let below = [settings.models.join(name), settings.models.join(format!("{name}.bin"))];
        if let Some(found) = below.into_iter().find(|path| path.exists()) {
            return found;
        }
    }
    path.to_owned()
}

/// The tests' model, where it lies beside the program or the sources.
#[must_use]
pub fn test_double() -> Option<PathBuf> {
    let file = format!("{TEST_DOUBLE}.bin");
    let below = |folder: &Path| [folder.join("tests/speech").join(&file), folder.join(&file)];
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let near = program.as_deref().into_iter().flat_map(Path::ancestors).skip(1).take(4);
    here.as_deref().into_iter().chain(near).flat_map(below).find(|path| path.is_file())
}

/// Whether `[speech]` names the tests' model, by its name or by its file.
#[must_use]
pub fn is_test_double(settings: &Speech) -> bool {
    settings.engine == SpeechEngine::Whisper
        && (settings.model == TEST_DOUBLE || is_test_double_file(&path_of(settings)))
}

/// Whether a file is the tests' model.
#[must_use]
pub fn is_test_double_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() == TEST_DOUBLE_BYTES)
        && sha256(path).is_ok_and(|hash| hash == TEST_DOUBLE_SHA256)
}

/// A file's SHA-256, in hexadecimal digits.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    read_all(path, |bytes| hash.update(bytes))?;
    Ok(hex(&hash.finalize()))
}

/// A file's SHA-1, which is what whisper.cpp's publisher states.
///
/// # Errors
/// It cannot be read.
pub fn sha1(path: &Path, mut progress: impl FnMut(u64)) -> io::Result<String> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    let mut read = 0;
    read_all(path, |bytes| {
        hash.update(bytes);
        read += bytes.len() as u64;
        progress(read);
    })?;
    Ok(hex(hash.finish().as_ref()))
}

fn read_all(path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => each(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What is wrong with the model of `[speech]` before it is loaded, and what to do.
///
/// # Errors
/// A sentence.
pub fn look(settings: &Speech) -> Result<PathBuf, String> {
    let path = path_of(settings);
    let Ok(file) = std::fs::metadata(&path) else {
        let name = &settings.model;
        let fix = match known::of(name) {
            Some(_) => {
                format!("`ark model get {name}` fetches it, or bring it there with `ark model get {name} --from FILE`")
            }
            None if name == TEST_DOUBLE => "it lies in tests/speech/ of the sources".to_owned(),
            None => "name a file that exists, or one of `ark model list`".to_owned(),
        };
        return Err(format!("there is no model at {}: {fix}", path.display()));
    };
    if !file.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    if let Some(pinned) = &settings.sha256 {
        let found = sha256(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !found.eq_ignore_ascii_case(pinned) {
            let shown = path.display();
            return Err(format!(
                "{shown} is another file than [speech] sha256 says: it has {found}. Bring the right one, or correct it"
            ));
        }
    }
    #[cfg(feature = "whisper")]
    ark_transcribe::engine::whisper::header_of(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(path)
}
