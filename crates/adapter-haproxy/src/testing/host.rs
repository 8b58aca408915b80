//! What our own tests need from the host.

use std::path::Path;
use std::process::Command;

pub(crate) use real_servers::{Folder, haproxy};

use crate::version::HaproxyVersion;

/// The branch of an installed HAProxy.
pub(crate) fn version_of(haproxy: &Path) -> HaproxyVersion {
    let told = Command::new(haproxy).arg("-v").output().expect("haproxy runs").stdout;
    let told = String::from_utf8_lossy(&told);
    told.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("no version in {told:?}"))
}
