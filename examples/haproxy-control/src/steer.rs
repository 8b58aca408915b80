//! Commands to a controller that runs: what it sees, where a room is, drains.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::call::call;
use crate::cli::{ApiArgs, DrainArgs, ExplainArgs, OrderArgs, Output, StatusArgs};
use crate::settings::Settings;
use console::{Cell, Exit, Failure, Outcome, counted, printable, table};

mod show;

pub(crate) use show::moved;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How many rooms are listed by name.
const LISTED: usize = 50;

/// Where the controller is.
#[derive(Debug)]
pub(crate) struct Api {
    base: String,
    token: Option<String>,
    backend: Option<String>,
}

impl Api {
    /// From the options: an address, or the settings of the controller.
    ///
    /// # Errors
    ///
    /// Settings that cannot be read, or that switch the API off.
    pub(crate) fn of(args: &ApiArgs) -> Result<Self, Failure> {
        let settings = args.config.as_deref().map(Settings::read).transpose()?;
        let set = settings.as_ref().and_then(|settings| settings.http.token.as_ref());
        let token = args.token.clone().or_else(|| set.map(|token| token.as_str().to_owned()));
        let base = match (&args.api, &settings) {
            (Some(address), _) => address.clone(),
            (None, Some(settings)) => Self::at(settings)?,
            (None, None) => "http://127.0.0.1:9466".to_owned(),
        };
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, backend: args.backend.clone() })
    }

    /// The controller of these settings.
    pub(crate) fn of_settings(settings: &Settings) -> Result<Self, Failure> {
        let token = settings.http.token.as_ref().map(|token| token.as_str().to_owned());
        Ok(Self { base: Self::at(settings)?, token, backend: None })
    }

    fn at(settings: &Settings) -> Result<String, Failure> {
        let at = settings.listen().map_err(Failure::failed)?;
        let at = at.ok_or_else(|| Failure::failed("http.listen is empty: the controller cannot be asked"))?;
        Ok(format!("http://{at}"))
    }

    /// A question.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.send(Method::GET, path, query).await
    }

    /// An order.
    pub(crate) async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.send(Method::POST, path, query).await
    }

    async fn send(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(query);
        if let Some(backend) = self.backend.as_ref().filter(|_| query.iter().all(|(key, _)| *key != "backend")) {
            text.append_pair("backend", backend);
        }
        let text = text.finish();
        let mark = if text.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{text}", self.base);
        let uri: Uri = url.parse().map_err(|e| Failure::usage(format!("{} is no address", self.base)).cause(e))?;
        let (status, body) = call(method, &uri, self.token.as_deref(), LIMIT).await.map_err(|why| {
            let what = format!("no controller answers at {}", self.base);
            Failure::failed(what).cause(why).hint("`haproxy-control run` must run; --api or --config says where")
        })?;
        let value: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if status.is_success() && value.is_object() {
            return Ok(value);
        }
        if value["text"].as_str().is_none() {
            let what = format!("what answers at {} is no haproxy-control", self.base);
            return Err(Failure::failed(what).cause(status).hint("--api or --config says where it is"));
        }
        let text = value["text"].as_str().unwrap_or(body.trim()).to_owned();
        let exit = match status {
            StatusCode::CONFLICT => Exit::Refused,
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Exit::Usage,
            _ => Exit::Failed,
        };
        Err(Failure::new(exit, printable(&text)))
    }
}

/// `status`
///
/// # Errors
///
/// No controller that answers.
pub(crate) async fn status(args: &StatusArgs) -> Result<Outcome, Failure> {
    let api = Api::of(&args.api)?;
    loop {
        let all = statuses(&api).await?;
        let text = match (args.api.output, &all[..]) {
            (Output::Table, all) => all.iter().map(show::status).collect::<Vec<_>>().join("\n"),
            (Output::Json, [status]) => format!("{status:#}\n"),
            (Output::Json, all) => format!("{:#}\n", json!({ "backends": all })),
        };
        let Some(every) = args.watch else { return Ok(Outcome::done(text)) };
        let mut out = std::io::stdout().lock();
        let clear = if out.is_terminal() && args.api.output == Output::Table { "\u{1b}[H\u{1b}[2J" } else { "" };
        if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() {
            // Whoever read us has enough.
            return Ok(Outcome::done(""));
        }
        drop(out);
        sleep(Duration::from_secs(every.max(1))).await;
    }
}

