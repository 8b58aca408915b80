//! `rank`: the bridges in the order of the focus.

use serde_json::{Value, json};

use crate::cli::{LookArgs, Output};
use crate::{say, show};
use console::{Exit, Failure};

/// Prints the order. Without a usable bridge it ends with 1.
pub(crate) async fn run(args: &LookArgs) -> Result<Exit, Failure> {
    let mut pool = args.brewery.look(args.focus.settings()?).await?;
    let ranking = pool.ranking();
    let text = match args.output {
        Output::Json => {
            let bridges: Vec<Value> = ranking.iter().map(|(view, figures)| show::json(view, figures)).collect();
            format!("{}\n", json!({ "bridges": bridges }))
        }
        Output::Table => {
            let warnings = ranking.iter().flat_map(|(view, _)| {
                let nick = console::printable(show::nick(view.id.as_str()));
                view.warnings.iter().map(move |warning| format!("{nick}: {warning}\n"))
            });
            let mut text = show::bridges(&ranking);
            let warnings: String = warnings.collect();
            if !warnings.is_empty() {
                text.push_str(&format!("\nPotential problems\n{warnings}"));
            }
            text
        }
    };
    say(&text);
    let usable = ranking.iter().any(|(view, _)| view.operational && !view.shutting_down);
    Ok(if usable { Exit::Done } else { Exit::Failed })
}
