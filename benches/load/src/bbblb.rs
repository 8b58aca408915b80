//! PyPI's `bbblb` in the same run, on the same core, before the same servers, under the same load.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::client::Target;
use crate::fakes::Fakes;
use crate::process::{Watched, pinned};
use crate::report::{Line, beside, print};
use crate::service::{Scratch, Service, finish, free_port};
use crate::{MEETINGS, Measure, SERVERS, cases};

/// What is installed: the release that is compared, its own choice of a web server, and what its database needs.
const PACKAGES: [&str; 2] = ["bbblb[server]==0.0.18", "greenlet"];
const SECRET: &str = "bbb-load-secret";
/// Longest wait for one step of the preparation.
const STEP: Duration = Duration::from_secs(120);
/// Longest wait for all measurements.
const MEASURED: Duration = Duration::from_secs(300);

/// It calls its servers by https alone; plain http, as for ours, spares it the encryption.
const PLAIN: &str = "\
import bbblb.model
bbblb.model.Server.api_base = property(lambda server: f'http://{server.domain}/bigbluebutton/api/')
from bbblb.asgi import app
";

/// Its own commands, one argument each with words apart by tabulators; one process, since each takes a second to begin.
/// Then the database lets readers go on while somebody writes.
const COMMANDS: &str = "\
import sqlite3, sys
from bbblb.cli import main
for words in sys.argv[2:]:
    main(words.split('\\t'), standalone_mode=False)
sqlite3.connect(sys.argv[1]).execute('pragma journal_mode=wal')
";

/// Measures it and sets ours beside it, or says aloud why not.
pub(crate) async fn measure(options: &Measure, core: Option<usize>, ours: &[(String, Vec<Line>)]) {
    println!("\nbbblb 0.0.18, {MEETINGS} meetings on {SERVERS} servers");
    let python = match prepare(options).await {
        Ok(python) => python,
        Err(why) => return println!("SKIPPED: bbblb is not measured: {why}"),
    };
    match tokio::time::timeout(MEASURED, run(&python, options, core)).await {
        Ok(Ok(lines)) => {
            print("bbblb 0.0.18, SQLite, plain http to its servers", &lines, false);
            for (name, ours) in ours {
                beside(name, ours, &lines);
            }
        }
        Ok(Err(why)) => println!("FAILED: bbblb is not measured: {why}"),
        Err(_) => println!("FAILED: bbblb is not measured: not done within {MEASURED:?}"),
    }
}

/// The Python of an environment that has it.
async fn prepare(options: &Measure) -> Result<PathBuf, String> {
    let folder = match &options.bbblb_env {
        Some(folder) => folder.clone(),
        None => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            own.parent().ok_or("this program lies nowhere")?.join("bbblb-0.0.18")
        }
    };
    let scratch = Scratch::new("python")?;
    let python = folder.join("bin/python");
    let works = async |python: &Path| {
        let imports = "import bbblb, greenlet, uvicorn, httptools, uvloop";
        finish(Command::new(python).args(["-c", imports]), STEP, &scratch.0).await.is_ok()
    };
    if works(&python).await {
        return Ok(python);
    }
    let base = python_3_13(&scratch.0).await?;
    println!("installing {} into {}", PACKAGES.join(" and "), folder.display());
    finish(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder), STEP, &scratch.0).await?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    finish(Command::new(&python).args(install).args(PACKAGES), STEP, &scratch.0).await?;
    if works(&python).await { Ok(python) } else { Err(format!("{} cannot import it", python.display())) }
}

/// Python 3.13: on the path, else one of pyenv.
async fn python_3_13(scratch: &Path) -> Result<PathBuf, String> {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let mut found = vec![PathBuf::from("python3.13")];
    for root in pyenv.into_iter().chain(home) {
        let versions = fs::read_dir(root.join("versions")).into_iter().flatten().flatten();
        found.extend(versions.map(|version| version.path().join("bin/python3.13")).filter(|path| path.is_file()));
    }
    for python in found {
        // A shim of pyenv is there without being of use.
        let right = "import sys, venv; sys.exit(sys.version_info[:2] != (3, 13))";
        if finish(Command::new(&python).args(["-c", right]), STEP, scratch).await.is_ok() {
            return Ok(python);
        }
    }
    Err("it needs Python 3.13, and there is no `python3.13` on the path or in ~/.pyenv/versions".to_owned())
}

async fn run(python: &Path, options: &Measure, core: Option<usize>) -> Result<Vec<Line>, String> {
    let fakes = Fakes::start(SERVERS)?;
    let scratch = Scratch::new("bbblb")?;
    let put = |name: &str, text: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, text).map(|()| path).map_err(|error| format!("cannot write {name}: {error}"))
    };
    let commands = put("commands.py", COMMANDS)?;
    put("plain.py", PLAIN)?;
    let port = free_port()?;
    let target = Target::parse(&format!("http://127.0.0.1:{port}"), SECRET)?;
    let file = scratch.0.join("bbblb.sqlite");
    let settings = |command: &mut Command| {
        // Patient, where it would say after five seconds that the database is locked.
        let database = format!("sqlite:///{}?timeout=60", file.display());
        command.current_dir(&scratch.0).env("PYTHONPATH", &scratch.0).env("BBBLB_DOMAIN", "bbblb.test");
        command.env("BBBLB_SECRET", SECRET).env("BBBLB_DB", database).env("BBBLB_PATH_DATA", &scratch.0);
    };

    let mut orders = vec![format!("tenant\tcreate\t--realm\t127.0.0.1:{port}\t--secret\t{SECRET}\tload")];
    let mut enable = "server\tenable\t--now".to_owned();
    for (url, secret) in &fakes.servers {
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        orders.push(format!("server\tcreate\t--secret\t{secret}\t{host}"));
        enable.push('\t');
        enable.push_str(host);
    }
    orders.push(enable);
    let mut command = Command::new(python);
    settings(command.arg(commands).arg(&file).args(&orders));
    finish(&mut command, STEP, &scratch.0).await?;

    let mut command = core.map_or_else(|| Command::new(python), |core| pinned(python, core));
    command.args(["-m", "uvicorn", "plain:app", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning"]);
    settings(command.args(["--port", &port.to_string()]));
    let mut service = Service::spawn("bbblb", &mut command, target, &scratch.0)?;
    let index = service.target.get("", "");
    service.wait("answers", &index, |status, body| status == 200 && body.contains("SUCCESS")).await?;
    let watched = Watched { balancer: service.pid(), redis: None };
    // Its creates that begin together fail at times: one at a time is what makes the meetings that have to be there.
    let done = cases(&service.target, Some(watched), options, &[64], 1).await;
    done.map_err(|error| service.fault(&error))
}
