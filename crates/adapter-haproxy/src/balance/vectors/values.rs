//! Kinds `convert` and `fetch`: values of expressions.

use serde_json::Value;

use super::Tally;
use crate::balance::{Converters, Expression, Request, Sample, Version};

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A value as the recordings write it.
fn written(sample: Option<Sample>, out: &str) -> Value {
    let Some(sample) = sample else { return Value::Null };
    match (out, sample) {
        ("int", Sample::Integer(n)) => n.to_string().into(),
        ("hex", sample) => sample.into_binary().iter().map(|c| format!("{c:02x}")).collect::<String>().into(),
        (out, sample) => panic!("no {out}: {sample:?}"),
    }
}

pub(super) fn play(file: &Value, version: Version) -> Tally {
    let mut tally = Tally::default();
    let (text, out) = (file["expr"].as_str().unwrap(), file["out"].as_str().unwrap());
    for pair in file["vectors"].as_array().unwrap() {
        let input = pair[0].as_str().unwrap();
        let got = if file["kind"] == "fetch" {
            let request = Request::get(input).header("Host", "h");
            if request.is_refused(version) {
                "HTTP 400".into()
            } else {
                written(Expression::parse(text).unwrap().value(&request, version), out)
            }
        } else {
            let sample = Sample::Text(unhex(input));
            written(Converters::parse(text).unwrap().apply(sample, version), out)
        };
        tally.check(&format!("{text} of {input}"), &got, &pair[1]);
    }
    tally
}
