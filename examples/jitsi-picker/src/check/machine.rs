//! Which files are of one machine.

use std::path::{Component, Path, PathBuf};

use adapter_jitsi::{FileKind, JitsiFile, JitsiHost};

/// One machine and its files.
#[derive(Debug)]
pub(super) struct Machine {
    /// What all its files have in front.
    pub(super) root: PathBuf,
    /// Its name.
    pub(super) name: String,
    /// Whether it is this one.
    pub(super) here: bool,
    /// Its files.
    pub(super) files: Vec<JitsiFile>,
}

impl Machine {
    /// The machine of a file, by its path: what stands before `etc/jitsi/...`, `jitsi/...`, `prosody/...`, or the
    /// folder. Files below `/etc` are this machine's.
    pub(super) fn of(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut folders: Vec<Component<'_>> =
            path.parent().map(|folder| folder.components().collect()).unwrap_or_default();
        let named = |folder: &Component<'_>, name: &str| folder.as_os_str() == name;
        if let Some(at) = folders.iter().rposition(|folder| named(folder, "jitsi") || named(folder, "prosody")) {
            folders.truncate(at);
        }
        if folders.last().is_some_and(|folder| named(folder, "etc")) {
            folders.pop();
        }
        let here = folders == [Component::RootDir];
        let name = match folders.last() {
            Some(Component::Normal(name)) if !here => name.to_string_lossy().into_owned(),
            _ => own_name(),
        };
        Self { root: folders.iter().collect(), name, here, files: Vec::new() }
    }

    /// Whether it has files of a focus or an XMPP server.
    fn signals(&self) -> bool {
        self.files.iter().any(|file| {
            let front = match file.kind {
                FileKind::Prosody => return true,
                FileKind::Hocon => "jicofo.",
                FileKind::Properties => "org.jitsi.jicofo.",
                FileKind::Shell => "JICOFO_",
                _ => return false,
            };
            file.settings.iter().any(|setting| !setting.old && setting.key.starts_with(front))
        })
    }
}

fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "this machine".to_owned(),
        name => name.to_owned(),
    }
}

/// The machines as the doctor wants them. Where the XMPP server runs is known by its files or by what is said; if it is
/// known of one machine, it runs on none of those that have no such files.
pub(super) fn hosts(machines: &[Machine], signalling: &[String], remote: bool) -> Vec<JitsiHost> {
    let signals = |machine: &Machine| machine.signals() || signalling.contains(&machine.name);
    let known = remote || machines.iter().any(signals);
    let host = |machine: &Machine| {
        let (name, files) = (machine.name.clone(), machine.files.clone());
        match (signals(machine), known) {
            (true, _) => JitsiHost::signalling(name, files),
            (false, true) => JitsiHost::bridge(name, files),
            (false, false) => JitsiHost::unknown(name, files),
        }
    };
    machines.iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_machine() {
        let of = |path: &str| {
            let machine = Machine::of(Path::new(path));
            (machine.root.display().to_string(), machine.here)
        };
        for path in ["/etc/jitsi/videobridge/config", "/etc/prosody/conf.avail/a.cfg.lua", "/etc/config", "/config"] {
            assert_eq!(of(path), ("/".to_owned(), true), "{path}");
        }
        for path in
            ["/x/jvb1/config", "/x/jvb1/etc/jitsi/videobridge/config", "/x/jvb1/jitsi/jvb.conf", "/x/jvb1/etc/a.lua"]
        {
            assert_eq!(of(path), ("/x/jvb1".to_owned(), false), "{path}");
        }
        assert_eq!(Machine::of(Path::new("/x/jvb1/etc/jitsi/a/b.conf")).name, "jvb1");
        assert!(!Machine::of(Path::new("/etc/config")).name.is_empty());
    }
}
