//! Values of statistics: every one is text, and jicofo reads it as its virtual machine does.

/// Longest text read as a number, in bytes. A longer one is none.
const MAX_NUMBER: usize = 512;

/// Whether a text means "true": in any case, and nothing else does.
pub fn read_bool(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// A number as the Java virtual machine reads a double: blanks around it, an exponent, a trailing `f` or `d`,
/// hexadecimal floats with `p`, `NaN` and `Infinity` are read; decimal commas, `inf`, `nan` and underscores are not.
/// `None` for what is no number and for texts of more than 512 bytes.
pub fn read_number(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    if text.len() > MAX_NUMBER {
        return None;
    }
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match rest {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => match rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            Some(hex) => hexadecimal(without_suffix(hex))?,
            None => decimal(without_suffix(rest))?,
        },
    };
    Some(if negative { -value } else { value })
}

fn without_suffix(text: &str) -> &str {
    text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text)
}

fn decimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let sound = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !sound || exponent.is_some_and(|e| !is_exponent(e)) {
        return None;
    }
    text.parse().ok()
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_at_checked(text.find(['p', 'P'])?)?;
    let exponent = exponent.get(1..)?;
    if !is_exponent(exponent) {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // 60 significant bits, and one more that says whether anything was lost behind them.
    let (mut bits, mut lost, mut scale) = (0_u64, false, 0_i64);
    for (behind, digit) in whole.chars().map(|c| (false, c)).chain(fraction.chars().map(|c| (true, c))) {
        let digit = u64::from(digit.to_digit(16)?);
        if bits >> 56 == 0 {
            bits = bits * 16 + digit;
            scale -= if behind { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            scale += if behind { 0 } else { 4 };
        }
    }
    let far = if exponent.starts_with('-') { i64::from(i32::MIN) } else { i64::from(i32::MAX) };
    let exponent = exponent.parse::<i64>().unwrap_or(far).clamp(-1_000_000, 1_000_000);
    Some(scaled(bits * 2 + u64::from(lost), exponent + scale - 1))
}

/// `bits * 2^exponent`, rounded once to the nearest double, ties to even.
fn scaled(bits: u64, exponent: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let length = i64::from(64 - bits.leading_zeros());
    // What a double of this size can hold: 53 bits, fewer below the smallest normal number.
    let precision = (length + exponent + 1074).min(53);
    if precision < 0 {
        return 0.0;
    }
    if length + exponent > 1024 {
        return f64::INFINITY;
    }
    let drop = length - precision;
    let (mut kept, mut exponent) = (bits, exponent);
    if drop > 0 {
        let half = 1_u64 << (drop - 1);
        let rest = bits & (half * 2).wrapping_sub(1);
        kept = bits.checked_shr(u32::try_from(drop).unwrap_or(64)).unwrap_or(0);
        kept += u64::from(rest > half || (rest == half && kept & 1 == 1));
        exponent += drop;
    }
    // Exact from here on: two steps, since one power may lie outside the range of a double.
    let half = i32::try_from(exponent / 2).unwrap_or(0);
    let other = i32::try_from(exponent).unwrap_or(0) - half;
    #[allow(clippy::cast_precision_loss)]
    let kept = kept as f64;
    kept * 2.0_f64.powi(half) * 2.0_f64.powi(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_floats() {
        assert_eq!(read_number("0x1p-1"), Some(0.5));
        assert_eq!(read_number("-0x1.8p1d"), Some(-3.0));
        assert_eq!(read_number("0x0.0000000000001p-1022"), Some(f64::from_bits(1)));
        assert_eq!(read_number("0x1p-1075"), Some(0.0));
        assert_eq!(read_number("0x1.8p-1075"), Some(f64::from_bits(1)));
        assert_eq!(read_number("0x1.fffffffffffffp1023"), Some(f64::MAX));
        assert_eq!(read_number("0x1p1024"), Some(f64::INFINITY));
        assert_eq!(read_number("0x1.00000000000008p0"), Some(1.0));
        assert_eq!(read_number("0x1.000000000000080000000001p0"), Some(1.0 + f64::EPSILON));
        assert_eq!(read_number("0x.p1"), None);
        assert_eq!(read_number("0x1p"), None);
        assert_eq!(read_number(&format!("0x1p{}", "9".repeat(60))), Some(f64::INFINITY));
    }

    proptest::proptest! {
        #[test]
        fn what_rust_prints_is_read_back(value: f64) {
            let text = format!("{value:e}");
            if value.is_finite() {
                assert_eq!(read_number(&text), Some(value));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = read_number(&text);
            let _ = read_number(&format!("0x{text}p1"));
            let _ = read_bool(&text);
        }
    }
}
