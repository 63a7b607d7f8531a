//! Customers' files: checked, made harmless, kept by reference.
//!
//! A picture is decoded within bounds, turned as its camera says, and encoded anew: what it says of places, people and
//! programs stays behind, and nobody of the house opens bytes that a stranger made. Other files are kept as they came and
//! are only ever served as attachments.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use ark_conversation::channel::{FetchFailure, FileKind};
use ark_conversation::event::Media;
use ark_conversation::{Content, Hash};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::limits::{DECODES_MAX, FILE_BYTES_MAX, IMAGE_BYTES_MAX, IMAGE_PIXELS_MAX};

/// How a reference begins.
const SCHEME: &str = "ark-media:";
/// Letters of an id: no two that people confuse, none that a path minds.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Quality of a picture that is encoded anew, of 100.
const JPEG_QUALITY: u8 = 88;

/// The folder of customers' files.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
    decodes: Arc<Semaphore>,
}

/// What is kept beside each file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its MIME type.
    pub mime: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Its name, as the sender called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A file that is ready to be kept.
struct Clean {
    bytes: Vec<u8>,
    mime: String,
    size: Option<(u32, u32)>,
}

impl Files {
    /// Files below this folder, which is made when the first one comes.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, decodes: Arc::new(Semaphore::new(DECODES_MAX)) }
    }

    /// Keeps a file that came from a customer.
    ///
    /// # Errors
    /// [`FetchFailure::TooLarge`], [`FetchFailure::Broken`]; [`FetchFailure::Away`] when the disk does not take it.
    pub async fn keep(&self, bytes: Vec<u8>, kind: FileKind, name: Option<String>) -> Result<Media, FetchFailure> {
        let bytes_max = bytes_max(kind);
        if bytes.len() as u64 > bytes_max {
            return Err(FetchFailure::TooLarge { bytes_max });
        }
        if bytes.is_empty() {
            return Err(FetchFailure::Broken("it is empty".to_owned()));
        }
        let place = Arc::clone(&self.decodes).acquire_owned().await;
        let clean = tokio::task::spawn_blocking(move || {
            let _place = place;
            clean(bytes, kind)
        });
        let clean = clean.await.map_err(|_| FetchFailure::Broken("it cannot be decoded".to_owned()))??;
        let (id, sha256) = (new_id(), Hash::of(&clean.bytes));
        let kept = Kept {
            mime: clean.mime,
            size: clean.bytes.len() as u64,
            sha256: sha256.to_string(),
            name: name.map(|name| tidy_name(&name)).filter(|name| !name.is_empty()),
        };
        let away = |error: std::io::Error| FetchFailure::Away(format!("it cannot be kept on disk: {error}"));
        self.write(&id, &clean.bytes, &kept).await.map_err(away)?;
        Ok(Media {
            reference: format!("{SCHEME}{id}"),
            mime: kept.mime,
            size: kept.size,
            sha256,
            name: kept.name.map(Content::new),
            duration_ms: None,
            width: clean.size.map(|(width, _)| width),
            height: clean.size.map(|(_, height)| height),
        })
    }

    /// The bytes of a stored file.
    ///
    /// # Errors
    /// A sentence: no such file, or it cannot be read.
    pub async fn read(&self, reference: &str) -> Result<Vec<u8>, String> {
        let path = self.path(reference).ok_or_else(|| format!("{reference} is no file of this gateway"))?;
        tokio::fs::read(&path).await.map_err(|error| format!("{reference} cannot be read: {error}"))
    }

    /// What is known of a stored file, and where it is.
    pub async fn find(&self, reference: &str) -> Option<(Kept, PathBuf)> {
        let path = self.path(reference)?;
        let kept = tokio::fs::read(path.with_extension("json")).await.ok()?;
        Some((serde_json::from_slice(&kept).ok()?, path))
    }

    /// Removes a stored file; one that is gone already is no error.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove(&self, reference: &str) -> std::io::Result<bool> {
        let Some(path) = self.path(reference) else { return Ok(false) };
        let gone = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        let there = tokio::fs::try_exists(&path).await?;
        tokio::fs::remove_file(&path).await.or_else(gone)?;
        tokio::fs::remove_file(path.with_extension("json")).await.or_else(gone)?;
        Ok(there)
    }

    /// Where a file is; none for what is no reference of ours.
    fn path(&self, reference: &str) -> Option<PathBuf> {
        let id = reference.strip_prefix(SCHEME)?;
        let ours = id.len() == 26 && id.bytes().all(|b| LETTERS.contains(&b));
        ours.then(|| self.folder.join(id.get(..2).unwrap_or_default()).join(id))
    }

    /// The file first, then what is known of it: one without the other is never referred to.
    async fn write(&self, id: &str, bytes: &[u8], kept: &Kept) -> std::io::Result<()> {
        let path = self.path(&format!("{SCHEME}{id}")).expect("an id that was just made is one");
        tokio::fs::create_dir_all(path.parent().expect("a file has a folder")).await?;
        let about = serde_json::to_vec(kept).expect("it is JSON");
        for (path, bytes) in [(path.clone(), bytes), (path.with_extension("json"), about.as_slice())] {
            let partial = path.with_extension("part");
            let mut file = tokio::fs::File::create(&partial).await?;
            tokio::io::AsyncWriteExt::write_all(&mut file, bytes).await?;
            file.sync_all().await?;
            tokio::fs::rename(&partial, &path).await?;
        }
        Ok(())
    }
}

/// Largest file of a kind.
pub(super) const fn bytes_max(kind: FileKind) -> u64 {
    match kind {
        FileKind::Image => IMAGE_BYTES_MAX,
        FileKind::VoiceNote | FileKind::Video | FileKind::File => FILE_BYTES_MAX,
    }
}

