//! Hooks: every server that is online has those that were asked for, also one that comes later or forgot them.

use std::sync::Arc;

use balancer_core::Backend;

use super::Cluster;
use crate::api::{Algorithm, HookEntry, Params, Reply, hooks, signed_url};
use crate::server::BbbServer;
use crate::store::{Hook, HookBook};

/// How many hooks of meetings are looked at in one round, whether their meetings are over.
const LOOKS: usize = 64;

/// Why a server does not have the hooks it should have.
type Trouble = String;

/// What has to be done at a server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes<'b> {
    /// Its own numbers of hooks that must go.
    destroy: Vec<&'b str>,
    create: Vec<&'b Hook>,
}

/// Compares a server's hooks with those wanted. Hooks that others registered there are left alone. Pure.
fn compare<'b>(book: &'b HookBook, listed: &'b [HookEntry]) -> Changes<'b> {
    let mut changes = Changes::default();
    for hook in &book.hooks {
        let there = listed.iter().find(|entry| entry.url == hook.url);
        match there {
            Some(entry) if entry.meeting == hook.meeting && entry.raw == hook.raw && entry.events == hook.events => {}
            // Of an earlier registration: the server would keep it as it was.
            Some(entry) => {
                changes.destroy.push(&entry.id);
                changes.create.push(hook);
            }
            None => changes.create.push(hook),
        }
    }
    let removed = listed.iter().filter(|entry| book.removed.contains(&entry.url));
    changes.destroy.extend(removed.map(|entry| entry.id.as_str()));
    changes
}

impl Cluster {
    /// Matches hooks when a server comes online, and once in a while.
    pub(super) async fn hook_loop(self: &Arc<Self>) {
        loop {
            tokio::select! {
                () = self.came_online.notified() => {}
                () = tokio::time::sleep(self.options.poll_interval) => {}
            }
            self.forget_old_hooks().await;
            self.match_hooks(false).await;
        }
    }

    /// Removes hooks of single meetings that are over: asked for longer ago than a meeting stays known, and not known.
    pub(crate) async fn forget_old_hooks(&self) {
        let store = self.store.callback_store();
        let Ok(book) = store.hooks().await else { return };
        let life = u64::try_from(self.options.meeting_ttl.as_millis()).unwrap_or(u64::MAX);
        let now = self.store_ms();
        let old = book.hooks.iter().filter(|hook| hook.since_ms.saturating_add(life) < now);
        let old = old.filter_map(|hook| Some((hook.id, hook.meeting.as_deref()?)));
        for (id, meeting) in old.take(LOOKS) {
            if self.store.look(meeting).await.is_ok_and(|look| look.meeting.is_none()) {
                // What fails is tried again the next time.
                let _ = store.remove_hook(id).await;
            }
        }
    }

    /// Gives every server that is online the hooks it lacks, and takes away those that were removed; all servers at
    /// once, or those that this process polls. What fails is tried again the next time.
    pub(crate) async fn match_hooks(self: &Arc<Self>, all: bool) {
        let book = match self.store.callback_store().hooks().await {
            Ok(mut book) => {
                if self.live().multitenancy {
                    // Asked for before there were tenants, they would hear of everybody's meetings.
                    let (own, others): (Vec<_>, Vec<_>) =
                        book.hooks.into_iter().partition(|hook| hook.tenant.is_some());
                    book.hooks = own;
                    book.removed.extend(others.into_iter().map(|hook| hook.url));
                }
                Arc::new(book)
            }
            Err(e) => {
                tracing::warn!(error = %e, "the hooks cannot be read from the store");
                return;
            }
        };
        if book.hooks.is_empty() && book.removed.is_empty() {
            return;
        }
        let mut servers = tokio::task::JoinSet::new();
        for server in
            self.records().iter().filter(|r| r.online && (all || self.owns(&r.id))).filter_map(|r| self.server(&r.id))
        {
            let (cluster, book) = (self.clone(), book.clone());
            servers.spawn(async move {
                if let Err(why) = cluster.match_hooks_at(&server, &book).await {
                    tracing::info!(backend = %server.id(), reason = why, "a server does not have all hooks");
                }
            });
        }
        while servers.join_next().await.is_some() {}
    }

    async fn match_hooks_at(&self, server: &BbbServer, book: &HookBook) -> Result<(), Trouble> {
        let answer = self.ask_hooks(server, "hooks/list", &Params::new()).await?;
        let listed = hooks(&answer).map_err(|e| e.to_string())?;
        let changes = compare(book, &listed);
        for id in changes.destroy {
            let mut params = Params::new();
            params.push("hookID", id);
            self.ask_hooks(server, "hooks/destroy", &params).await?;
        }
        for hook in changes.create {
            let mut params = Params::new();
            params.push("callbackURL", hook.url.as_str());
            for (name, value) in [("meetingID", &hook.meeting), ("eventID", &hook.events)] {
                if let Some(value) = value {
                    params.push(name, value.as_str());
                }
            }
            params.push("getRaw", if hook.raw { "true" } else { "false" });
            self.ask_hooks(server, "hooks/create", &params).await?;
        }
        Ok(())
    }

    /// One call about hooks that succeeds, or why not. Older servers know SHA-1 only there.
    async fn ask_hooks(&self, server: &BbbServer, call: &str, params: &Params<'_>) -> Result<bytes::Bytes, Trouble> {
        let mut algorithms = vec![self.options.outgoing];
        if self.options.outgoing != Algorithm::Sha1 {
            algorithms.push(Algorithm::Sha1);
        }
        let mut why = String::new();
        let secret = self.secret_for(server).await;
        for algorithm in algorithms {
            let url = signed_url(server.url(), call, params, secret.expose(), algorithm);
            let answer = self.client.call(&url, None, false).await.map_err(|e| e.to_string())?;
            let reply = Reply::parse(&answer).map_err(|_| "it does not speak of hooks: install bbb-webhooks there")?;
            if reply.is_success() {
                return Ok(answer);
            }
            let key = reply.message_key().unwrap_or("no reason");
            why = format!("{call} failed: {key}");
            if key != "checksumError" {
                break;
            }
        }
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, url: &str) -> HookEntry {
        HookEntry { id: id.into(), url: url.into(), ..HookEntry::default() }
    }

    #[test]
    fn what_differs_is_changed_and_what_others_have_stays() {
        let mut raw = Hook::new("https://raw.example");
        raw.raw = true;
        let book = HookBook {
            hooks: vec![Hook::new("https://same.example"), raw, Hook::new("https://lacking.example")],
            removed: vec!["https://gone.example".into(), "https://never.example".into()],
        };
        let listed = [
            entry("1", "https://same.example"),
            entry("2", "https://raw.example"),
            entry("3", "https://gone.example"),
            entry("4", "https://of-others.example"),
        ];
        let changes = compare(&book, &listed);
        assert_eq!(changes.destroy, ["2", "3"]);
        assert_eq!(
            changes.create.iter().map(|h| h.url.as_str()).collect::<Vec<_>>(),
            ["https://raw.example", "https://lacking.example"]
        );
        assert_eq!(compare(&HookBook::default(), &listed), Changes::default());
    }
}
