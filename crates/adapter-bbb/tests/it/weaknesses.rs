//! weaknesses
