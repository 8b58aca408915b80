//! What went wrong with the database, what to do about it, and whether another try may help.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::PostgresRecordings;
use crate::recordings::index::IndexError;

/// Whether the same may work when it is tried again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    No,
    /// Over another connection.
    AtOnce,
    /// After a moment.
    Later,
}

/// Why something did not work, and whether another try may help.
pub(super) struct Broken {
    pub(super) error: IndexError,
    pub(super) again: Again,
}

impl PostgresRecordings {
    pub(super) fn broken(&self, e: Error) -> Broken {
        let target = self.target.clone();
        let Some(code) = e.code().cloned() else {
            if let Some(why) = tls_trouble(&e) {
                return Broken { error: IndexError::Unusable { target, why }, again: Again::No };
            }
            let why = words(&e);
            return Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again: Again::AtOnce };
        };
        let why = words(&e);
        let class = code.code().get(..2).unwrap_or_default();
        let clash = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(&code);
        if clash || matches!(class, "08" | "53" | "57") || code == SqlState::READ_ONLY_SQL_TRANSACTION {
            let again = match code {
                SqlState::TOO_MANY_CONNECTIONS | SqlState::CANNOT_CONNECT_NOW => Again::Later,
                _ if clash || class == "57" => Again::AtOnce,
                _ => Again::No,
            };
            return Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again };
        }
        if matches!(class, "28" | "3D" | "3F" | "42") {
            // Somebody may have taken the tables away: they are looked at again.
            self.look_again();
            return Broken { error: IndexError::Unusable { target, why }, again: Again::No };
        }
        Broken { error: IndexError::Refused { target, why, source: Some(Box::new(e)) }, again: Again::No }
    }
}

/// What is wrong between the two about TLS, if it is that: nothing that another try would mend.
fn tls_trouble(e: &Error) -> Option<String> {
    #[cfg(feature = "postgres-tls")]
    if let Some(why) = super::tls::trouble(e) {
        return Some(why);
    }
    let below = std::error::Error::source(e)?.to_string();
    if below.contains("server does not support TLS") {
        return Some(
            "it does not speak TLS: set ssl = on in its postgresql.conf, or sslmode=prefer in DATABASE_URL on a \
             network that is trusted"
                .to_owned(),
        );
    }
    None
}

/// Whether the server lets nobody in who comes so.
#[cfg(feature = "postgres-tls")]
pub(super) fn is_login(e: &Error) -> bool {
    e.code().is_some_and(|code| code.code().starts_with("28"))
}

/// Whether it lets in only those who come with TLS.
#[cfg(feature = "postgres-tls")]
pub(super) fn wants_tls(e: &Error) -> bool {
    is_login(e) && e.as_db_error().is_some_and(|e| e.message().contains("no encryption"))
}

/// What went wrong, with what lies below.
pub(super) fn words(e: &Error) -> String {
    if let Some(db) = e.as_db_error() {
        return said(db);
    }
    let mut text = e.to_string();
    let mut below = std::error::Error::source(e);
    while let Some(e) = below {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = e.source();
    }
    text
}

fn said(e: &DbError) -> String {
    let remedy = match *e.code() {
        SqlState::UNDEFINED_DATABASE => "; make it with createdb",
        // Its rules for hosts tell apart who comes with TLS and who without.
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if e.message().contains("no encryption") => {
            "; does it want TLS? Then say sslmode=require or verify-full in DATABASE_URL"
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if e.message().contains("SSL encryption") => {
            "; does it want no TLS? Then say sslmode=disable in DATABASE_URL, or add a line to its pg_hba.conf"
        }
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => "; is DATABASE_URL right?",
        SqlState::INSUFFICIENT_PRIVILEGE => "; grant it to the user of DATABASE_URL",
        SqlState::TOO_MANY_CONNECTIONS => "; raise max_connections there, or lower pool in DATABASE_URL",
        SqlState::DISK_FULL => "; free space on the database's disk",
        SqlState::UNIQUE_VIOLATION if e.constraint().is_some_and(|name| name.ends_with("_pkey")) => {
            "; its sequence is behind its rows, as after a partial restore: set it with setval"
        }
        _ => "",
    };
    format!("{} ({}){remedy}", e.message(), e.code().code())
}
