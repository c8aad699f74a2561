//! The command, as a person at a shell uses it.

mod run;
mod verbs;
