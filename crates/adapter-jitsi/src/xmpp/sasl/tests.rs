use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{Mechanism, Sasl, SaslError};

/// The exchanges printed in RFC 5802 and RFC 7677.
struct Printed {
    mechanism: Mechanism,
    nonce: &'static str,
    challenge: &'static str,
    response: &'static str,
    signature: &'static str,
}

const PRINTED: [Printed; 2] = [
    Printed {
        mechanism: Mechanism::ScramSha1,
        nonce: "fyko+d2lbbFgONRv9qkxdawL",
        challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        response: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        signature: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Printed {
        mechanism: Mechanism::ScramSha256,
        nonce: "rOprNGfwEbeRWgbNEkqO",
        challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        response: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        signature: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
];

fn begun(printed: &Printed) -> Sasl {
    let (sasl, first) = Sasl::with_nonce(printed.mechanism, "user", "pencil", printed.nonce.to_owned()).unwrap();
    assert_eq!(STANDARD.decode(first).unwrap(), format!("n,,n=user,r={}", printed.nonce).into_bytes());
    sasl
}

#[test]
fn the_printed_exchanges_come_out() {
    for printed in &PRINTED {
        let mut sasl = begun(printed);
        let answer = sasl.challenge(&STANDARD.encode(printed.challenge)).unwrap();
        assert_eq!(String::from_utf8(STANDARD.decode(answer).unwrap()).unwrap(), printed.response);
        assert_eq!(sasl.success(&STANDARD.encode(printed.signature)), Ok(()));
        // The signature may also come as a challenge of its own.
        let mut sasl = begun(printed);
        sasl.challenge(&STANDARD.encode(printed.challenge)).unwrap();
        assert_eq!(sasl.challenge(&STANDARD.encode(printed.signature)), Ok(String::new()));
        assert_eq!(sasl.success(""), Ok(()));
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_noticed() {
    let printed = &PRINTED[0];
    let mut sasl = begun(printed);
    assert_eq!(sasl.success(""), Err(SaslError::Impostor), "success before any challenge");
    sasl.challenge(&STANDARD.encode(printed.challenge)).unwrap();
    assert_eq!(sasl.success(""), Err(SaslError::Impostor));
    assert_eq!(sasl.success(&STANDARD.encode("v=cm1GOXBxVjhTN3N1QW9aV2phNA==")), Err(SaslError::Impostor));
    let refused = SaslError::Refused { condition: "invalid-proof".to_owned() };
    assert_eq!(sasl.success(&STANDARD.encode("e=invalid-proof")), Err(refused));
}

#[test]
fn strange_challenges_are_refused() {
    let start = "r=fyko+d2lbbFgONRv9qkxdawL";
    for (challenge, error) in [
        ("r=somebody,s=QSXCR+Q6sek8bf92,i=4096".to_owned(), SaslError::Message("the nonce is not made from ours")),
        (format!("{start},s=QSXCR+Q6sek8bf92,i=4096"), SaslError::Message("the nonce is not made from ours")),
        (format!("{start}x,s=QSXCR+Q6sek8bf92,i=4000000000"), SaslError::Rounds(4_000_000_000)),
        (format!("{start}x,s=QSXCR+Q6sek8bf92,i=1"), SaslError::Rounds(1)),
        (format!("{start}x,s=?,i=4096"), SaslError::Message("the salt is not in base64")),
        (format!("m=x,{start}x,s=QSXCR+Q6sek8bf92,i=4096"), SaslError::Message("no nonce")),
    ] {
        assert_eq!(begun(&PRINTED[0]).challenge(&STANDARD.encode(challenge)), Err(error));
    }
    assert_eq!(begun(&PRINTED[0]).challenge(&"A".repeat(5000)), Err(SaslError::Message("too long")));
}

#[test]
fn the_strongest_common_way_is_taken() {
    let all = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"];
    assert_eq!(Mechanism::strongest(all, Mechanism::Plain), Ok(Mechanism::ScramSha256));
    assert_eq!(Mechanism::strongest(all[..3].iter().copied(), Mechanism::Plain), Ok(Mechanism::ScramSha1));
    assert_eq!(Mechanism::strongest(["PLAIN"], Mechanism::Plain), Ok(Mechanism::Plain));
    assert!(Mechanism::strongest(["PLAIN", "EXTERNAL"], Mechanism::ScramSha1).is_err());
}

#[test]
fn plain_and_names_are_written_as_they_should() {
    let (_, first) = Sasl::start(Mechanism::Plain, "jvb", "sécret", &[0; 18]).unwrap();
    assert_eq!(STANDARD.decode(first).unwrap(), "\0jvb\0sécret".as_bytes());
    let (sasl, first) = Sasl::start(Mechanism::ScramSha1, "a=b,c", "p", &[0; 18]).unwrap();
    assert!(STANDARD.decode(first).unwrap().starts_with(b"n,,n=a=3Db=2Cc,r="));
    assert_eq!(format!("{sasl:?}"), "Sasl { mechanism: ScramSha1, .. }");
    assert_eq!(Sasl::start(Mechanism::Plain, "a", "b\0", &[0; 18]).err(), Some(SaslError::Characters));
}

proptest! {
    #[test]
    fn no_message_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        for message in [text.clone(), STANDARD.encode(&text), STANDARD.encode(&bytes)] {
            let mut sasl = begun(&PRINTED[0]);
            let _ = sasl.challenge(&message);
            let _ = sasl.success(&message);
        }
    }
}
