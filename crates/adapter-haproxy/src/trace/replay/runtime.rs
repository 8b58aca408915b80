//! What is asked over a runtime socket, and what HAProxy answers.

use std::collections::VecDeque;

use super::{Fault, Field, Side, Talk, Told};
use crate::runtime::{Decoder, Framing, MAX_ANSWER, Piece};

/// How much of a command or an answer is shown, in characters.
const SHOWN: usize = 200;
/// The most commands that wait for their answers.
const MAX_ASKED: usize = 65_536;

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(super) struct RuntimeTalk {
    decoder: Option<Decoder>,
    /// Commands that are not answered.
    asked: VecDeque<String>,
    said: u64,
    /// The beginning of a command.
    partial: Vec<u8>,
    /// The command whose payload is being sent, and its lines so far.
    payload: Option<(String, u64)>,
    heard: u64,
    answer: Answer,
}

#[derive(Debug, Default)]
struct Answer {
    begun: u64,
    first: Option<String>,
    lines: u64,
    bytes: u64,
}

impl RuntimeTalk {
    fn command(&mut self, line: &str, sink: &mut dyn FnMut(Told), offset: u64) -> Result<(), Fault> {
        if let Some((_, lines)) = &mut self.payload {
            if line.is_empty() {
                if let Some((command, lines)) = self.payload.take() {
                    return self.ask(command, Some(lines), sink, offset);
                }
            } else {
                *lines += 1;
            }
            return Ok(());
        }
        match line.strip_suffix("<<") {
            Some(command) => {
                self.payload = Some((cut(command.trim_end()), 0));
                Ok(())
            }
            None => self.ask(cut(line), None, sink, offset),
        }
    }

    fn ask(
        &mut self,
        command: String,
        payload: Option<u64>,
        sink: &mut dyn FnMut(Told),
        offset: u64,
    ) -> Result<(), Fault> {
        if self.asked.len() >= MAX_ASKED {
            return Err(Fault { offset, why: format!("more than {MAX_ASKED} commands wait for an answer") });
        }
        self.asked.push_back(command.clone());
        let lines = payload.map(|lines| Field::new("payload_lines", lines));
        let fields = [Field::new("line", command)].into_iter().chain(lines).collect();
        sink(Told { offset, frame: "command", fields });
        Ok(())
    }

    fn say(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            self.said += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if piece.last() == Some(&b'\n') {
                let whole = std::mem::take(&mut self.partial);
                let offset = self.said.saturating_sub(u64::try_from(whole.len()).unwrap_or(0));
                let line = String::from_utf8_lossy(&whole);
                let line = line.trim_end_matches(['\n', '\r']);
                self.decoder.get_or_insert_with(|| {
                    let prompt = line == "prompt" || line.starts_with("prompt ");
                    Decoder::new(if prompt { Framing::Prompt } else { Framing::Close }, MAX_ANSWER)
                });
                self.command(line, sink, offset)?;
            } else if self.partial.len() > (1 << 20) {
                return Err(Fault { offset: self.said, why: "a command is longer than a megabyte".to_owned() });
            }
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        // Somebody greets before anything was asked: with a prompt of its own, or it is no HAProxy.
        let decoder = self.decoder.get_or_insert_with(|| Decoder::new(Framing::Prompt, MAX_ANSWER));
        let begun = self.answer.begun;
        self.heard += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (answer, asked, heard) = (&mut self.answer, &mut self.asked, self.heard);
        let read = decoder.read(bytes, &mut |piece| match piece {
            Piece::Line(line) => answer.line(line),
            Piece::End { .. } => {
                let told = std::mem::take(answer).tell(asked.pop_front());
                answer.begun = heard;
                sink(told);
            }
        });
        read.map_err(|error| Fault { offset: begun, why: error.to_string() })
    }
}

impl Answer {
    fn line(&mut self, line: &[u8]) {
        if self.first.is_none() {
            self.first = Some(cut(&String::from_utf8_lossy(line)));
        }
        self.lines += 1;
        self.bytes += u64::try_from(line.len()).unwrap_or(0) + 1;
    }

    fn tell(self, to: Option<String>) -> Told {
        let to = to.map(|to| Field::new("to", to));
        let first = self.first.map(|line| Field::new("first_line", line));
        let counts = [Field::new("lines", self.lines), Field::new("bytes", self.bytes)];
        Told { offset: self.begun, frame: "answer", fields: to.into_iter().chain(counts).chain(first).collect() }
    }
}

impl Talk for RuntimeTalk {
    fn take(&mut self, side: Side, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        match side {
            Side::Us => self.say(bytes, sink),
            Side::Haproxy => self.hear(bytes, sink),
        }
    }

    fn end(&mut self, sink: &mut dyn FnMut(Side, Told)) {
        let Some(decoder) = &mut self.decoder else { return };
        let Self { answer, asked, .. } = self;
        if asked.is_empty() && answer.lines == 0 {
            return;
        }
        decoder.close(&mut |piece| match piece {
            Piece::Line(line) => answer.line(line),
            Piece::End { .. } => sink(Side::Haproxy, std::mem::take(answer).tell(asked.pop_front())),
        });
    }

    fn waiting(&self, side: Side) -> usize {
        match side {
            Side::Us => self.partial.len(),
            Side::Haproxy => self.decoder.as_ref().map_or(0, |decoder| decoder.rest().len()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
