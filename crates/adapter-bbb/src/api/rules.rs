//! Which parameters reach the server of a meeting: defaults, overrides, exclusions, and what the balancer adds.

mod tag;

use super::params::Params;

pub use tag::{TagWish, effective_tag};

pub(crate) const SERVER_TAG: &str = "meta_server-tag";
const VOICE_BRIDGE: &str = "voiceBridge";
const MEETING_ID: &str = "meetingID";
const CHECKSUM: &str = "checksum";
const TENANT_ID: &str = "meta_tenant-id";
const TENANT_NAME: &str = "meta_tenant-name";
const LRS_PAYLOAD: &str = "meta_secret-lrs-payload";

/// Whether a tenant's setting must not touch this parameter: servers and this balancer tell meetings apart by it.
#[must_use]
pub fn is_fixed_for_tenants(param: &str) -> bool {
    let fixed = [MEETING_ID, CHECKSUM, VOICE_BRIDGE, TENANT_ID, TENANT_NAME, LRS_PAYLOAD];
    let name = param.strip_suffix("[]").unwrap_or(param);
    name.trim().is_empty() || fixed.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Parameter rules that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// An item of a `name=value` list has no `=`, or no name.
    #[error("item {at} of the {list} is not name=value: write `a=1,b=2`")]
    NotAPair {
        /// Which list: `defaults` or `overrides`.
        list: &'static str,
        /// Which item, counted from 1.
        at: usize,
    },
    /// A parameter the balancer itself depends on cannot be changed by a rule.
    #[error("parameter {name} cannot be among the {list}: remove it")]
    Fixed {
        /// Which list: `defaults`, `overrides` or `exclusions`.
        list: &'static str,
        /// The parameter.
        name: &'static str,
    },
}

/// Rules for the parameters of `create`, or of `join`.
///
/// Values may be passwords, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ParamRules {
    defaults: Vec<(String, String)>,
    overrides: Vec<(String, String)>,
    exclude: Vec<String>,
}

impl std::fmt::Debug for ParamRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("ParamRules")
            .field("defaults", &names(&self.defaults))
            .field("overrides", &names(&self.overrides))
            .field("exclude", &self.exclude)
            .finish()
    }
}

impl ParamRules {
    /// Reads rules from three texts: `a=1,b=2` for the defaults (used where the front-end sends nothing) and the
    /// overrides (used whatever it sends), `a,b` for the excluded names. Each pair is split at its first `=`; blank
    /// items are passed over; of a repeated name the last value counts.
    ///
    /// # Errors
    /// An item without name or `=`; a rule about `checksum` or one that would change `meetingID`.
    pub fn parse(defaults: &str, overrides: &str, exclude: &str) -> Result<Self, RuleError> {
        let exclude: Vec<String> =
            exclude.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if exclude.iter().any(|name| name == MEETING_ID) {
            return Err(RuleError::Fixed { list: "exclusions", name: MEETING_ID });
        }
        Ok(Self { defaults: pairs("defaults", defaults)?, overrides: pairs("overrides", overrides)?, exclude })
    }

