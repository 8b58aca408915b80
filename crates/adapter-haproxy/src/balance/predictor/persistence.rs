//! What goes before balancing: forced and ignored persistence, `use-server`, cookies, stick rules.

use super::Predictor;
use crate::balance::key::Request;
use crate::balance::notes::Notes;
use crate::balance::persist::holds;
use crate::balance::server::ServerState;

impl Predictor {
    /// The server that persistence demands, and the key under which the answer's server is to be remembered.
    pub(super) fn persistence(&mut self, request: &Request, notes: &mut Notes) -> (Option<usize>, Option<Vec<u8>>) {
        let (spec, version) = (self.spec.clone(), self.rules.version);
        let flag = spec.persists.iter().find(|r| holds(r.condition.as_ref(), request, version)).map(|r| r.force);
        let anyway = spec.persist || flag == Some(true);
        let states = &self.states;
        let serves = |i: &usize| anyway || states.get(*i).is_some_and(|s| *s != ServerState::Maint);
        let mut found = None;
        for rule in spec.use_servers.iter().filter(|r| holds(r.condition.as_ref(), request, version)) {
            found = spec.servers.iter().position(|s| s.name == rule.server).filter(serves);
            if let Some(i) = found {
                notes.say_of(i, || "is demanded by use-server".into());
                break;
            }
        }
        if found.is_none()
            && flag != Some(false)
            && let Some(value) = spec.cookie.as_ref().and_then(|name| request.cookie(name)).filter(|v| !v.is_empty())
        {
            let is_it =
                |i: &usize| spec.servers.get(*i).and_then(|s| s.cookie.as_ref()).is_some_and(|c| c.as_bytes() == value);
            found = (0..spec.servers.len()).filter(is_it).find(serves);
            if let Some(i) = found {
                notes.say_of(i, || "is named by the cookie".into());
            }
        }
        let mut remember = None;
        let Some(table) = &mut self.table else { return (found, remember) };
        for rule in &spec.sticks {
            // The first key to be stored ends all rules that would store another.
            if rule.stores && remember.is_some() || !holds(rule.condition.as_ref(), request, version) {
                continue;
            }
            let key = rule.expression.value(request, version).and_then(|sample| table.spec.key(sample));
            let Some(key) = key else { continue };
            if rule.matches
                && let Some(known) = table.touch(&key, self.now)
                && found.is_none()
            {
                found = Some(known).filter(serves);
                notes.say_of(known, || match found {
                    Some(_) => format!("is remembered by the stick table under {}", rule.expression),
                    None => "is remembered by the stick table but stopped".into(),
                });
            }
            if rule.stores {
                remember = Some(key);
            }
        }
        (found, remember)
    }
}
