//! Two pickers.
