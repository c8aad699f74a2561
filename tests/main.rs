//! Real pods on a real kernel: every test starts a daemon of its own on scratch directories, drives it over
//! its socket, and fails if anything of it is left afterwards.

mod benchmark;
mod cli;
mod crash;
mod cri;
mod faults;
mod image;
mod invariants;
mod security;
mod support;
