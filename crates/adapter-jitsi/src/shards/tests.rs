//! Tests of placing.
