//! Commands spelled as for rake: `servers:add[url,secret]`, `poll:all`.

use std::time::Duration;

use crate::action::{Absent, Action, Agreed, Change, Wish};
use crate::commands::{Limits, TenantOrder};
use console::Failure;

/// Every task that is understood, with its arguments.
const TASKS: &[(&str, &str)] = &[
    ("servers", ""),
    ("servers:add", "url,secret,multiplier,tag"),
    ("servers:update", "id,secret,multiplier,tag"),
    ("servers:remove", "id"),
    ("servers:enable", "id"),
    ("servers:cordon", "id"),
    ("servers:disable", "id"),
    ("servers:panic", "id,keep_state,skip_end_calls"),
    ("servers:addAll", "file"),
    ("servers:sync", "file,mode,dryrun"),
    ("servers:loadMultiplier", "id,multiplier"),
    ("servers:tag", "id,tag"),
    ("servers:yaml", "verbose"),
    ("servers:meeting_list", "id:id"),
    ("poll", "interval"),
    ("poll:all", ""),
    ("poll:servers", ""),
    ("poll:meetings", ""),
    ("poll:versions", ""),
    ("status", ""),
    ("meetings", ""),
    ("meetings:list", "id:id"),
    ("meetings:info", "id"),
    ("meetings:end", "id:id"),
    ("tenants", ""),
    ("tenants:showall", ""),
    ("tenants:add", "name,secrets"),
    ("tenants:update", "id,name,secrets"),
    ("tenants:remove", "id"),
    ("tenants:update_lrs_basic", "id,lrs_endpoint,lrs_username,lrs_password"),
    ("tenants:update_lrs_kc", "id,lrs_endpoint,kc_token_url,kc_client_id,kc_client_secret,kc_username,kc_password"),
    ("tenantSettings", ""),
    ("tenantSettings:add", "tenant_id,param,value,override"),
    ("tenantSettings:remove", "id"),
    ("recordings:watch", "poll,seconds"),
    ("recordings:update", ""),
    ("recordings:addToTenant", "id"),
    ("liveness", ""),
];

/// Whether the first word of a command line is a rake spelling rather than a command of ours.
pub(crate) fn is_task(word: &str) -> bool {
    !word.starts_with('-') && (word == "tenantSettings" || word.contains([':', '[']))
}

/// What a rake spelling asks for. Arguments are split at commas; blanks around them and quotes around the whole do
/// not count, and an argument that is left out is missing, while an empty one is empty.
///
/// # Errors
///
/// An unknown task, a missing bracket, a missing argument, too many of them.
pub(crate) fn parse(text: &str) -> Result<Action, Failure> {
    let text = text.trim().trim_matches(['"', '\'']);
    let (task, args) = match text.split_once('[') {
        None => (text, Vec::new()),
        Some((task, rest)) => {
            let inner = rest.strip_suffix(']').ok_or_else(|| {
                Failure::usage(format!("the task {task} has no closing bracket"))
                    .hint(format!("quote it and write no blanks after commas: '{task}[...]'"))
            })?;
            let args = if inner.trim().is_empty() { Vec::new() } else { inner.split(',').map(str::trim).collect() };
            (task, args)
        }
    };
    let family = task.split(':').next().unwrap_or_default();
    let Some((_, takes)) = TASKS.iter().find(|(name, _)| *name == task) else {
        return Err(unknown(task));
    };
    let most = takes.split(',').filter(|s| !s.is_empty()).count();
    if args.len() > most {
        let takes = if most == 0 { "none".to_owned() } else { format!("[{takes}]") };
        return Err(Failure::usage(format!("the task {task} has {} arguments, it takes {takes}", args.len())));
    }
    let need = |at: usize| {
        args.get(at).filter(|arg| !arg.is_empty()).map(|arg| (*arg).to_owned()).ok_or_else(|| {
            Failure::usage(format!("the task {task} lacks an argument")).hint(format!("write '{task}[{takes}]'"))
        })
    };
    let given = |at: usize| args.get(at).filter(|arg| !arg.is_empty()).map(|arg| (*arg).to_owned());
    let ids = || given(0).map(|ids| ids.split(':').map(str::to_owned).collect()).unwrap_or_default();
    let wish = |wish| Ok(Action::Wish { id: need(0)?, wish });
    match task {
        "servers" => Ok(Action::List { show_secrets: false }),
        "servers:add" => Ok(Action::Add {
            url: need(0)?,
            secret: need(1)?,
            multiplier: given(2),
            tag: given(3),
            enable: false,
            lenient: true,
        }),
        "servers:update" => Ok(Action::Update {
            id: need(0)?,
            change: Change { secret: given(1), multiplier: given(2), tag: args.get(3).map(|tag| (*tag).to_owned()) },
        }),
        "servers:remove" => Ok(Action::Remove { id: need(0)?, force: false }),
        // As rake does: the secrets are what the file is for.
        "servers:yaml" => Ok(Action::Yaml {
            verbose: given(0).is_some_and(|word| !matches!(word.as_str(), "false" | "0")),
            show_secrets: true,
        }),
        "servers:enable" => wish(Wish::Enable),
        "servers:cordon" => wish(Wish::Cordon),
        "servers:disable" => wish(Wish::Disable),
        "servers:panic" => {
            let (keep_state, skip_ends) =
                (flag(given(1).as_deref(), "keep_state")?, flag(given(2).as_deref(), "skip_end_calls")?);
            Ok(Action::Panic { id: need(0)?, keep_state, skip_ends })
        }
        "servers:addAll" => Ok(Action::AddAll { file: need(0)?, dry: false }),
        "servers:sync" => {
            let absent = match given(1).as_deref() {
                None | Some("cordon") => Absent::Cordon,
                Some("keep") => Absent::Keep,
                Some("force") => Absent::Force,
                Some(other) => {
                    return Err(Failure::usage(format!("mode is {other:?}")).hint("write keep, cordon or force"));
                }
            };
            Ok(Action::Sync { file: need(0)?, absent, dry: flag(given(2).as_deref(), "dryrun")? })
        }
        "servers:loadMultiplier" => {
            Ok(Action::Update { id: need(0)?, change: Change { multiplier: Some(need(1)?), ..Change::default() } })
        }
        "servers:tag" => Ok(Action::Update {
            id: need(0)?,
            change: Change { tag: Some(given(1).unwrap_or_default()), ..Change::default() },
        }),
        "poll:all" | "poll:servers" | "poll:meetings" | "poll:versions" => Ok(Action::Poll { lenient: true }),
        "poll" => Ok(Action::Poll { lenient: true }.watched(interval(given(0))?)),
        // The balancer polls its spool by itself; this looks at once, and again in between.
        "recordings:watch" => {
            let every = interval(given(1).or(Some("60".to_owned())))?;
            Ok(Action::ImportRecordings.watched(every))
        }
        "recordings:update" => Ok(Action::SettleRecordings),
        "recordings:addToTenant" => Ok(Action::RecordingsToTenant { tenant: need(0)? }),
        "status" => Ok(Action::Status),
        "liveness" => Ok(Action::Liveness),
        _ if family.starts_with("tenant") => of_tenants(task, &need, &given),
        "meetings:info" => Ok(Action::MeetingInfo { meetings: vec![need(0)?] }),
        "meetings:end" => {
            // Ids may hold colons no more than Scalelite's own task allows.
            let meetings = need(0)?.split(':').map(str::to_owned).collect();
            Ok(Action::EndMeetings { meetings, agreed: Agreed::Read, dry: false })
        }
        "servers:meeting_list" => Ok(Action::MeetingsByServer { servers: ids() }),
        // The remaining ones list meetings, of some servers or of all.
        _ => Ok(Action::Meetings { servers: ids(), tenant: None }),
    }
}

