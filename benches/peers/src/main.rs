//! Measures the core beside its peers, both sides in one run.
mod clock;
mod picks;
mod report;
mod servers;
mod sticks;
mod tower_p2c;

fn main() {
    let only = std::env::args().nth(1);
    if only.as_deref() == Some("sticks") {
        return sticks::run();
    }
    picks::run(only.as_deref());
}
