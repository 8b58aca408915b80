//! Measures the core beside its peers, both sides in one run.
mod clock;
mod picks;
mod report;
mod servers;
mod tower_p2c;

fn main() {
    picks::run(std::env::args().nth(1).as_deref());
}
