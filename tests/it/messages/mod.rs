//! Every error and every screen, as text.

mod after;
mod errors;
mod frames;
mod harmless;
mod live;
mod machines;
mod numbers;
mod running;
mod summaries;
mod variants;
mod views;
