//! Real containers, run by the real runtime under the real monitor.
