//! `hooks/create`, `hooks/list`, `hooks/destroy`: kept here, given to every server.

use std::sync::Arc;

use super::{BbbService, Done, store_fault, xml};
use crate::api::{Fault, HookEntry, Params, write_hooks, write_success};
use crate::cluster::Cluster;
use crate::store::{Hook, HookAdded};

/// The longest id of a meeting, and the longest list of events.
const MAX_TEXT: usize = 1024;

fn failed(key: &str, message: &str) -> Fault {
    Fault::Passed { key: key.to_owned(), message: message.to_owned() }
}

/// What keeps the hooks of two tenants apart that want the same address to be called: a fragment, which nobody sends.
fn apart(url: &str, tenant: &str) -> String {
    let between = if url.contains('#') { "&" } else { "#" };
    format!("{url}{between}tenant={tenant}")
}

/// The address as the front-end gave it.
fn given(hook: &Hook) -> String {
    let end = hook.tenant.as_ref().map(|t| format!("tenant={t}")).unwrap_or_default();
    match hook.url.strip_suffix(&end) {
        Some(url) if !end.is_empty() => url.strip_suffix(['#', '&']).unwrap_or(url).to_owned(),
        _ => hook.url.clone(),
    }
}

fn entry(hook: Hook) -> HookEntry {
    HookEntry { id: hook.id.to_string(), url: given(&hook), meeting: hook.meeting, events: hook.events, raw: hook.raw }
}

/// Gives all servers what changed, also when the caller hangs up; waits for as long as a call may take.
async fn spread(cluster: &Arc<Cluster>) {
    let ours = cluster.clone();
    let work = tokio::spawn(async move { ours.match_hooks(true).await });
    // What takes longer goes on behind.
    let _ = tokio::time::timeout(cluster.options.call_time(), work).await;
}

impl BbbService {
    pub(super) async fn hooks_create(&self, params: &Params<'_>) -> Done {
        let url = params.present("callbackURL");
        let url =
            url.ok_or_else(|| failed("missingParamCallbackURL", "You must specify a callbackURL in the parameters."))?;
        let refused = |why: &str| failed("createHookError", &format!("The callbackURL cannot be used: {why}"));
        self.cluster.live().callbacks.allow.check_resolved(url).await.map_err(|e| refused(&e.to_string()))?;
        let mut hook = Hook::new(url);
        hook.since_ms = self.cluster.store_ms();
        for (name, into) in [("meetingID", &mut hook.meeting), ("eventID", &mut hook.events)] {
            let value = params.present(name);
            if value.is_some_and(|value| value.len() > MAX_TEXT) {
                return Err(refused("meetingID and eventID must be at most 1024 bytes long"));
            }
            *into = value.map(str::to_owned);
        }
        if self.tenant().is_some() {
            // Servers know no tenants: one without a meeting would hear of everybody's.
            let Some(meeting) = hook.meeting.take() else {
                return Err(refused(
                    "a meetingID is needed, since a hook without one hears of every tenant's meetings",
                ));
            };
            hook.meeting = Some(self.id_for_servers(&meeting).await?);
            hook.tenant = Some(self.tenant_id().to_owned());
        }
        hook.raw = params.get("getRaw").is_some_and(|raw| raw.eq_ignore_ascii_case("true"));
        let store = self.cluster.store.callback_store();
        // A tenant's own may be kept apart from another one's that is gone by now.
        let own = match &hook.tenant {
            Some(_) => {
                let book = store.hooks().await.map_err(|e| store_fault(&e))?;
                book.hooks.into_iter().find(|known| known.tenant == hook.tenant && given(known) == hook.url)
            }
            None => None,
        };
        let mut added = match own {
            Some(own) => HookAdded::Known(own),
            None => store.add_hook(&hook).await.map_err(|e| store_fault(&e))?,
        };
        if hook.tenant.is_some() && matches!(&added, HookAdded::Known(other) if other.tenant != hook.tenant) {
            hook.url = apart(&hook.url, self.tenant_id());
            added = store.add_hook(&hook).await.map_err(|e| store_fault(&e))?;
        }
        match added {
            HookAdded::New(hook) => {
                spread(&self.cluster).await;
                let raw = if hook.raw { "true" } else { "false" };
                let id = hook.id.to_string();
                let elements = [("hookID", id.as_str()), ("permanentHook", "false"), ("rawData", raw)];
                Ok(xml(256, |out| write_success(out, &elements)))
            }
            HookAdded::Known(hook) => {
                let id = hook.id.to_string();
                let message = "There is already a hook for this callback URL.";
                let elements = [("hookID", id.as_str()), ("messageKey", "duplicateWarning"), ("message", message)];
                Ok(xml(256, |out| write_success(out, &elements)))
            }
            HookAdded::Full => Err(refused("there are too many hooks, remove some with hooks/destroy")),
        }
    }

    /// With a meeting: its own hooks, and those that hear of all.
    pub(super) async fn hooks_list(&self, params: &Params<'_>) -> Done {
        let book = self.cluster.store.callback_store().hooks().await.map_err(|e| store_fault(&e))?;
        let meeting = params.present("meetingID");
        let known_as: Option<Vec<String>> = meeting.map(|id| self.ids_at_servers(id).collect());
        let own = |hook: &Hook| self.tenant().is_none_or(|t| hook.tenant.as_ref() == Some(&t.id));
        let hears = |hook: &Hook| match (&hook.meeting, &known_as) {
            (Some(own), Some(asked)) => asked.contains(own),
            _ => true,
        };
        let hooks: Vec<HookEntry> = book.hooks.into_iter().filter(own).filter(hears).map(entry).collect();
        Ok(xml(hooks.len() * 256 + 128, |out| write_hooks(out, &hooks)))
    }

    pub(super) async fn hooks_destroy(&self, params: &Params<'_>) -> Done {
        let id = params.present("hookID");
        let id = id.ok_or_else(|| failed("missingParamHookID", "You must specify a hookID in the parameters."))?;
        let store = self.cluster.store.callback_store();
        let removed = match id.trim().parse() {
            Ok(id) => {
                let own = match self.tenant() {
                    Some(t) => {
                        let book = store.hooks().await.map_err(|e| store_fault(&e))?;
                        book.hooks.iter().any(|hook| hook.id == id && hook.tenant.as_ref() == Some(&t.id))
                    }
                    None => true,
                };
                if own { store.remove_hook(id).await.map_err(|e| store_fault(&e))? } else { None }
            }
            Err(_) => None,
        };
        if removed.is_none() {
            return Err(failed("destroyMissingHook", "The hook informed was not found."));
        }
        spread(&self.cluster).await;
        Ok(xml(128, |out| write_success(out, &[("removed", "true")])))
    }
}
