//! The claim of a create: the binding with password and voice bridge.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{Binding, Claim, Claimer, StickError, StickKey, Want, random};
use rustls::crypto::SecureRandom;

use crate::api::{Fault, Params, VoiceBridges};
use crate::cluster::{Cluster, lock};
use crate::store::{MeetingClaim, MeetingRecord, TenantRecord};

/// How many numbers are tried for a voice bridge.
const BRIDGES: usize = 10;
/// How many others are tried when all of these are taken.
const MORE_BRIDGES: usize = 100;

/// The claim of a create: the binding with password and voice bridge, in one step.
pub(super) struct CreateClaim<'a> {
    cluster: &'a Cluster,
    id: &'a str,
    moderator_pw: String,
    bridges: Vec<String>,
    tenant: Option<Arc<TenantRecord>>,
    pub(super) stored: Mutex<Option<MeetingRecord>>,
}

impl<'a> CreateClaim<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        id: &'a str,
        params: &Params<'_>,
        tenant: Option<Arc<TenantRecord>>,
    ) -> Result<Self, Fault> {
        let moderator_pw = params.present("moderatorPW").map_or_else(password, |own| Ok(own.to_owned()))?;
        let o = cluster.live();
        let wished = params.present("voiceBridge").filter(|_| o.external_voice_bridge).map(str::to_owned);
        let bridges = wished.into_iter().chain(VoiceBridges::new(id, o.voice_digits)).take(BRIDGES).collect();
        Ok(Self { cluster, id, moderator_pw, bridges, tenant, stored: Mutex::default() })
    }
}

/// Eight random letters and digits, drawn from the system: who has seen other random numbers of ours knows nothing of
/// them.
fn password() -> Result<String, Fault> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static SOURCE: OnceLock<&'static dyn SecureRandom> = OnceLock::new();
    let source = SOURCE.get_or_init(|| rustls::crypto::ring::default_provider().secure_random);
    let mut text = String::with_capacity(8);
    while text.len() < 8 {
        let mut bytes = [0_u8; 16];
        if source.fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random numbers for a password");
            return Err(Fault::CreateFailed);
        }
        // Four times the alphabet: what lies above would make some letters likelier.
        let even = bytes.into_iter().filter(|byte| usize::from(*byte) < 4 * ALPHABET.len());
        text.extend(even.take(8 - text.len()).map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])));
    }
    Ok(text)
}

#[async_trait]
impl Claimer for CreateClaim<'_> {
    async fn claim(
        &self,
        _key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError> {
        let multiplier = self.cluster.server(&want.backend).map_or(1.0, |s| s.multiplier());
        let claim = MeetingClaim {
            id: self.id,
            over,
            want,
            moderator_pw: &self.moderator_pw,
            bridges: &self.bridges,
            load: self.cluster.options.new_meeting * multiplier,
            adopt: false,
            tenant: self.tenant.as_ref().map_or("", |t| t.id.as_str()),
            most: self.tenant.as_ref().and_then(|t| t.limits.meetings).unwrap_or(0),
            registered: true,
            ttl,
        };
        let store = &self.cluster.store;
        let mut claimed = store.claim_meeting(&claim).await?;
        if let Claim::Won(own) = &claimed.claim
            && claimed.meeting.as_ref().is_some_and(|m| m.voice_bridge.is_empty())
        {
            // Every number that follows from the id is taken: any other does.
            let more = VoiceBridges::new(&random().to_string(), self.cluster.options.voice_digits);
            let more: Vec<String> = more.take(MORE_BRIDGES).collect();
            let again = MeetingClaim { over: Some(own), bridges: &more, load: 0.0, ..claim };
            claimed = store.claim_meeting(&again).await?;
        }
        *lock(&self.stored) = claimed.meeting;
        Ok(claimed.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_say_nothing_of_our_other_numbers() {
        let mut seen = std::collections::HashSet::new();
        let mut letters = std::collections::HashSet::new();
        for _ in 0..2_000 {
            balancer_core::reseed(7);
            let password = password().unwrap();
            assert!(password.len() == 8 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{password}");
            letters.extend(password.chars());
            assert!(seen.insert(password), "the same seed gives others");
        }
        assert_eq!(letters.len(), 62);
    }
}
