//! How a bridge makes its stress of its load.

/// What a bridge measures its load by (`load-measurement`).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LoadMeasurement {
    /// The processor: use from 0 to 1, with what the hypervisor takes away. The default of new bridges.
    Cpu {
        /// At this load the stress is 1. Default 0.9.
        threshold: f64,
        /// Above this load an overloaded bridge stays so. Default 0.72.
        recovery: f64,
    },
    /// RTP packets per second, in and out. The default of older bridges.
    PacketRate {
        /// At this load the stress is 1. Default 50000.
        threshold: f64,
        /// Above this load an overloaded bridge stays so. Default 40000.
        recovery: f64,
    },
}

impl LoadMeasurement {
    /// The processor, with the defaults.
    pub const CPU: Self = Self::Cpu { threshold: 0.9, recovery: 0.72 };
    /// Packets, with the defaults.
    pub const PACKET_RATE: Self = Self::PacketRate { threshold: 50_000.0, recovery: 40_000.0 };

    fn threshold(&self) -> f64 {
        match self {
            Self::Cpu { threshold, .. } | Self::PacketRate { threshold, .. } => *threshold,
        }
    }

    /// The stress that a bridge reports at this load.
    pub fn stress(&self, load: f64) -> f64 {
        load / self.threshold()
    }

    /// Whether a bridge at this load calls itself overloaded, having been so before or not.
    pub fn overloaded(&self, load: f64, before: bool) -> bool {
        let (Self::Cpu { threshold, recovery } | Self::PacketRate { threshold, recovery }) = *self;
        load >= if before { recovery } else { threshold }
    }
}
