//! `plan`: what changes of the shards would do.

use super::client::Client;
use crate::cli::Output;
use crate::say;
use console::{Exit, Failure, did_you_mean, printable};

const WORDS: [&str; 8] = ["add", "remove", "drain", "cordon", "maint", "ready", "uncordon", "weight"];

/// Asks for the plan and prints it.
pub(super) async fn run(
    client: &Client,
    view: Output,
    changes: &[String],
    region: &str,
    weight: u16,
) -> Result<Exit, Failure> {
    let steps = steps(changes, region, weight)?;
    let query: Vec<(&str, &str)> = steps.iter().map(|step| ("step", step.as_str())).collect();
    let answer = client.get("/plan", &query).await?;
    say(&match view {
        Output::Json => format!("{}\n", answer["plan"]),
        Output::Table => {
            let text = console::lines(answer["text"].as_str().unwrap_or_default());
            format!("{text}Nothing was changed.\n")
        }
    });
    Ok(Exit::Done)
}

/// `drain eu-1 weight us-1 50` as steps.
fn steps(words: &[String], region: &str, weight: u16) -> Result<Vec<String>, Failure> {
    let mut steps = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !WORDS.contains(&word.as_str()) {
            let meant = did_you_mean(word, WORDS);
            return Err(Failure::usage(format!("{:?} is not a change that can be planned{meant}", printable(word)))
                .hint(format!("the changes are: {}", WORDS.join(", "))));
        }
        let mut next = |what: &str| {
            let found = words.next().filter(|found| !found.contains(':'));
            found.ok_or_else(|| {
                Failure::usage(format!("{word} lacks {what}")).hint("`jitsi-picker shards plan --help` has more")
            })
        };
        let id = next("a shard")?;
        steps.push(match word.as_str() {
            "add" => format!("add:{id}:{region}:{weight}"),
            "weight" => format!("weight:{id}:{}", next("a weight from 0 to 256")?),
            word => format!("{word}:{id}"),
        });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_in_their_order() {
        let read = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            steps(&words, "eu", 100).map_err(|failure| failure.to_string())
        };
        let wanted = ["drain:a", "weight:b:7", "add:c:eu:100", "remove:d"];
        assert_eq!(read("drain a weight b 7 add c remove d").unwrap(), wanted);
        assert!(read("drian a").unwrap_err().contains("did you mean \"drain\"?"));
        assert!(read("drain").unwrap_err().contains("lacks a shard"));
        assert!(read("weight a").unwrap_err().contains("lacks a weight"));
        assert!(read("drain a:b").unwrap_err().contains("lacks a shard"));
    }
}
