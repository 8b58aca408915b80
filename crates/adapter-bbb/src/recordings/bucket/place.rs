//! The trees in a bucket: how recordings come into them, move between them, and leave.

use std::collections::BTreeMap;
use std::path::Path;

use super::objects::alike;
use super::{FilesError, Listing, RecordingBucket};
use crate::recordings::import::Manifest;
use crate::recordings::tree::{Placed, is_name};

const INCOMING: &str = "incoming";

/// Something that a process left that was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BucketLeftover {
    /// Objects below this place.
    Place(String),
    /// An upload in parts: its key and id.
    Upload(String, String),
}

impl RecordingBucket {
    fn tree(&self, tree: &str) -> String {
        format!("{}{tree}/", self.0.options.prefix)
    }

    /// What the keys of a format of a recording begin with in a tree.
    pub(crate) fn place(&self, published: bool, format: &str, id: &str) -> String {
        let tree = if published { "published" } else { "unpublished" };
        format!("{}{format}/{id}/", self.tree(tree))
    }

    /// The same with the bucket before it.
    pub(crate) fn address(&self, place: &str) -> String {
        format!("s3://{}/{place}", self.0.options.bucket)
    }

    /// Sends an unpacked format into its tree, in the place of an older one. That one goes only when the new one was
    /// found whole in the bucket.
    pub(crate) async fn take_in(
        &self,
        unpacked: &Path,
        files: &Manifest,
        published: bool,
        format: &str,
        id: &str,
    ) -> Result<(), FilesError> {
        let to = self.place(published, format, id);
        if self.has_any(&to).await? {
            let incoming = format!("{}{format}/{id}/", self.tree(INCOMING));
            self.clear(&incoming, |_| true).await?;
            self.send(unpacked, files, &incoming).await?;
            self.carry(&incoming, &to, true).await?;
        } else {
            self.send(unpacked, files, &to).await?;
        }
        self.clear(&to, |name| !files.contains_key(Path::new(name))).await?;
        self.clear(&self.place(!published, format, id), |_| true).await
    }

    /// Removes the objects below a place whose names this is true of.
    async fn clear(&self, place: &str, which: impl Fn(&str) -> bool) -> Result<(), FilesError> {
        let found = self.list(place).await?;
        let keys: Vec<String> = found.keys().filter(|name| which(name)).map(|name| format!("{place}{name}")).collect();
        self.remove(&keys).await
    }

    /// Moves objects from one place to another: all are copied and compared before the first one goes. One that is
    /// there already stays when it is the same; one that differs is replaced, or nothing moves.
    async fn carry(&self, from: &str, to: &str, replace: bool) -> Result<(), FilesError> {
        let (source, there) = (self.list(from).await?, self.list(to).await?);
        let mut missing = Vec::new();
        for (name, object) in &source {
            match there.get(name) {
                Some(other) if alike(object, other) => {}
                // Whatever it is: not what was just found whole.
                Some(_) if replace => missing.push(name.clone()),
                Some(_) if self.is_same(name, (from, &source), (to, &there)).await? => {}
                Some(_) => {
                    let why = format!("it differs from {from}{name}: `recordings check` tells more");
                    return Err(self.wrong(&format!("{to}{name}"), why));
                }
                None => missing.push(name.clone()),
            }
        }
        self.still_held()?;
        let copies: Vec<_> = missing.iter().map(|name| (format!("{from}{name}"), format!("{to}{name}"))).collect();
        self.each(copies, |bucket, (from, to)| async move { bucket.copy(&from, &to).await }).await?;
        let there = if missing.is_empty() { there } else { self.list(to).await? };
        for name in &missing {
            if !self.is_same(name, (from, &source), (to, &there)).await? {
                return Err(self.wrong(&format!("{to}{name}"), format!("it is no copy of {from}{name}")));
            }
        }
        let keys: Vec<String> = source.keys().map(|name| format!("{from}{name}")).collect();
        self.remove(&keys).await
    }

    async fn is_same(&self, name: &str, one: (&str, &Listing), other: (&str, &Listing)) -> Result<bool, FilesError> {
        let (Some(a), Some(b)) = (one.1.get(name), other.1.get(name)) else { return Ok(false) };
        self.same((&format!("{}{name}", one.0), a), (&format!("{}{name}", other.0), b)).await
    }

    /// Brings a format into its tree, also when a part of it is there already.
    pub(crate) async fn put_right(&self, id: &str, format: &str, published: bool) -> Result<(), FilesError> {
        let (to, from) = (self.place(published, format, id), self.place(!published, format, id));
        if !self.has_any(&from).await? {
            let missing = || FilesError::Missing { record_id: id.to_owned(), format: format.to_owned() };
            return if self.has_any(&to).await? { Ok(()) } else { Err(missing()) };
        }
        self.carry(&from, &to, false).await
    }

