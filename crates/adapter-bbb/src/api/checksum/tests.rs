use proptest::prelude::*;

use super::*;

const CALL: &str = "isMeetingRunning";

fn policy(list: &str) -> Checksums {
    Checksums::new(secrets(Some("s3cret"), Some("b:c")), list.parse().unwrap())
}

#[test]
fn known_vectors() {
    for (algorithm, query, want) in [
        (Algorithm::Sha1, "meetingID=a+b", "83304631128793aae3e8e775"),
        (Algorithm::Sha256, "meetingID=a%20b&x=1", "6c1c45e83a273e6a10d2465b"),
        (Algorithm::Sha512, "", "3b38928c0a373a41c887a80b"),
    ] {
        let hex = sign(algorithm, CALL, query, "s3cret");
        assert_eq!(&hex[..24], want);
        assert_eq!(hex.len(), algorithm.hex_len());
        assert_eq!(policy("").verify(CALL, query, &hex), Ok(()));
    }
}

#[test]
fn the_pair_may_stand_anywhere_and_in_any_spelling() {
    let hex = sign(Algorithm::Sha256, CALL, "meetingID=a&x=1", "s3cret");
    for query in [
        format!("checksum={hex}&meetingID=a&x=1"),
        format!("meetingID=a&checksum={hex}&x=1"),
        format!("meetingID=a&x=1&checksum={hex}"),
        format!("meetingID=a&x=1&check%73um={hex}"),
        format!("checksum=&meetingID=a&x=1&checksum={hex}"),
        "meetingID=a&x=1".to_owned(),
    ] {
        assert_eq!(policy("").verify(CALL, &query, &hex), Ok(()), "{query}");
    }
    for query in ["x=1&meetingID=a", "meetingID=a&x=1&", "meetingID=a&x=1&mychecksum=1", "meetingID=a&x=1&checksum"] {
        assert_eq!(policy("").verify(CALL, query, &hex), Err(ChecksumFault::Mismatch), "{query}");
    }
    let alone = sign(Algorithm::Sha1, CALL, "", "s3cret");
    assert_eq!(policy("").verify(CALL, &format!("checksum={alone}"), &alone), Ok(()));
    let doubled = sign(Algorithm::Sha1, CALL, "a=1&&b=2", "s3cret");
    assert_eq!(policy("").verify(CALL, &format!("a=1&&b=2&checksum={doubled}"), &doubled), Ok(()));
}

#[test]
fn every_secret_counts_and_nothing_else() {
    for secret in ["s3cret", "b", "c"] {
        let hex = sign(Algorithm::Sha512, CALL, "a=1", secret);
        assert_eq!(policy("").verify(CALL, "a=1", &hex), Ok(()));
    }
    for secret in ["b:c", "", "s3cret:b:c"] {
        let hex = sign(Algorithm::Sha512, CALL, "a=1", secret);
        assert_eq!(policy("").verify(CALL, "a=1", &hex), Err(ChecksumFault::Mismatch));
    }
    assert!(secrets(Some(""), Some("::")).is_empty());
    assert!(Checksums::new([String::new()], Algorithms::default()).is_empty());
}

#[test]
fn each_step_names_itself() {
    let hex = |algorithm| sign(algorithm, CALL, "", "s3cret");
    let default = policy("");
    assert_eq!(default.verify(CALL, "", ""), Err(ChecksumFault::Missing));
    assert_eq!(default.verify(CALL, "", "  "), Err(ChecksumFault::Missing));
    assert_eq!(default.verify(CALL, "", &"0".repeat(41)), Err(ChecksumFault::Length(41)));
    assert_eq!(default.verify(CALL, "", &hex(Algorithm::Sha384)), Err(ChecksumFault::NotAllowed(Algorithm::Sha384)));
    assert_eq!(default.verify(CALL, "", &hex(Algorithm::Sha256).to_uppercase()), Err(ChecksumFault::Mismatch));
    assert_eq!(default.verify("end", "", &hex(Algorithm::Sha256)), Err(ChecksumFault::Mismatch));
    assert_eq!(Checksums::default().verify(CALL, "", &hex(Algorithm::Sha1)), Err(ChecksumFault::NoSecrets));
    assert_eq!(policy("SHA384").verify(CALL, "", &hex(Algorithm::Sha384)), Ok(()));
    assert_eq!(
        policy("SHA384").verify(CALL, "", &hex(Algorithm::Sha1)),
        Err(ChecksumFault::NotAllowed(Algorithm::Sha1))
    );
}

#[test]
fn our_own_algorithm_is_the_strongest_listed() {
    for (list, want) in [
        ("", Algorithm::Sha256),
        ("SHA1:SHA256:SHA512", Algorithm::Sha512),
        ("sha1", Algorithm::Sha1),
        (" SHA384 : SHA256 ", Algorithm::Sha384),
    ] {
        assert_eq!(list.parse::<Algorithms>().unwrap().strongest(), want);
    }
    assert_eq!("SHA1:MD5".parse::<Algorithms>(), Err(AlgorithmsError::Unknown("MD5".to_owned())));
}

#[test]
fn secrets_stay_out_of_debug() {
    assert!(!format!("{:?}", policy("")).contains("s3cret"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(call in ".*", query in ".*", given in ".*") {
        let _ = policy("").verify(&call, &query, &given);
    }

    #[test]
    fn what_is_signed_is_accepted(parts in prop::collection::vec("[a-z%=+]{0,8}", 0..6), at in 0usize..6) {
        let kept: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !is_checksum(part)).collect();
        let query = kept.join("&");
        let hex = sign(Algorithm::Sha256, CALL, &query, "c");
        let pair = format!("checksum={hex}");
        let mut with: Vec<&str> = query.split('&').collect();
        with.insert(at.min(with.len()), &pair);
        prop_assert_eq!(policy("").verify(CALL, &with.join("&"), &hex), Ok(()));
    }
}
