//! Monitor
fn main() {}
