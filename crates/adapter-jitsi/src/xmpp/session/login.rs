//! From the features of a server to a bound resource.

use std::time::Instant;

use super::{Session, Step};
use crate::xmpp::error::XmppError;
use crate::xmpp::ns;
use crate::xmpp::sasl::{Mechanism, Sasl};
use crate::xmpp::stanza::{Element, escape};

impl Session {
    pub(super) fn start_tls(&mut self, features: &Element, now: Instant) {
        if features.child("starttls", ns::TLS).is_some() {
            self.send(format!("<starttls xmlns='{}'/>", ns::TLS));
            self.advance(Step::Proceed, now);
        } else {
            self.end(XmppError::NoTls);
        }
    }

    pub(super) fn log_in(&mut self, features: &Element, now: Instant) {
        let Some(offered) = features.child("mechanisms", ns::SASL) else {
            let tls = features.child("starttls", ns::TLS).is_some();
            self.unexpected(if tls { "it asks for tls first: give roots" } else { "no login offered" });
            return;
        };
        let names = offered.children().iter().filter(|child| child.is("mechanism", ns::SASL)).map(Element::text);
        let begun = Mechanism::strongest(names, self.options.least).and_then(|mechanism| {
            let (account, password) = (self.options.account.local(), self.options.password.expose());
            Sasl::start(mechanism, account, password, &self.nonce).map(|(sasl, first)| (mechanism, sasl, first))
        });
        match begun {
            Ok((mechanism, sasl, first)) => {
                self.send(format!("<auth xmlns='{}' mechanism='{}'>{first}</auth>", ns::SASL, mechanism.name()));
                self.advance(Step::Login(sasl), now);
            }
            Err(error) => self.end(error.into()),
        }
    }

    pub(super) fn bind(&mut self, features: &Element, now: Instant) {
        if features.child("bind", ns::BIND).is_none() {
            self.unexpected("it binds no resources");
            return;
        }
        let resource = match &self.options.resource {
            Some(resource) => format!("<resource>{}</resource>", escape(resource)),
            None => String::new(),
        };
        self.send(format!("<iq type='set' id='bind'><bind xmlns='{}'>{resource}</bind></iq>", ns::BIND));
        self.advance(Step::Bind, now);
    }
}
