//! A backend as far as the choice of a server looks at it, from a configuration or from options.

use std::collections::HashMap;
use std::net::IpAddr;

use adapter_haproxy::balance::{BackendSpec, Request, RingBase, SpecError, Version};

use crate::check::Target;
use crate::cli::{BackendArgs, HaproxyArgs, Ring};
use crate::files;
use console::Failure;

mod keyed;
mod section;
mod server;

pub(crate) use server::Server;

/// A line that has a say in the choice.
#[derive(Clone, Debug)]
struct Line {
    /// Where it stands, as `FILE:NUMBER`, or the option it comes from.
    place: String,
    text: String,
    words: Vec<String>,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Text; as it is sent in a URL, if so.
    Text {
        /// Characters that end it in a URL: none for a key that is not taken from one as it is.
        ends: Option<&'static [u8]>,
    },
    /// An address.
    Address,
}

/// A backend.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    version: Version,
    ring_base: Option<RingBase>,
    lines: Vec<Line>,
    /// Its servers, in order.
    pub(crate) servers: Vec<Server>,
    subject: Subject,
    encode: bool,
    /// The server of a room is found by its key and nothing else.
    pub(crate) by_key: bool,
    /// There is a stick table.
    pub(crate) sticky: bool,
    /// Rooms that a map file pins, by their percent-encoded name.
    pins: HashMap<String, String>,
    /// What the answers leave out.
    pub(crate) notes: Vec<String>,
}

impl Model {
    /// The backend the options name. Asked by keys, its rules are rewritten so that a key stands for what they read of
    /// a request.
    ///
    /// # Errors
    ///
    /// Files, names, versions and lines that cannot be read.
    pub(crate) fn of(args: &BackendArgs, by_requests: bool) -> Result<Self, Failure> {
        let ring_base = args.ring_base.map(|ring| match ring {
            Ring::Spaced => RingBase::Spaced,
            Ring::Mixed => RingBase::Mixed,
        });
        let (version, note) = version(&args.haproxy, ring_base.is_some())?;
        let mut model = Self {
            version,
            ring_base,
            lines: Vec::new(),
            servers: Vec::new(),
            subject: Subject::Text { ends: None },
            encode: args.encode,
            by_key: false,
            sticky: false,
            pins: HashMap::new(),
            notes: note.into_iter().collect(),
        };
        let files = match &args.backend {
            Some(_) => files::configuration(&args.config)?,
            None => Vec::new(),
        };
        match &args.backend {
            Some(name) => model.read_section(&files, name)?,
            None => model.read_options(args)?,
        }
        if model.servers.is_empty() {
            return Err(Failure::usage("the backend has no server").hint("--config and --backend, or --server NAME"));
        }
        if by_requests {
            model.note_rewrites(&files, args.backend.as_deref());
        } else {
            model.take_keys(&files)?;
        }
        model.sticky = model.lines.iter().any(|line| line.words[0] == "stick");
        Ok(model)
    }

