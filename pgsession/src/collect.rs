//! Backend messages gathered into outcomes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::io::AsyncRead;

use crate::error::field;
use crate::frame::{Frame, FrameReader};
use crate::{Error, ErrorFields, Limits, Outcome, Report};

/// SQLSTATE of the notices by which the triggers of the schema `steel` report.
const CAPTURE: &[u8] = b"ST001";

/// An outcome and how far the extended protocol got with it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub outcome: Outcome,
    /// ParseComplete came.
    pub parsed: bool,
    /// BindComplete came.
    pub bound: bool,
}

/// Gathers what arrives until the expected number of ReadyForQuery have been seen.
pub(crate) struct Collector<'a> {
    pub frames: &'a mut FrameReader,
    pub limits: Limits,
    pub token: Option<&'a str>,
    pub parameters: &'a mut BTreeMap<String, String>,
    pub transaction: &'a mut u8,
}

impl Collector<'_> {
    pub async fn collect<R: AsyncRead + Unpin>(
        mut self,
        stream: &mut R,
        expected: usize,
    ) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::with_capacity(expected);
        let mut answer = Answer::default();
        let mut held = 0usize;
        let mut too_large = false;
        while answers.len() < expected {
            let frame = self.frames.next(stream, self.limits.frame_bytes).await;
            let (kind, frame) = match frame {
                Ok(Some(Frame::Whole(kind, frame))) => (kind, frame),
                Ok(Some(Frame::Skipped)) => {
                    too_large = true;
                    continue;
                }
                Ok(None) | Err(Error::Closed(None)) => {
                    return Err(Error::Closed(answer.outcome.error.map(Box::new)));
                }
                // A server that ends the session while we still write resets the connection.
                Err(Error::Io(_)) if answer.outcome.error.is_some() => {
                    return Err(Error::Closed(answer.outcome.error.map(Box::new)));
                }
                Err(error) => return Err(error),
            };
            let size = frame.len();
            if self.take(kind, frame, &mut answer, too_large)? {
                held = held.saturating_add(size + Limits::FRAME_OVERHEAD);
            }
            if held > self.limits.outcome_bytes && !too_large {
                // The rest is read and thrown away, so that the session can go on.
                too_large = true;
                for outcome in answers.iter_mut().map(|a: &mut Answer| &mut a.outcome) {
                    (outcome.frames, outcome.captured) = Default::default();
                }
                (answer.outcome.frames, answer.outcome.captured) = Default::default();
            }
            if kind == b'Z' {
                answers.push(std::mem::take(&mut answer));
            }
        }
        match too_large {
            true => Err(Error::TooLarge {
                limit: self.limits.outcome_bytes.min(self.limits.frame_bytes),
            }),
            false => Ok(answers),
        }
    }

    /// Takes one message; tells whether it is kept in memory.
    fn take(
        &mut self,
        kind: u8,
        frame: Bytes,
        answer: &mut Answer,
        discard: bool,
    ) -> Result<bool, Error> {
        let outcome = &mut answer.outcome;
        match kind {
            b'1' => answer.parsed = true,
            b'2' => answer.bound = true,
            b'3' | b'A' => {}
            b'Z' => {
                let status = *frame.get(5).unwrap_or(&0);
                if !matches!(status, b'I' | b'T' | b'E') {
                    return Err(Error::Protocol(format!("transaction status {status:#04x}")));
                }
                *self.transaction = status;
                outcome.transaction = status;
            }
            b'N' => {
                if let Some(report) = self.captured(&frame) {
                    if !discard {
                        outcome.captured.push(report);
                    }
                    return Ok(!discard);
                }
                return Ok(keep(outcome, frame, discard));
            }
            b'D' | b'd' => {
                outcome.rows += 1;
                return Ok(keep(outcome, frame, discard));
            }
            b'C' => {
                outcome.tag = Some(command_tag(&frame)?);
                return Ok(keep(outcome, frame, discard));
            }
            b'E' => {
                outcome.error = Some(ErrorFields::parse(&frame)?);
                return Ok(keep(outcome, frame, discard));
            }
            b'S' => {
                parameter(&frame, self.parameters)?;
                return Ok(keep(outcome, frame, discard));
            }
            b'T' | b'n' | b't' | b'I' | b'H' | b'G' | b'c' => {
                return Ok(keep(outcome, frame, discard));
            }
            _ => {
                return Err(Error::Protocol(format!(
                    "a message of type {kind:#04x} has no place in a query's answer"
                )));
            }
        }
        Ok(false)
    }

    /// The report in a capture notice; `None` for any other notice, a forged one included.
    fn captured(&self, frame: &Bytes) -> Option<Report> {
        let token = self.token?;
        if field(frame, b'C')? != CAPTURE {
            return None;
        }
        let json = field(frame, b'M')?
            .strip_prefix(token.as_bytes())?
            .strip_prefix(b" ")?;
        let context = field(frame, b'W').unwrap_or_default();
        Some(Report {
            json: frame.slice_ref(json),
            context: frame.slice_ref(context),
        })
    }
}

