//! What applying would do, or has done, in words.

use adapter_haproxy::reconcile::Plan;
use serde_json::{Value, json};

use super::Job;
use crate::cli::Output;
use crate::steer;
use console::printable;

/// Plans, or what was done; servers with their backends where there are several.
pub(super) fn show(
    output: Output,
    jobs: &[Job<'_>],
    several: bool,
    moves: Option<&[Value]>,
    done: Option<&[String]>,
) -> String {
    if output == Output::Json {
        let processes = jobs.iter().map(|job| {
            json!({
                "name": job.process.name.as_str(),
                "plan": job.plan,
                "reload": job.reload,
                "file_changes": job.other_file,
                "leaving": job.leaving.iter().map(|one| one.named(several)).collect::<Vec<_>>(),
            })
        });
        let processes: Vec<Value> = processes.collect();
        return format!("{:#}\n", json!({ "processes": processes, "moves": moves, "done": done }));
    }
    let mut out = String::new();
    if let Some(done) = done {
        for line in done {
            out.push_str(&format!("OK {line}\n"));
        }
        if done.is_empty() {
            out.push_str("OK nothing is to be done\n");
        }
        return out;
    }
    for job in jobs {
        out.push_str(&format!("{}:\n", printable(job.process.name.as_str())));
        if let Some(why) = &job.reload {
            out.push_str(&format!("  one reload: {}\n", printable(why)));
        }
        out.push_str(&planned(&job.plan, job.reload.is_some(), job.other_file));
    }
    let Some(moves) = moves else {
        out.push_str("no controller answers: the rooms that would move are not known\n");
        return out;
    };
    out.push_str(&steer::moved(moves));
    out
}

fn planned(plan: &Plan, reload: bool, other_file: bool) -> String {
    let mut out = String::new();
    if plan.is_empty() && !reload {
        out.push_str(if other_file { "  only the file is written\n" } else { "  nothing is to be done\n" });
    }
    // What is left as it is, is told in any case.
    let told = plan.to_string();
    out.push_str(told.strip_prefix("nothing to do\n").unwrap_or(&told));
    out
}
