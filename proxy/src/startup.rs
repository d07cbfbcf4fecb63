//! The opening of a connection: encryption declined, the startup packet read and checked, or a cancel request.

use crate::limits;
use crate::wire::{Closed, Fault, Wire, backend};
use bytes::{Buf, Bytes};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a client came for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Session(Startup),
    Cancel { number: i32, secret: i32 },
}

/// The startup packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Startup {
    pub user: String,
    pub database: String,
    /// Session settings, in the order given; those of `options` first. Names in lower case.
    pub settings: Vec<(String, String)>,
    /// It asks for a newer minor version than 3.0.
    pub newer: bool,
    /// Protocol options that the front does not know.
    pub unsupported: Vec<String>,
}

/// Reads until the client has said what it wants.
///
/// # Errors
/// When it vanishes or does not speak version 3 of the protocol.
pub(crate) async fn opening(wire: &mut Wire) -> Result<Opening, Closed> {
    for _ in 0..limits::STARTUP_REQUESTS {
        let packet = wire.next_untyped().await?;
        match packet
            .first_chunk::<4>()
            .map(|code| u32::from_be_bytes(*code))
        {
            Some(SSL_REQUEST | GSS_REQUEST) => {
                // Bytes sent before the answer were not meant for a plain session (CVE-2021-23214).
                if wire.has_input() {
                    return Err(
                        Fault::protocol("received unencrypted data after SSL request").into(),
                    );
                }
                wire.out.extend_from_slice(b"N");
                wire.flush().await?;
            }
            Some(CANCEL_REQUEST) => return Ok(cancel(packet.slice(4..))?),
            Some(version) => return Ok(Opening::Session(startup(version, packet.slice(4..))?)),
            None => break,
        }
    }
    Err(Fault::protocol("invalid startup packet").into())
}

fn cancel(mut body: Bytes) -> Result<Opening, Fault> {
    if body.len() != 8 {
        return Err(Fault::protocol("invalid length of query cancel packet"));
    }
    Ok(Opening::Cancel {
        number: body.get_i32(),
        secret: body.get_i32(),
    })
}

fn startup(version: u32, body: Bytes) -> Result<Startup, Fault> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        return Err(Fault::error(
            "0A000",
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"),
        ));
    }
    let layout =
        || Fault::protocol("invalid startup packet layout: expected terminator as last byte");
    let text = std::str::from_utf8(&body).map_err(|_| layout())?;
    let mut fields = text.strip_suffix('\0').ok_or_else(layout)?.split('\0');
    let mut startup = Startup {
        newer: minor > 0,
        ..Startup::default()
    };
    let mut options = Vec::new();
    // An empty name ends the list.
    while let Some(name) = fields.next().filter(|name| !name.is_empty()) {
        let value = fields.next().ok_or_else(layout)?.to_owned();
        match name {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "options" => options = command_line(&value)?,
            "replication" if ["false", "off", "no", "0"].contains(&value.as_str()) => {}
            "replication" => {
                return Err(
                    Fault::error("0A000", "replication connections are not supported")
                        .hint("SteelDB replicates by itself; use pg_dump to copy the data."),
                );
            }
            name if name.starts_with("_pq_.") => startup.unsupported.push(name.to_owned()),
            name => startup.settings.push((name.to_ascii_lowercase(), value)),
        }
    }
    if startup.user.is_empty() {
        return Err(Fault::error(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    options.append(&mut startup.settings);
    startup.settings = options;
    Ok(startup)
}

/// The settings in `options`: `-c name=value` and `--name=value`, words split at spaces that no backslash escapes.
fn command_line(options: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => rest.to_owned(),
            None => {
                return Err(Fault::error(
                    "42601",
                    format!("invalid command-line argument for server process: {word}"),
                )
                .hint("Use -c name=value or --name=value."));
            }
        };
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| Fault::error("42601", format!("-c {assignment} requires a value")))?;
        settings.push((
            name.replace('-', "_").to_ascii_lowercase(),
            value.to_owned(),
        ));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Tells a client that asks for more than the front speaks what that is, before anything else.
pub(crate) fn negotiate(wire: &mut Wire, startup: &Startup) {
    if startup.newer || !startup.unsupported.is_empty() {
        backend::negotiate_version(&mut wire.out, startup.unsupported.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(fields: &[&str]) -> Bytes {
        let mut body: Vec<u8> = fields
            .iter()
            .flat_map(|f| [f.as_bytes(), b"\0"].concat())
            .collect();
        body.push(0);
        Bytes::from(body)
    }

    #[test]
    fn options_are_settings_and_the_packet_overrides_them() {
        let fields = [
            "user",
            "u",
            "TimeZone",
            "UTC",
            "options",
            "-c geqo=off --a-b=x\\ y",
        ];
        let startup = startup(3 << 16, packet(&fields)).unwrap();
        assert_eq!(startup.database, "u");
        let settings = [("geqo", "off"), ("a_b", "x y"), ("timezone", "UTC")];
        assert_eq!(
            startup.settings,
            settings.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn other_versions_and_replication_are_refused() {
        let fields = ["user", "u", "replication", "database"];
        assert_eq!(
            startup(3 << 16, packet(&fields)).unwrap_err().sqlstate,
            "0A000"
        );
        assert_eq!(
            startup(2 << 16, packet(&["user", "u"]))
                .unwrap_err()
                .sqlstate,
            "0A000"
        );
        assert!(
            startup((3 << 16) + 2, packet(&["user", "u"]))
                .unwrap()
                .newer
        );
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = startup(3 << 16, Bytes::from(body));
        }
    }
}
