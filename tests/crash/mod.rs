//! The daemon may be killed at any moment and started again.

mod execs;
mod machine;
mod matrix;
mod monitors;
mod restart;
mod unfinished;
mod upgrade;
