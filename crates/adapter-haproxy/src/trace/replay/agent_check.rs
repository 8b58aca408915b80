//! What HAProxy and an agent of servers say.

use super::{Fault, Field, Side, Talk, Told};
use crate::agent_check::{AgentReply, MAX_AGENT_LINE};

/// Both directions of a connection: a line each.
#[derive(Debug, Default)]
pub(super) struct AgentTalk {
    lines: [Line; 2],
}

#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    told: bool,
}

impl Talk for AgentTalk {
    fn take(&mut self, side: Side, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        let Some(line) = self.lines.get_mut(side.index()) else { return Ok(()) };
        if line.told {
            // HAProxy does not look at it either.
            return Ok(());
        }
        line.bytes.extend_from_slice(bytes);
        // What came before holds no end.
        let ended = bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
        if !ended && line.bytes.len() <= MAX_AGENT_LINE {
            return Ok(());
        }
        line.told = true;
        let bytes = std::mem::take(&mut line.bytes);
        let fields = match side {
            Side::Haproxy => question(&bytes),
            Side::Us => answer(&bytes)?,
        };
        sink(Told { offset: 0, frame: if side == Side::Us { "reply" } else { "ask" }, fields });
        Ok(())
    }

    fn waiting(&self, side: Side) -> usize {
        self.lines.get(side.index()).map_or(0, |line| line.bytes.len())
    }
}

fn question(bytes: &[u8]) -> Vec<Field> {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r' | 0)).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let names = ["server", "asker"];
    names.into_iter().zip(line.split_ascii_whitespace()).map(|(name, word)| Field::new(name, word)).collect()
}

fn answer(bytes: &[u8]) -> Result<Vec<Field>, Fault> {
    let said = AgentReply::parse(bytes).map_err(|error| Fault { offset: 0, why: error.to_string() })?;
    let fields = [
        said.health().map(|health| Field::new("health", health.word())),
        said.admin().map(|admin| Field::new("admin", admin.word())),
        said.percent().map(|percent| Field::new("percent", percent)),
        said.limit().map(|limit| Field::new("maxconn", limit)),
        said.reason().map(|reason| Field::new("reason", reason)),
        said.unknown().map(|word| Field::new("unknown", word)),
        said.refused().map(|word| Field::new("refused", word)),
    ];
    Ok(fields.into_iter().flatten().collect())
}
