//! Where meetings go, and where they stay: fake servers, and a real Redis where two processes matter.

mod breakouts;
mod failing;
mod following;
mod levels;
mod orders;
mod overtaking;
mod pausing;
mod rebuilding;
mod strays;
mod together;
mod verdicts;
