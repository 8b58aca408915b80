//! The first exchange on a connection, before the client library takes it over.
//!
//! Done by hand because the library keeps the server's reasons to itself here, and these are the ones that matter to
//! whoever sets it up.

use std::io;

use redis::Pipeline;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::options::{RedisOptions, Secret};
use super::trouble::{self, Trouble};

/// What the server is asked to repeat.
const WORD: &str = "balancer";
/// The longest line of a greeting.
const LONGEST: usize = 1024;

/// Who we are there, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    username: Option<&'a String>,
    password: Option<&'a Secret>,
    db: u32,
    /// A sentinel knows few commands.
    echo: bool,
}

impl<'a> Login<'a> {
    pub(super) fn data(options: &'a RedisOptions) -> Self {
        let (username, password) = (options.username.as_ref(), options.password.as_ref());
        Self { username, password, db: options.db, echo: true }
    }

    #[cfg(feature = "redis-sentinel")]
    pub(super) fn sentinel(options: &'a RedisOptions) -> Self {
        let (username, password) = (options.sentinel_username.as_ref(), options.sentinel_password.as_ref());
        Self { username, password, db: 0, echo: false }
    }
}

/// Says who we are and which database we want, and asks something that is answered only to those let in.
pub(super) async fn greet<S>(stream: &mut S, login: Login<'_>) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut greeting = Pipeline::new();
    if let Some(secret) = login.password {
        let command = greeting.cmd("AUTH");
        if let Some(username) = login.username {
            command.arg(username);
        }
        command.arg(&secret.0);
    }
    if login.db != 0 {
        greeting.cmd("SELECT").arg(login.db);
    }
    if login.echo {
        greeting.cmd("ECHO").arg(WORD);
    } else {
        greeting.cmd("PING");
    }
    let closed = |error: io::Error| trouble::closed(&error);
    stream.write_all(&greeting.get_packed_pipeline()).await.map_err(closed)?;
    for _ in 0..greeting.len() {
        let line = line(stream).await.map_err(closed)?;
        let text = String::from_utf8_lossy(line.get(1..).unwrap_or_default());
        match line.first() {
            Some(b'+') => {}
            Some(b'-') => return Err(trouble::said(&text)),
            Some(b'$') if text == WORD.len().to_string() => {
                let mut word = [0; WORD.len() + 2];
                stream.read_exact(&mut word).await.map_err(closed)?;
            }
            _ => return Err(trouble::foreign(&String::from_utf8_lossy(&line))),
        }
    }
    Ok(())
}

/// A line without its end; what is longer than a line may be is cut.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < LONGEST {
        match stream.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::trouble::Kind;
    use super::*;

    fn meet(answer: &[u8]) -> Result<(), Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(4096);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let options = RedisOptions::new("h").password("hunter2").db(1);
            greet(&mut near, Login::data(&options)).await
        })
    }

    #[test]
    fn answers_are_understood() {
        meet(b"+OK\r\n+OK\r\n$8\r\nbalancer\r\n").unwrap();
        let wrong = meet(b"-WRONGPASS invalid username-password pair\r\n").unwrap_err();
        assert_eq!(wrong.kind, Kind::Refused);
        assert_eq!(meet(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err().kind, Kind::Corrupt);
        assert_eq!(meet(b"+OK\r\n").unwrap_err().kind, Kind::Lost);
    }

    #[test]
    fn a_server_that_repeats_part_of_the_password_is_not_quoted() {
        let answer = b"-ERR unknown command 'AUTH', with args beginning with: 'hunt' \r\n";
        let trouble = meet(answer).unwrap_err();
        assert_eq!(trouble.kind, Kind::Refused);
        assert!(trouble.why.contains("unknown command 'AUTH'") && !trouble.why.contains("hunt"), "{}", trouble.why);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(answer in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = meet(&answer);
        }
    }
}