    fn read_options(&mut self, args: &BackendArgs) -> Result<(), Failure> {
        let given = [("balance", &args.algorithm, "--algorithm"), ("hash-type", &args.hash_type, "--hash-type")];
        for (word, text, option) in given {
            let Some(text) = text else { continue };
            let text = format!("{word} {text}");
            let words = section::split(option, &text)?;
            self.lines.push(Line { place: option.to_owned(), text, words });
        }
        self.servers = args.server.iter().map(|text| Server::from_option(text)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The definition for the predictor.
    ///
    /// # Errors
    ///
    /// What HAProxy would refuse, and what no prediction can be made of.
    pub(crate) fn spec(&self) -> Result<BackendSpec, Failure> {
        let mut spec = BackendSpec::new(self.version);
        if let Some(base) = self.ring_base {
            spec.ring_base(base);
        }
        for line in &self.lines {
            spec.line(&line.text).map_err(|why| refused(&format!("{}: ", line.place), &why))?;
        }
        for server in &self.servers {
            spec.server(server.spec());
        }
        spec.ids().map_err(|why| refused("", &why))?;
        Ok(spec)
    }

    /// The servers' ids, in order.
    pub(crate) fn ids(&self) -> Result<Vec<u32>, Failure> {
        self.spec()?.ids().map_err(|why| refused("", &why))
    }

    /// The request that has this key.
    ///
    /// # Errors
    ///
    /// Why no request can have it.
    pub(crate) fn request(&self, key: &[u8]) -> Result<Request, String> {
        let Subject::Text { ends } = self.subject else {
            let address = std::str::from_utf8(key).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
            let odd = || format!("{:?} is no address, and addresses are what is hashed", String::from_utf8_lossy(key));
            return Ok(Request::get("/").source(address.ok_or_else(odd)?));
        };
        let mut target = b"/?".to_vec();
        match ends {
            Some(ends) if self.encode => target.extend(keyed::encode(key, ends)),
            Some(ends) if key.iter().any(|byte| !byte.is_ascii_graphic() || ends.contains(byte)) => {
                let shown = String::from_utf8_lossy(key);
                return Err(format!("{shown:?} cannot stand in a URL like this: give it as it is sent, or --encode"));
            }
            _ => target.extend(key),
        }
        Ok(Request::get(target))
    }

    /// The server a map file pins this room to.
    pub(crate) fn pin(&self, key: &[u8]) -> Option<&str> {
        if self.pins.is_empty() {
            return None;
        }
        let name = self.pins.get(&crate::render::pin_of(key)?)?;
        self.servers.iter().map(|server| &*server.name).find(|server| server == name)
    }
}

/// A refusal in our words.
pub(crate) fn refused(place: &str, why: &SpecError) -> Failure {
    let failure = Failure::failed(format!("{place}{why}"));
    match why {
        SpecError::RingBase { .. } => failure.hint("--ring-base spaced or mixed, or the version with all its numbers"),
        SpecError::Unsupported { .. } => failure.hint("ask by keys instead of --requests, or take another backend"),
        _ => failure,
    }
}

/// The branches whose choices were compared with ours, first and last.
const COMPARED: [(u16, u16); 2] = [(2, 6), (3, 5)];

/// The version to predict for, and a note where it was not said or is not known.
fn version(args: &HaproxyArgs, ring_is_known: bool) -> Result<(Version, Option<String>), Failure> {
    let (version, note) = stated(args, ring_is_known)?;
    let [first, last] = COMPARED;
    if (first..=last).contains(&version.branch()) {
        return Ok((version, note));
    }
    let ((a, b), (c, d), (e, f)) = (version.branch(), first, last);
    let doubt = format!("HAProxy {a}.{b} was never compared, only {c}.{d} to {e}.{f}: it may choose otherwise");
    Ok((version, Some(note.map_or_else(|| doubt.clone(), |note| format!("{note}; {doubt}")))))
}

fn stated(args: &HaproxyArgs, ring_is_known: bool) -> Result<(Version, Option<String>), Failure> {
    let Some(text) = &args.haproxy_version else {
        let target = Target::of(args, None)?;
        let Some(haproxy) = target.haproxy else { return Err(Failure::usage("no version is known")) };
        let version = haproxy.full.parse().map_err(|e| Failure::failed(format!("{e}")))?;
        return Ok((version, Some(format!("as HAProxy {version} does it, which is installed here"))));
    };
    if let Ok(version) = text.parse() {
        return Ok((version, None));
    }
    let short = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let Some((major, minor)) = short else {
        let why = text.parse::<Version>().err().map(|e| e.to_string()).unwrap_or_default();
        return Err(Failure::usage(why));
    };
    if major == 3 && minor <= 2 && !ring_is_known {
        let what = format!("releases of {text} do not all place rooms alike");
        return Err(Failure::usage(what).hint(format!("say which: --haproxy-version {text}.4, or --ring-base")));
    }
    // Whatever differs within other branches is not about placing.
    Ok((Version::release(major, minor, if ring_is_known { u16::MAX } else { 0 }), None))
}
