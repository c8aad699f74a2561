//! Real containers, run by the real runtime under the real monitor.

mod bundle;
mod creating;
mod ending;
mod execs;
mod logs;
mod lost;
mod terminals;
mod versions;
