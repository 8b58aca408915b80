//! Why a server was chosen, in words, when somebody wants to know.

/// What a pick says of itself; says nothing unless asked to.
#[derive(Debug, Default)]
pub(crate) struct Notes(Option<Vec<(Option<usize>, String)>>);

/// The most remarks of one pick.
const MAX_NOTES: usize = 64;

impl Notes {
    /// Nobody listens.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Somebody does.
    pub(crate) fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether somebody listens.
    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says something.
    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        self.put(None, what);
    }

    /// Says something of a server.
    pub(crate) fn say_of(&mut self, server: usize, what: impl FnOnce() -> String) {
        self.put(Some(server), what);
    }

    fn put(&mut self, server: Option<usize>, what: impl FnOnce() -> String) {
        if let Some(all) = self.0.as_mut().filter(|all| all.len() < MAX_NOTES) {
            all.push((server, what()));
        }
    }

    /// All that was said, with the servers' names.
    pub(crate) fn told<'a>(self, name: impl Fn(usize) -> &'a str) -> Vec<String> {
        let line = |(server, what): (Option<usize>, String)| match server {
            Some(i) => format!("{} {what}", name(i)),
            None => what,
        };
        self.0.into_iter().flatten().map(line).collect()
    }
}
