//! A plot with two logarithmic axes, as SVG.

use std::fmt::Write as _;

/// One line of the plot: sizes and nanoseconds.
pub(crate) struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Curve {
    pub(crate) fn new(name: &str, sizes: &[usize], nanos: &[f64]) -> Self {
        Self { name: name.to_owned(), points: sizes.iter().map(|s| *s as f64).zip(nanos.iter().copied()).collect() }
    }
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Powers of ten.
const SIZES: (f64, f64) = (1.0, 7.0);
const NANOS: (f64, f64) = (1.0, 8.0);
const COLOURS: [&str; 10] =
    ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];

fn x(size: f64) -> f64 {
    LEFT + (size.log10() - SIZES.0) / (SIZES.1 - SIZES.0) * (WIDTH - LEFT - RIGHT)
}

fn y(nanos: f64) -> f64 {
    let share = (nanos.max(10.0).log10() - NANOS.0) / (NANOS.1 - NANOS.0);
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

fn label(power: i32) -> &'static str {
    ["1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]
        .get(usize::try_from(power).unwrap_or(0))
        .unwrap_or(&"")
}

pub(crate) fn svg(curves: &[Curve]) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    );
    let _ = write!(out, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#);
    for power in 1..=8 {
        let at = y(10f64.powi(power));
        let _ = write!(out, r##"<path d="M{LEFT} {at:.1}H{:.1}" stroke="#ddd"/>"##, WIDTH - RIGHT);
        let _ =
            write!(out, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#, LEFT - 6.0, at + 4.0, label(power));
    }
    for power in 1..=7 {
        let at = x(10f64.powi(power));
        let _ = write!(out, r##"<path d="M{at:.1} {TOP}V{:.1}" stroke="#ddd"/>"##, HEIGHT - BOTTOM);
        let _ = write!(
            out,
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">10<tspan dy="-5" font-size="9">{power}</tspan></text>"#,
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = write!(
        out,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">servers, or rooms in the stick table</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    for (n, curve) in curves.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<String> = curve.points.iter().map(|(s, t)| format!("{:.1} {:.1}", x(*s), y(*t))).collect();
        let _ = write!(out, r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join("L"));
        let at = TOP + 12.0 + 18.0 * n as f64;
        let left = WIDTH - RIGHT + 16.0;
        let _ = write!(out, r#"<path d="M{left} {:.1}h18" stroke="{colour}" stroke-width="2"/>"#, at - 4.0);
        let _ = write!(out, r#"<text x="{}" y="{at:.1}">{}</text>"#, left + 24.0, curve.name);
    }
    out.push_str("</svg>\n");
    out
}
