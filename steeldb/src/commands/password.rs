//! `steeldb password`: what a proxy keeps of a password.

use std::io::{BufRead, IsTerminal};

use crate::failure::Failure;

/// The longest password, in bytes.
const MAX_PASSWORD: usize = 1024;

/// Print the line for [front.passwords] of proxy.toml that lets a role in with a password, read from standard input
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The role that logs in with it
    role: String,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let password = read(&args.role)?;
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(Failure::usage(format!(
            "a password has 1 to {MAX_PASSWORD} bytes, not {}",
            password.len()
        )));
    }
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    println!("{}", line(&args.role, verifier));
    Ok(())
}

fn read(role: &str) -> Result<String, Failure> {
    let failed = |error| Failure::new("the password cannot be read").cause(error);
    let input = std::io::stdin();
    if input.is_terminal() {
        return rpassword::prompt_password(format!("Password of {role}: ")).map_err(failed);
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn line(role: &str, verifier: String) -> String {
    let table = toml::Table::from_iter([(role.to_owned(), toml::Value::String(verifier))]);
    table.to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn any_role_makes_one_line_that_reads_back() {
        for role in ["app", "Some \"one\"", "a.b", "é"] {
            let line = line(role, "SCRAM-SHA-256$4096:x$y:z".to_owned());
            assert!(!line.contains('\n'), "{line}");
            let read: toml::Table = line.parse().unwrap();
            assert_eq!(read[role].as_str(), Some("SCRAM-SHA-256$4096:x$y:z"));
        }
    }
}
