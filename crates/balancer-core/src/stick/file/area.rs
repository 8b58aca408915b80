//! A named key/value area in the file of a stick store.

use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::Inner;
use super::writer::Write;
use crate::stick::StickError;

/// The longest key of an area, in bytes.
const LONGEST_KEY: usize = 4096;
/// The longest value of an area, in bytes.
const LONGEST_VALUE: usize = 16 * 1024 * 1024;

/// One change in a [`FileTable::batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableChange {
    /// Stores a value under a key, whatever was there.
    Put(String, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(String),
}

/// An ordered area of keys and values beside the bindings, durable through the same group commit.
///
/// Readers see what is on the disk. Keys are 1 to 4,096 bytes of text, values at most 16 MiB; everything is held in
/// memory too.
#[derive(Clone)]
pub struct FileTable {
    inner: Arc<Inner>,
    name: Arc<str>,
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTable").field("path", &self.inner.path).field("name", &self.name).finish()
    }
}

impl FileTable {
    pub(super) fn new(inner: Arc<Inner>, name: Arc<str>) -> Self {
        Self { inner, name }
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// When the store has failed.
    ///
    /// # Cancel safety
    ///
    /// Reads only.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StickError> {
        self.inner.core.check()?;
        let areas = self.inner.core.areas.read().unwrap_or_else(PoisonError::into_inner);
        Ok(areas.get(&*self.name).and_then(|area| area.get(key)).cloned())
    }

    /// Every key that begins with `prefix`, with its value, in the order of the keys' bytes.
    ///
    /// # Errors
    ///
    /// When the store has failed.
    ///
    /// # Cancel safety
    ///
    /// Reads only.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StickError> {
        self.inner.core.check()?;
        let areas = self.inner.core.areas.read().unwrap_or_else(PoisonError::into_inner);
        let Some(area) = areas.get(&*self.name) else { return Ok(Vec::new()) };
        let from = area.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let mine = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(mine.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Stores a value; resolves when it is on the disk.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] for a key or value beyond its limits; otherwise when the store has failed.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the value may or may not be stored.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<(), StickError> {
        self.batch(vec![TableChange::Put(key.to_owned(), value.into())]).await
    }

    /// Removes a key; resolves when that is on the disk.
    ///
    /// # Errors
    ///
    /// When the store has failed.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the key may or may not be removed.
    pub async fn delete(&self, key: &str) -> Result<(), StickError> {
        self.batch(vec![TableChange::Delete(key.to_owned())]).await
    }

    /// Makes all changes, in order, or none of them; resolves when they are on the disk.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] for a key or value beyond its limits; otherwise when the store has failed.
    ///
    /// # Cancel safety
    ///
    /// When dropped, all of the changes or none of them are made.
    pub async fn batch(&self, changes: Vec<TableChange>) -> Result<(), StickError> {
        for change in &changes {
            check(change)?;
        }
        let core = &self.inner.core;
        let _place = core.place().await?;
        let seq = core.write(Write::Area(Arc::clone(&self.name), changes));
        core.durable(seq).await
    }
}

fn check(change: &TableChange) -> Result<(), StickError> {
    let (key, value) = match change {
        TableChange::Put(key, value) => (key, value.len()),
        TableChange::Delete(key) => (key, 0),
    };
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(StickError::Config {
            what: format!("table key of {} bytes", key.len()),
            why: format!("must be 1 to {LONGEST_KEY} bytes"),
        });
    }
    if value > LONGEST_VALUE {
        return Err(StickError::Config {
            what: format!("table value of {value} bytes"),
            why: format!("must be at most {LONGEST_VALUE} bytes"),
        });
    }
    Ok(())
}
