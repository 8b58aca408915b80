//! Jitsi: bridges seen as jicofo sees them, ranked and chosen as jicofo would, and rooms spread over several Jitsis.
