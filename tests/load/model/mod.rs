//! What a client may believe of one pod: a pure model of the states and answers of the CRI.
//!
//! A belief is the set of all worlds that agree with what was asked, answered and seen so far. An answer that fits
//! none of them is a divergence. A request without an answer, because the daemon died, may have been carried out, in
//! part or not at all: the belief then has a world for each, until something that is seen tells them apart.

mod belief;
mod drift;
mod history;
mod law;
mod request;
mod sight;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use belief::{Belief, Divergence};
pub(crate) use history::{Stage, check as check_history};
pub(crate) use request::{Answer, Grace, Outcome, Refusal, Request};
pub(crate) use sight::{SeenContainer, SeenLife, SeenPod};
pub(crate) use world::{Life, Nature, PodState, SHARES, World};
