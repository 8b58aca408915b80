//! JSON values as YAML, in block style.

use serde_json::Value;

mod read;

pub(crate) use read::read;

/// The value as a document, with a line break at its end. Texts that YAML could take for something else are quoted.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => block(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        _ => out.push_str(&format!("{}\n", scalar(value))),
    }
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let below = |v: &Value| {
        v.as_object().is_some_and(|fields| !fields.is_empty()) || v.as_array().is_some_and(|items| !items.is_empty())
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                out.push_str(&format!("{indent}{}:", text(name)));
                if below(value) {
                    out.push('\n');
                    block(out, value, depth + 1);
                } else {
                    out.push_str(&format!(" {}\n", scalar(value)));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if below(item) {
                    let mut inner = String::new();
                    block(&mut inner, item, depth + 1);
                    // The first line stands behind the dash.
                    out.push_str(&format!("{indent}- {}", inner.trim_start_matches(' ')));
                } else {
                    out.push_str(&format!("{indent}- {}\n", scalar(item)));
                }
            }
        }
        _ => out.push_str(&format!("{indent}{}\n", scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        // `null`, `true`, numbers, and `{}` and `[]` are the same in both.
        other => other.to_string(),
    }
}

/// A text, plain where nothing can be misread.
fn text(s: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.chars().all(inner)
        && !reserved.iter().any(|word| s.eq_ignore_ascii_case(word));
    if plain { s.to_owned() } else { Value::from(s).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;

    #[test]
    fn blocks() {
        let value = json!({"a.b": {"url": "https://a/api", "on": true, "load": -1.0, "tag": null}, "list":
            ["x", {"y": [], "z": [1, [2]]}], "no": "yes", "1": "007"});
        let want = "\"1\": \"007\"\na.b:\n  load: -1.0\n  \"on\": true\n  tag: null\n  url: \"https://a/api\"\nlist:\n  \
                    - x\n  - \"y\": []\n    z:\n      - 1\n      - - 2\n\"no\": \"yes\"\n";
        assert_eq!(document(&value), want);
        assert_eq!(document(&json!({})), "{}\n");
        assert_eq!(document(&json!("a: b\n")), "\"a: b\\n\"\n");
    }
}