fn keep(outcome: &mut Outcome, frame: Bytes, discard: bool) -> bool {
    if !discard {
        outcome.frames.push(frame);
    }
    !discard
}

fn command_tag(frame: &Bytes) -> Result<String, Error> {
    let tag = frame.get(5..).and_then(|body| body.strip_suffix(b"\0"));
    let tag = tag.and_then(|tag| std::str::from_utf8(tag).ok());
    tag.map(str::to_owned)
        .ok_or_else(|| Error::Protocol("a command tag that is no text".into()))
}

/// Notes a ParameterStatus.
pub(crate) fn parameter(
    frame: &Bytes,
    parameters: &mut BTreeMap<String, String>,
) -> Result<(), Error> {
    let mut parts = frame.get(5..).unwrap_or_default().split(|&b| b == 0);
    let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
        return Err(Error::Protocol("a parameter status without a value".into()));
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if parameters.len() >= MAX_PARAMETERS && !parameters.contains_key(&text(name)) {
        return Err(Error::Protocol("too many reported parameters".into()));
    }
    parameters.insert(text(name), text(value));
    Ok(())
}

/// PostgreSQL 15 reports fourteen.
const MAX_PARAMETERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn read(mut bytes: &[u8], expected: usize, limits: Limits) -> Result<Vec<Answer>, Error> {
        let collector = Collector {
            frames: &mut FrameReader::default(),
            limits,
            token: Some("secret"),
            parameters: &mut BTreeMap::new(),
            transaction: &mut b'I',
        };
        collector.collect(&mut bytes, expected).await
    }

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.extend((body.len() as u32 + 4).to_be_bytes());
        frame.extend(body);
        frame
    }

    proptest! {
        #[test]
        fn no_server_bytes_make_it_panic(
            frames in prop::collection::vec(
                (prop::sample::select(&b"123ACDEGHINSTZKRVWcdnst"[..]),
                 prop::collection::vec(any::<u8>(), 0..20)), 0..20),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(k, b)| frame(*k, b)).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&bytes, 3, Limits::default()));
        }
    }

    #[tokio::test]
    async fn only_a_notice_with_the_token_is_captured() {
        let mut bytes = Vec::new();
        for (code, message) in [
            ("ST001", "secret {}\0Wa trigger"),
            ("ST001", "secre {}"),
            ("00000", "secret {}"),
        ] {
            bytes.extend(frame(b'N', format!("C{code}\0M{message}\0\0").as_bytes()));
        }
        bytes.extend(frame(b'Z', b"I"));
        let answers = read(&bytes, 1, Limits::default()).await.unwrap();
        let report = Report {
            json: "{}".into(),
            context: "a trigger".into(),
        };
        assert_eq!(answers[0].outcome.captured, [report]);
        assert_eq!(answers[0].outcome.frames.len(), 2);
    }

    #[tokio::test]
    async fn the_reason_given_before_the_end_is_reported() {
        let bytes = frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0");
        let Err(Error::Closed(Some(fields))) = read(&bytes, 1, Limits::default()).await else {
            panic!("the session must be closed with a reason");
        };
        assert_eq!(
            (fields.sqlstate.as_str(), fields.is_fatal()),
            ("57P01", true)
        );
    }

    #[tokio::test]
    async fn many_small_frames_count_against_the_limit() {
        let mut bytes = frame(b'D', &[0, 0]).repeat(100);
        bytes.extend(frame(b'Z', b"I"));
        let limits = Limits {
            outcome_bytes: 2000,
            frame_bytes: 2000,
        };
        assert!(matches!(
            read(&bytes, 1, limits).await,
            Err(Error::TooLarge { limit: 2000 })
        ));
    }
}
