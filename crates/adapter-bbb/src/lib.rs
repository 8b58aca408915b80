//! BigBlueButton for `balancer-core`.