/// That of the backend that is named, else of all there are.
async fn statuses(api: &Api) -> Result<Vec<Value>, Failure> {
    let first = api.get("/v1/status", &[]).await?;
    let names: Vec<String> = first["backends"].as_array().into_iter().flatten().skip(1).filter_map(text_of).collect();
    let mut all = vec![first];
    if api.backend.is_none() {
        for name in names {
            all.push(api.get("/v1/status", &[("backend", &name)]).await?);
        }
    }
    Ok(all)
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// `explain`
///
/// # Errors
///
/// No controller that answers.
pub(crate) async fn explain(args: &ExplainArgs) -> Result<Outcome, Failure> {
    let report = Api::of(&args.api)?.get("/v1/rooms", &[("room", &args.room)]).await?;
    Ok(Outcome::done(match args.api.output {
        Output::Table => show::room(&report),
        Output::Json => format!("{report:#}\n"),
    }))
}

/// `splits`: ends with 1 where there are any, with 4 where there are none but not all could be asked.
///
/// # Errors
///
/// No controller that answers.
pub(crate) async fn splits(args: &ApiArgs) -> Result<Outcome, Failure> {
    let found = Api::of(args)?.get("/v1/splits", &[]).await?;
    let text = match args.output {
        Output::Table => show::splits(&found),
        Output::Json => format!("{found:#}\n"),
    };
    let some = found["rooms"].as_array().is_some_and(|rooms| !rooms.is_empty());
    let silent = found["silent"].as_object().is_some_and(|silent| !silent.is_empty());
    let exit = match (some, silent) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Partly,
        (false, false) => Exit::Done,
    };
    Ok(Outcome::done(text).ending(exit))
}

/// What an order would come to.
async fn would(api: &Api, server: &str, order: &str, output: Output) -> Result<Outcome, Failure> {
    let left = api.get("/v1/servers", &[("server", server)]).await?;
    let moves = match order {
        "maint" => api.get("/v1/moves", &[("server", server)]).await?["moves"].take(),
        _ => Value::Array(Vec::new()),
    };
    Ok(Outcome::done(match output {
        Output::Table => show::would(order, &left, moves.as_array().map_or(&[], Vec::as_slice)),
        Output::Json => format!("{:#}\n", json!({ "server": server, "would": order, "left": left, "moves": moves })),
    }))
}

/// `cordon`, `uncordon`, `maint`
///
/// # Errors
///
/// No controller that answers, no such server, somebody else's maintenance.
pub(crate) async fn order(args: &OrderArgs, order: &str) -> Result<Outcome, Failure> {
    let api = Api::of(&args.api)?;
    if args.dry_run {
        return would(&api, &args.server, order, args.api.output).await;
    }
    let told = api.post("/v1/servers", &[("server", &args.server), ("order", order)]).await?;
    Ok(Outcome::done(match args.api.output {
        Output::Table => format!("OK {} {order}\n", printable(&args.server)),
        Output::Json => format!("{told:#}\n"),
    }))
}

/// `drain`: with `--wait` until nothing is left or the deadline is over, which ends with 5 and what is left, by room.
///
/// # Errors
///
/// No controller that answers, no such server.
pub(crate) async fn drain(args: &DrainArgs) -> Result<Outcome, Failure> {
    let api = Api::of(&args.api)?;
    let order = if args.move_rooms { "maint" } else { "drain" };
    if args.dry_run {
        return would(&api, &args.server, order, args.api.output).await;
    }
    api.post("/v1/servers", &[("server", &args.server), ("order", order)]).await?;
    let began = Instant::now();
    let (mut said, mut ordered) = (String::new(), false);
    // The order is carried out in the next round.
    loop {
        let left = api.get("/v1/servers", &[("server", &args.server)]).await?;
        let obeyed = left["order"].is_string() && left["in_force"] == true;
        let empty = obeyed && left["empty"] == true && (!args.move_rooms || left["idle"] == 0);
        if !args.wait || empty {
            let text = match args.api.output {
                Output::Json => format!("{left:#}\n"),
                Output::Table if empty => format!("OK {} is empty\n", printable(&args.server)),
                Output::Table => format!("OK {} is to drain: {}\n", printable(&args.server), show::left(&left)),
            };
            return Ok(Outcome::done(text));
        }
        if ordered && left["order"].is_null() {
            return Err(Failure::failed(format!("somebody has ended the order on {}", args.server)));
        }
        ordered |= left["order"].is_string();
        let line = show::left(&left);
        if line != said && args.api.output == Output::Table {
            // Nobody is left to be told.
            let _ = writeln!(std::io::stderr().lock(), "{}: {line}", printable(&args.server));
            said = line;
        }
        let next = Instant::now() + Duration::from_millis(500);
        match args.deadline.map(|deadline| began + deadline.get()) {
            Some(end) if next > end => {
                sleep_until(end).await;
                return Ok(Outcome::done(match args.api.output {
                    Output::Json => format!("{left:#}\n"),
                    Output::Table => show::remaining(&left),
                })
                .with_notes([format!("the deadline is over, {} still drains", args.server)])
                .ending(Exit::TimedOut));
            }
            _ => sleep_until(next).await,
        }
    }
}
