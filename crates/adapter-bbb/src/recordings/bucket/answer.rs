//! What a bucket's server answers, in XML.

use std::collections::BTreeMap;

use crate::api::{Scanner, Step};

/// Objects and folders of one answer at most: a server sends a thousand.
const MOST: usize = 10_000;

/// One level of the elements that are looked at.
type Fields = BTreeMap<String, String>;

/// The texts of elements directly below the root, and of those below the elements with this name.
fn fields(bytes: &[u8], each: &str) -> Option<(String, Fields, Vec<Fields>)> {
    let mut scanner = Scanner::new(bytes).ok()?;
    let mut names: Vec<&str> = Vec::new();
    let (mut root, mut top, mut all) = (String::new(), Fields::new(), Vec::<Fields>::new());
    while let Some(step) = scanner.step().ok()? {
        match step {
            Step::Open { name, .. } => {
                if names.is_empty() {
                    name.clone_into(&mut root);
                }
                if names.len() == 1 && name == each {
                    if all.len() == MOST {
                        return None;
                    }
                    all.push(Fields::new());
                }
                names.push(name);
            }
            Step::Close { .. } => {
                names.pop();
            }
            Step::Text(text) => {
                let into = match names.as_slice() {
                    [_, name] => top.entry((*name).to_owned()),
                    [_, outer, name] if *outer == each => all.last_mut()?.entry((*name).to_owned()),
                    _ => continue,
                };
                into.or_default().push_str(&text);
            }
        }
    }
    Some((root, top, all))
}

/// A refusal: its code and its words.
pub(super) fn refusal(bytes: &[u8]) -> Option<(String, String)> {
    let (root, mut top, _) = fields(bytes, "")?;
    let mut take = |name: &str| top.remove(name).unwrap_or_default();
    (root == "Error").then(|| (take("Code"), take("Message")))
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) size: u64,
    /// Without its quotes.
    pub(super) etag: String,
}

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    /// What keys begin with that were put together.
    pub(super) folders: Vec<String>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
}

pub(super) fn page(bytes: &[u8]) -> Option<Page> {
    let (root, mut top, objects) = fields(bytes, "Contents")?;
    if root != "ListBucketResult" {
        return None;
    }
    let mut page = Page::default();
    for mut object in objects {
        let size = object.remove("Size")?.parse().ok()?;
        let etag = object.remove("ETag").unwrap_or_default().trim_matches('"').to_owned();
        page.objects.push((object.remove("Key")?, Object { size, etag }));
    }
    let (_, _, folders) = fields(bytes, "CommonPrefixes")?;
    page.folders = folders.into_iter().filter_map(|mut folder| folder.remove("Prefix")).collect();
    if top.remove("IsTruncated").as_deref() == Some("true") {
        page.next = Some(top.remove("NextContinuationToken")?);
    }
    Some(page)
}

/// Uploads that were never completed: their keys and ids, and whether there are more.
pub(super) fn uploads(bytes: &[u8]) -> Option<(Vec<(String, String)>, bool)> {
    let (root, top, all) = fields(bytes, "Upload")?;
    let pair = |mut upload: Fields| Some((upload.remove("Key")?, upload.remove("UploadId")?));
    let more = top.get("IsTruncated").is_some_and(|text| text == "true");
    let all = all.into_iter().map(pair).collect::<Option<Vec<_>>>()?;
    (root == "ListMultipartUploadsResult").then_some((all, more))
}

/// The id of an upload that was begun.
pub(super) fn upload_id(bytes: &[u8]) -> Option<String> {
    fields(bytes, "")?.1.remove("UploadId").filter(|id| !id.is_empty())
}

/// The first object that was not deleted, and why.
pub(super) fn not_deleted(bytes: &[u8]) -> Option<Option<(String, String, String)>> {
    let (root, _, errors) = fields(bytes, "Error")?;
    let told = |mut error: Fields| {
        let mut take = |name: &str| error.remove(name).unwrap_or_default();
        (take("Key"), take("Code"), take("Message"))
    };
    (root == "DeleteResult").then(|| errors.into_iter().next().map(told))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read() {
        let text = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><IsTruncated>true</IsTruncated>
<NextContinuationToken>t+1</NextContinuationToken>
<Contents><Key>a &amp; b</Key><ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag><Size>434234</Size><Owner><ID>x</ID></Owner></Contents>
<Contents><Key>c</Key><ETag>"x-2"</ETag><Size>0</Size></Contents>
<CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes></ListBucketResult>"#;
        let page = page(text).unwrap();
        let object = |key: &str, size, etag: &str| (key.to_owned(), Object { size, etag: etag.to_owned() });
        let expected = [object("a & b", 434_234, "9b2cf535f27731c974343645a3985328"), object("c", 0, "x-2")];
        assert_eq!(page.objects, expected);
        assert_eq!((page.folders, page.next), (vec!["photos/".to_owned()], Some("t+1".to_owned())));
    }

    #[test]
    fn others_are_read() {
        let said = refusal(b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>");
        assert_eq!(said, Some(("NoSuchBucket".to_owned(), "none".to_owned())));
        assert_eq!(refusal(b"<html><body>Bad gateway</body></html>"), None);
        assert_eq!(upload_id(b"<X><UploadId>u1</UploadId></X>").as_deref(), Some("u1"));
        assert_eq!(not_deleted(b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>"), Some(None));
        let text =
            b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
        let told = ("a".to_owned(), "AccessDenied".to_owned(), "no".to_owned());
        assert_eq!(not_deleted(text), Some(Some(told)));
        let text = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>k</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>";
        assert_eq!(uploads(text), Some((vec![("k".to_owned(), "u".to_owned())], false)));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), tags in "[<>/a-zA-Z&;\"= ]{0,200}") {
            for bytes in [bytes.as_slice(), tags.as_bytes()] {
                let _ = (refusal(bytes), page(bytes), uploads(bytes), upload_id(bytes), not_deleted(bytes));
            }
        }
    }
}