/// 128 random bits.
fn new_id() -> String {
    let mut bits: u128 = rand::random();
    let mut id = String::with_capacity(26);
    for _ in 0..26 {
        id.push(char::from(LETTERS[(bits & 31) as usize]));
        bits >>= 5;
    }
    id
}

/// A file's name without paths and control characters, of a length that people read.
fn tidy_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    last.chars().filter(|letter| !letter.is_control()).take(120).collect::<String>().trim_matches('.').trim().to_owned()
}

fn clean(bytes: Vec<u8>, kind: FileKind) -> Result<Clean, FetchFailure> {
    if kind == FileKind::Image {
        return picture(&bytes);
    }
    let mime = infer::get(&bytes).map_or("application/octet-stream", |kind| kind.mime_type()).to_owned();
    let fits = match kind {
        FileKind::VoiceNote => {
            mime.starts_with("audio/") || mime.starts_with("video/") || mime == "application/octet-stream"
        }
        FileKind::Video => mime.starts_with("video/"),
        FileKind::Image | FileKind::File => true,
    };
    if !fits {
        return Err(FetchFailure::Broken(format!("it is {mime}, not what it was sent as")));
    }
    Ok(Clean { bytes, mime, size: None })
}

/// Decodes a picture within bounds and encodes it anew.
fn picture(bytes: &[u8]) -> Result<Clean, FetchFailure> {
    let broken = |error: image::ImageError| FetchFailure::Broken(error.to_string());
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|error| FetchFailure::Broken(error.to_string()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(IMAGE_PIXELS_MAX * 5);
    reader.limits(limits);
    let format =
        reader.format().ok_or_else(|| FetchFailure::Broken("it is no picture that is known here".to_owned()))?;
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > IMAGE_PIXELS_MAX {
        return Err(FetchFailure::Broken(format!("it has {width}x{height} pixels, more than this house opens")));
    }
    let turned = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(turned);
    let (width, height) = (image.width(), image.height());
    let mut out = Vec::new();
    let mime = if format == ImageFormat::Jpeg {
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
        image.into_rgb8().write_with_encoder(encoder).map_err(broken)?;
        "image/jpeg"
    } else {
        image.write_to(&mut Cursor::new(&mut out), ImageFormat::Png).map_err(broken)?;
        "image/png"
    };
    Ok(Clean { bytes: out, mime: mime.to_owned(), size: Some((width, height)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        DynamicImage::new_rgb8(width, height).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    /// A JPEG of 4x2 pixels that its camera held on its side, with a place in its EXIF data.
    fn jpeg_on_its_side() -> Vec<u8> {
        let mut bytes = Vec::new();
        DynamicImage::new_rgb8(4, 2).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg).unwrap();
        // TIFF, little endian: one entry, Orientation (0x0112, SHORT) = 6; what follows is no directory, but a place in words.
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        exif.extend_from_slice(b"GPS 30.27N 120.15E");
        let mut with = bytes[..2].to_vec();
        with.extend_from_slice(&[0xff, 0xe1]);
        with.extend_from_slice(&u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
        with.extend_from_slice(&exif);
        with.extend_from_slice(&bytes[2..]);
        with
    }

    #[tokio::test]
    async fn a_picture_is_made_anew_turned_and_without_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().join("attachments"));
        let media =
            files.keep(jpeg_on_its_side(), FileKind::Image, Some("../../etc/a\u{7}b.jpg".to_owned())).await.unwrap();
        assert_eq!((media.width, media.height), (Some(2), Some(4)));
        assert_eq!(media.name.as_ref().map(Content::reveal), Some("ab.jpg"));
        let bytes = files.read(&media.reference).await.unwrap();
        assert_eq!((bytes.len() as u64, Hash::of(&bytes)), (media.size, media.sha256));
        assert!(!bytes.windows(3).any(|three| three == b"GPS"));
        let (kept, path) = files.find(&media.reference).await.unwrap();
        assert_eq!((kept.mime.as_str(), kept.size), ("image/jpeg", media.size));
        assert!(path.starts_with(folder.path()));
        assert!(files.remove(&media.reference).await.unwrap());
        assert!(!files.remove(&media.reference).await.unwrap());
        assert!(files.read(&media.reference).await.is_err());
    }

    #[tokio::test]
    async fn bombs_and_forgeries_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        let keep = |bytes: Vec<u8>, kind| files.keep(bytes, kind, None);
        // A PNG that says it is 60,000 x 60,000: its header is enough to refuse it.
        let mut bomb = png(1, 1);
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(keep(bomb, FileKind::Image).await, Err(FetchFailure::Broken(_))));
        assert!(matches!(keep(b"<svg onload=alert(1)>".to_vec(), FileKind::Image).await, Err(FetchFailure::Broken(_))));
        assert!(matches!(keep(b"MZ\x90\0 a program".to_vec(), FileKind::Video).await, Err(FetchFailure::Broken(_))));
        assert!(matches!(keep(Vec::new(), FileKind::File).await, Err(FetchFailure::Broken(_))));
        let large = vec![0; usize::try_from(IMAGE_BYTES_MAX).unwrap() + 1];
        assert_eq!(keep(large, FileKind::Image).await, Err(FetchFailure::TooLarge { bytes_max: IMAGE_BYTES_MAX }));
        for reference in
            ["ark-media:../../../../etc/passwd", "ark-media:", "http://x/", "ark-media:AAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(files.read(reference).await.is_err(), "{reference}");
        }
    }

    /// CRC-32 as PNG has it.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
