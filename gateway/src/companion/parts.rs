//! Files on their way: kept on disk piece by piece, so that a phone whose net is gone for a moment goes on where it was.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ark_conversation::Hash;
use tokio::io::AsyncWriteExt as _;

use super::LinkError;
use super::limits::{LINK_PARTS_MAX, PART_AGE, PARTS_MAX};

type Key = (Hash, String);

/// The files of this gateway that are on their way.
#[derive(Debug)]
pub(super) struct Parts {
    folder: PathBuf,
    open: Mutex<HashMap<Key, Arc<Part>>>,
}

#[derive(Debug)]
struct Part {
    touched: Mutex<Instant>,
    /// How much is there. Held while a piece is written: pieces of one file come one behind the other.
    length: tokio::sync::Mutex<u64>,
}

/// What became of a piece.
#[derive(Debug)]
pub(super) enum Took {
    /// More is to come: so much is there.
    Part(u64),
    /// The whole file.
    Whole(Vec<u8>),
}

impl Parts {
    /// In this folder; what an earlier process left there is gone.
    pub(super) fn new(folder: PathBuf) -> Self {
        let _ = std::fs::remove_dir_all(&folder);
        Self { folder, open: Mutex::default() }
    }

    /// How much of a file is here.
    pub(super) async fn length(&self, link: Hash, id: &str) -> u64 {
        let part = self.lock().get(&(link, id.to_owned())).cloned();
        match part {
            Some(part) => *part.length.lock().await,
            None => 0,
        }
    }

    /// Adds a piece that begins at `offset` of a file of `size` bytes.
    ///
    /// # Errors
    /// [`LinkError::Offset`] when another place is next; [`LinkError::Flood`] when too much is on its way;
    /// [`LinkError::Unavailable`] when the disk does not take it.
    pub(super) async fn add(
        &self,
        link: Hash,
        id: &str,
        (offset, size): (u64, u64),
        piece: &[u8],
    ) -> Result<Took, LinkError> {
        let part = self.part(link, id)?;
        let mut length = part.length.lock().await;
        if *length != offset {
            return Err(LinkError::Offset(*length));
        }
        let end = offset + piece.len() as u64;
        if end > size {
            return Err(LinkError::Malformed("more came than the file is long"));
        }
        let path = self.path(link, id);
        let away = |error: std::io::Error| LinkError::Unavailable(format!("the file cannot be kept: {error}"));
        tokio::fs::create_dir_all(&self.folder).await.map_err(away)?;
        let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&path).await.map_err(away)?;
        // What a broken write may have left behind the place that is known.
        file.set_len(offset).await.map_err(away)?;
        file.write_all(piece).await.map_err(away)?;
        file.flush().await.map_err(away)?;
        *length = end;
        if end < size {
            return Ok(Took::Part(end));
        }
        let whole = tokio::fs::read(&path).await.map_err(away)?;
        Ok(Took::Whole(whole))
    }

    /// Forgets a file that is done with.
    pub(super) async fn forget(&self, link: Hash, id: &str) {
        self.lock().remove(&(link, id.to_owned()));
        let _ = tokio::fs::remove_file(self.path(link, id)).await;
    }

    fn part(&self, link: Hash, id: &str) -> Result<Arc<Part>, LinkError> {
        let mut open = self.lock();
        let key = (link, id.to_owned());
        let touch = |part: &Arc<Part>| {
            *part.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            Arc::clone(part)
        };
        if let Some(part) = open.get(&key) {
            return Ok(touch(part));
        }
        let old = |part: &Arc<Part>| part.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= PART_AGE;
        let gone: Vec<Key> = open.iter().filter(|(_, part)| old(part)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            open.remove(&key);
            let _ = std::fs::remove_file(self.path(key.0, &key.1));
        }
        if open.len() >= PARTS_MAX || open.keys().filter(|(of, _)| *of == link).count() >= LINK_PARTS_MAX {
            return Err(LinkError::Flood("too many files are on their way: wait for the first ones"));
        }
        let part = Arc::new(Part { touched: Mutex::new(Instant::now()), length: tokio::sync::Mutex::new(0) });
        open.insert(key, Arc::clone(&part));
        Ok(part)
    }

    /// Named by a hash: nothing of what a stranger called it is in a path.
    fn path(&self, link: Hash, id: &str) -> PathBuf {
        self.folder.join(Hash::of(format!("{link}/{id}").as_bytes()).to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Part>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (parts, link) = (Parts::new(folder.path().join("parts")), Hash::of(b"t"));
        let add = |offset, piece: &'static [u8]| parts.add(link, "../../a", (offset, 10), piece);
        assert!(matches!(add(0, b"01234").await, Ok(Took::Part(5))));
        assert!(matches!(add(0, b"01234").await, Err(LinkError::Offset(5))), "the same piece again");
        assert_eq!(parts.length(link, "../../a").await, 5);
        assert!(matches!(add(5, b"567890").await, Err(LinkError::Malformed(_))));
        let Ok(Took::Whole(whole)) = add(5, b"56789").await else { panic!("it is whole") };
        assert_eq!(whole, b"0123456789");
        parts.forget(link, "../../a").await;
        assert_eq!(parts.length(link, "../../a").await, 0);
        assert_eq!(std::fs::read_dir(folder.path().join("parts")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn few_files_of_a_link_are_on_their_way_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (parts, link) = (Parts::new(folder.path().join("parts")), Hash::of(b"t"));
        for n in 0..LINK_PARTS_MAX {
            parts.add(link, &n.to_string(), (0, 10), b"x").await.unwrap();
        }
        assert!(matches!(parts.add(link, "more", (0, 10), b"x").await, Err(LinkError::Flood(_))));
        parts.forget(link, "0").await;
        parts.add(link, "more", (0, 10), b"x").await.unwrap();
    }
}