    /// The same with the settings of a tenant: parameter, value, and whether it counts whatever is sent. Its overrides
    /// count more than those for everybody, its defaults less; of `meta_server-tag` its default counts more as well.
    #[must_use]
    pub fn with_tenant<'s>(&self, settings: impl IntoIterator<Item = (&'s str, &'s str, bool)>) -> Self {
        let mut rules = self.clone();
        for (param, value, overrides) in settings {
            if is_fixed_for_tenants(param) {
                continue;
            }
            let list = if overrides { &mut rules.overrides } else { &mut rules.defaults };
            match list.iter_mut().find(|(own, _)| own == param) {
                Some((_, own)) if overrides || param == SERVER_TAG => value.clone_into(own),
                Some(_) => {}
                None => list.push((param.to_owned(), value.to_owned())),
            }
        }
        rules
    }

    /// Every name and value that the rules put into a call, of defaults and of overrides.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.defaults.iter().chain(&self.overrides).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those of them that reach the server when a front-end sends these parameters.
    #[cfg(feature = "http")]
    pub(crate) fn added<'r>(&'r self, to: &'r Params<'_>) -> impl Iterator<Item = (&'r str, &'r str)> {
        let defaults = self.defaults.iter().filter(|(name, _)| self.exclude.contains(name) || !to.contains(name));
        defaults.chain(&self.overrides).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn default_of(&self, name: &str) -> Option<&str> {
        self.defaults.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn override_of(&self, name: &str) -> Option<&str> {
        self.overrides.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Defaults first, then the other parameters, with overrides in the places of what they replace, new ones last.
    fn apply<'p>(&'p self, mut client: Params<'p>) -> Params<'p> {
        for name in &self.exclude {
            client.remove(name);
        }
        let mut params = Params::new();
        for (name, value) in self.defaults.iter().filter(|(name, _)| name != SERVER_TAG) {
            params.push(name.as_str(), value.as_str());
        }
        // A repeated name leaves the later value in the first place.
        params.append(client);
        params.collapse();
        for (name, value) in self.overrides.iter().filter(|(name, _)| name != SERVER_TAG) {
            params.set(name.as_str(), value.as_str());
        }
        params
    }
}

fn pairs(list: &'static str, text: &str) -> Result<Vec<(String, String)>, RuleError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (at, item) in (1..).zip(text.split(',')).filter(|(_, item)| !item.trim().is_empty()) {
        let (name, value) = item.split_once('=').ok_or(RuleError::NotAPair { list, at })?;
        let name = name.trim();
        for fixed in [MEETING_ID, CHECKSUM] {
            if name == fixed {
                return Err(RuleError::Fixed { list, name: fixed });
            }
        }
        if name.is_empty() {
            return Err(RuleError::NotAPair { list, at });
        }
        match pairs.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => value.clone_into(own),
            None => pairs.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(pairs)
}

/// What the balancer knows about a meeting that is being created. `Debug` leaves the password out.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct CreateContext<'c> {
    /// The number allocated to the meeting, also on a repeated create; none is sent when it is empty.
    pub voice_bridge: &'c str,
    /// The moderators' password, only for the create that claimed the meeting.
    pub moderator_pw: Option<&'c str>,
    /// The tag of the server the meeting is on.
    pub server_tag: Option<&'c str>,
    /// The longest duration allowed, in minutes; 0 means any.
    pub max_duration_minutes: u32,
    /// Id and name of the tenant, which the front-end cannot change.
    pub tenant: Option<(&'c str, &'c str)>,
    /// Where learning records go, encrypted for the server.
    pub lrs_payload: Option<&'c str>,
}

impl<'c> CreateContext<'c> {
    /// A repeated create on an untagged server, of any duration. Set the fields that differ.
    #[must_use]
    pub fn new(voice_bridge: &'c str) -> Self {
        Self { voice_bridge, ..Self::default() }
    }
}

impl std::fmt::Debug for CreateContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateContext")
            .field("voice_bridge", &self.voice_bridge)
            .field("server_tag", &self.server_tag)
            .field("max_duration_minutes", &self.max_duration_minutes)
            .finish_non_exhaustive()
    }
}

/// The parameters of a `create` for the server: what the front-end sent, what the balancer adds, minus excluded names,
/// then defaults and overrides. `meta_server-tag` is the server's, whatever the rules say.
#[must_use]
pub fn create_params<'p>(client: &'p Params<'_>, context: &CreateContext<'p>, rules: &'p ParamRules) -> Params<'p> {
    let mut params = client.borrowed();
    params.collapse();
    params.remove(CHECKSUM);
    if context.voice_bridge.is_empty() {
        // The server draws one itself; the front-end's own may be another meeting's.
        params.remove(VOICE_BRIDGE);
    } else {
        params.set(VOICE_BRIDGE, context.voice_bridge);
    }
    if let Some(password) = context.moderator_pw {
        params.set("moderatorPW", password);
    }
    match context.server_tag.filter(|tag| !tag.is_empty()) {
        Some(tag) => params.set(SERVER_TAG, tag),
        None => params.remove(SERVER_TAG),
    }
    let max = context.max_duration_minutes;
    if max > 0 && !params.get("duration").is_some_and(|asked| within(asked, max)) {
        params.set("duration", max.to_string());
    }
    let mut params = rules.apply(params);
    if let Some((id, name)) = context.tenant {
        // Servers do not tell upper from lower case in names of metadata.
        for own in [TENANT_ID, TENANT_NAME, LRS_PAYLOAD] {
            params.remove_any_case(own);
        }
        params.push(TENANT_ID, id);
        params.push(TENANT_NAME, name);
        if let Some(payload) = context.lrs_payload {
            params.push(LRS_PAYLOAD, payload);
        }
    }
    params
}

/// Whether a duration in minutes is a number from 1 to `max`. Anything else means "unlimited" to a server.
fn within(asked: &str, max: u32) -> bool {
    let digits = asked.trim();
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.parse::<u32>().is_ok_and(|minutes| (1..=max).contains(&minutes))
}

/// The parameters of a `join` for the server: what the front-end sent, minus excluded names, then defaults and
/// overrides.
#[must_use]
pub fn join_params<'p>(client: &'p Params<'_>, rules: &'p ParamRules) -> Params<'p> {
    let mut params = client.borrowed();
    params.remove(CHECKSUM);
    rules.apply(params)
}

#[cfg(test)]
mod tests;
