//! Tests of their own.
