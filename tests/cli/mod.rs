//! The command, as a person at a shell uses it.

mod command;
mod pods;
mod run;
mod verbs;