/// The tasks about tenants.
fn of_tenants(
    task: &str,
    need: &dyn Fn(usize) -> Result<String, Failure>,
    given: &dyn Fn(usize) -> Option<String>,
) -> Result<Action, Failure> {
    let lrs = |names: &[&'static str]| -> Result<TenantOrder, Failure> {
        let fields = names.iter().zip(1..).map(|(name, at)| Ok((*name, need(at)?))).collect::<Result<_, Failure>>()?;
        Ok(TenantOrder::Update { tenant: need(0)?, fields, limits: Limits::default() })
    };
    let order = match task {
        "tenants:add" => TenantOrder::Add { name: need(0)?, secrets: need(1)?, limits: Limits::default() },
        "tenants:update" => {
            let fields = [("name", given(1)), ("secrets", given(2))];
            let fields: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            TenantOrder::Update { tenant: need(0)?, fields, limits: Limits::default() }
        }
        "tenants:remove" => TenantOrder::Remove { tenant: need(0)? },
        "tenants:update_lrs_basic" => lrs(&["lrs_endpoint", "lrs_username", "lrs_password"])?,
        "tenants:update_lrs_kc" => {
            lrs(&["lrs_endpoint", "kc_token_url", "kc_client_id", "kc_client_secret", "kc_username", "kc_password"])?
        }
        "tenantSettings" => TenantOrder::Settings,
        "tenantSettings:add" => {
            TenantOrder::Set { tenant: need(0)?, param: need(1)?, value: need(2)?, overrides: need(3)? == "true" }
        }
        "tenantSettings:remove" => TenantOrder::Unset { id: need(0)? },
        _ => TenantOrder::List { show_secrets: false },
    };
    Ok(Action::Tenants(order))
}

/// How often something is done again, if so.
fn interval(given: Option<String>) -> Result<Option<Duration>, Failure> {
    let read = given.map(|text| match text.parse::<u64>() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(Failure::usage(format!("the interval is {text:?}")).hint("give seconds from 1 to 86400")),
    });
    read.transpose()
}

/// A switch of a task; its own name counts as yes.
fn flag(given: Option<&str>, name: &str) -> Result<bool, Failure> {
    match given {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(word) if word == name => Ok(true),
        Some(other) => Err(Failure::usage(format!("{name} is {other:?}")).hint("write true or false")),
    }
}

fn unknown(task: &str) -> Failure {
    let failure = Failure::usage(format!("there is no task {task:?}"));
    match crate::nearest::nearest(task, TASKS.iter().map(|(name, _)| *name)) {
        Some(near) => failure.hint(format!("did you mean {near:?}?")),
        None => failure.hint(
            "the tasks are those of `rake servers`, `rake tenants`, `rake poll`, `rake status` and `rake meetings`",
        ),
    }
}

#[cfg(test)]
mod tests;
