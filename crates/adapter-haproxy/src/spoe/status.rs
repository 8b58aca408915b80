//! Why a connection ends.

use std::fmt;

/// Why one side ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u32);

impl Status {
    /// Nothing is wrong.
    pub const NORMAL: Self = Self(0);
    /// Reading or writing failed.
    pub const IO: Self = Self(1);
    /// Something took too long.
    pub const TIMEOUT: Self = Self(2);
    /// A frame is too big.
    pub const TOO_BIG: Self = Self(3);
    /// A frame is not as it should be.
    pub const INVALID: Self = Self(4);
    /// The greeting names no version.
    pub const NO_VERSION: Self = Self(5);
    /// The greeting names no frame size.
    pub const NO_FRAME_SIZE: Self = Self(6);
    /// The greeting names no capabilities.
    pub const NO_CAPABILITIES: Self = Self(7);
    /// No version in common.
    pub const UNSUPPORTED_VERSION: Self = Self(8);
    /// A frame size too big or too small.
    pub const BAD_FRAME_SIZE: Self = Self(9);
    /// Fragments are not supported.
    pub const FRAGMENTATION: Self = Self(10);
    /// Fragments of one frame between those of another.
    pub const INTERLACED: Self = Self(11);
    /// An answer to a question nobody asked.
    pub const UNKNOWN_FRAME: Self = Self(12);
    /// Out of resources.
    pub const RESOURCES: Self = Self(13);
    /// Something else.
    pub const UNKNOWN: Self = Self(99);

    /// A status by its number. HAProxy puts 256 + it into the variable of `option set-on-error`.
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// Its number.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// What it means, in the words HAProxy uses.
    pub const fn text(self) -> &'static str {
        match self.0 {
            0 => "normal",
            1 => "I/O error",
            2 => "a timeout occurred",
            3 => "frame is too big",
            4 => "invalid frame received",
            5 => "version value not found",
            6 => "max-frame-size value not found",
            7 => "capabilities value not found",
            8 => "unsupported version",
            9 => "max-frame-size too big or too small",
            10 => "fragmentation not supported",
            11 => "invalid interlaced frames",
            12 => "frame-id not found",
            13 => "resource allocation error",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.0)
    }
}