    /// Whether no file of a format is in both trees with different contents.
    pub(crate) async fn are_same(&self, id: &str, format: &str) -> Result<bool, FilesError> {
        let (one, other) = (self.place(true, format, id), self.place(false, format, id));
        let (here, there) = (self.list(&one).await?, self.list(&other).await?);
        for name in here.keys().filter(|name| there.contains_key(*name)) {
            if !self.is_same(name, (&one, &here), (&other, &there)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a tree has anything of a format.
    pub(crate) async fn is_in(&self, published: bool, format: &str, id: &str) -> Result<bool, FilesError> {
        self.has_any(&self.place(published, format, id)).await
    }

    /// Whether there is anything of a format.
    pub(crate) async fn has(&self, id: &str, format: &str) -> Result<bool, FilesError> {
        Ok(self.is_in(true, format, id).await? || self.is_in(false, format, id).await?)
    }

    /// Removes a recording from every tree, whatever its formats.
    pub(crate) async fn remove_all(&self, id: &str) -> Result<(), FilesError> {
        if !is_name(id) {
            return Ok(());
        }
        for (format, _) in self.look(id).await? {
            for published in [true, false] {
                self.remove_one(published, &format, id).await?;
            }
        }
        Ok(())
    }

    /// Removes one format of a recording from one tree.
    pub(crate) async fn remove_one(&self, published: bool, format: &str, id: &str) -> Result<(), FilesError> {
        self.clear(&self.place(published, format, id), |_| true).await
    }

    async fn names(&self, place: &str) -> Result<Vec<String>, FilesError> {
        let mut all = self.folders(place).await?;
        all.retain(|name| is_name(name));
        Ok(all)
    }

    /// Every recording and format in the trees.
    pub(crate) async fn scan(&self) -> Result<BTreeMap<String, BTreeMap<String, Placed>>, FilesError> {
        let mut found: BTreeMap<String, BTreeMap<String, Placed>> = BTreeMap::new();
        for published in [true, false] {
            let tree = self.tree(if published { "published" } else { "unpublished" });
            for format in self.names(&tree).await? {
                for id in self.names(&format!("{tree}{format}/")).await? {
                    found.entry(id).or_default().entry(format.clone()).or_default().note(published);
                }
            }
        }
        Ok(found)
    }

    /// The formats of one recording in the trees.
    pub(crate) async fn look(&self, id: &str) -> Result<BTreeMap<String, Placed>, FilesError> {
        let mut found: BTreeMap<String, Placed> = BTreeMap::new();
        if !is_name(id) {
            return Ok(found);
        }
        for published in [true, false] {
            let tree = self.tree(if published { "published" } else { "unpublished" });
            for format in self.names(&tree).await? {
                if self.is_in(published, &format, id).await? {
                    found.entry(format).or_default().note(published);
                }
            }
        }
        Ok(found)
    }

    /// What was on its way in when a process was killed. Whoever holds the lock knows that nobody is sending it any
    /// more.
    pub(crate) async fn leftovers(&self) -> Result<Vec<BucketLeftover>, FilesError> {
        let mut found = Vec::new();
        let tree = self.tree(INCOMING);
        for format in self.folders(&tree).await? {
            for id in self.folders(&format!("{tree}{format}/")).await? {
                found.push(BucketLeftover::Place(format!("{tree}{format}/{id}/")));
            }
        }
        for tree in ["published", "unpublished", INCOMING] {
            let unfinished = self.unfinished(&self.tree(tree)).await?;
            found.extend(unfinished.into_iter().map(|(key, id)| BucketLeftover::Upload(key, id)));
        }
        Ok(found)
    }

    /// Removes what [`leftovers`](Self::leftovers) found: the archive that it came from was not removed.
    pub(crate) async fn settle(&self, left: &BucketLeftover) -> Result<(), FilesError> {
        match left {
            BucketLeftover::Place(place) => self.clear(place, |_| true).await,
            BucketLeftover::Upload(key, id) => self.give_up(key, id).await,
        }
    }

    /// A small file of a format, wherever it is now.
    pub(crate) async fn read(
        &self,
        id: &str,
        format: &str,
        name: &str,
        most: u64,
    ) -> Result<Option<Vec<u8>>, FilesError> {
        for published in [true, false] {
            if let Some(found) = self.get(&format!("{}{name}", self.place(published, format, id)), most).await? {
                return Ok(Some(found.into()));
            }
        }
        Ok(None)
    }

    /// Writes a small file of a format, where the format is.
    pub(crate) async fn write(&self, id: &str, format: &str, name: &str, bytes: Vec<u8>) -> Result<(), FilesError> {
        let published = self.is_in(true, format, id).await?;
        let key = format!("{}{name}", self.place(published, format, id));
        self.put(&key, bytes.into(), super::upload::kind(name)).await
    }
}
