//! HAProxy: where it will send a room before it does, what its configuration says, and what is wrong with it.
