//! What tests see and spoil in a bucket.

use std::collections::BTreeMap;

use super::{FilesError, RecordingBucket};

impl RecordingBucket {
    /// Every object below the prefix, whatever it is, by the rest of its key.
    ///
    /// # Errors
    ///
    /// [`FilesError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn objects(&self) -> Result<BTreeMap<String, Vec<u8>>, FilesError> {
        let prefix = &self.0.options.prefix;
        let mut all = BTreeMap::new();
        for name in self.list(prefix).await?.into_keys() {
            if let Some(bytes) = self.get(&format!("{prefix}{name}"), 1 << 30).await? {
                all.insert(name, bytes.into());
            }
        }
        Ok(all)
    }

    /// Writes an object.
    ///
    /// # Errors
    ///
    /// [`FilesError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it written or not.
    pub async fn put_object(&self, name: &str, bytes: Vec<u8>) -> Result<(), FilesError> {
        self.put(&format!("{}{name}", self.0.options.prefix), bytes.into(), "text/plain").await
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// [`FilesError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it removed or not.
    pub async fn remove_object(&self, name: &str) -> Result<(), FilesError> {
        self.remove(&[format!("{}{name}", self.0.options.prefix)]).await
    }

    /// Begins to send an object in parts and leaves it at that.
    ///
    /// # Errors
    ///
    /// [`FilesError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it begun or not.
    pub async fn begin_object(&self, name: &str) -> Result<(), FilesError> {
        let key = format!("{}{name}", self.0.options.prefix);
        let ask = super::call::Ask { method: "POST", key: &key, query: &[("uploads", "")], ..Default::default() };
        self.ask(&ask).await.map(drop).map_err(|e| self.failed(&key, &e))
    }
}
