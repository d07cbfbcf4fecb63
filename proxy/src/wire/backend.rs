//! The messages that the front itself says; PostgreSQL's own are forwarded as they are.

use super::Fault;
use bytes::BytesMut;
use pgwire::error::ErrorInfo;
use pgwire::messages::Message;
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

fn put(out: &mut BytesMut, message: impl Message) {
    let mark = out.len();
    // The one error is a message above libpq's limit for its type; only a setting's value could be as long.
    if message.encode(out).is_err() {
        out.truncate(mark);
    }
}

pub(crate) fn parse_complete(out: &mut BytesMut) {
    put(out, ParseComplete::new());
}

pub(crate) fn bind_complete(out: &mut BytesMut) {
    put(out, BindComplete::new());
}

pub(crate) fn close_complete(out: &mut BytesMut) {
    put(out, CloseComplete::new());
}

pub(crate) fn portal_suspended(out: &mut BytesMut) {
    put(out, PortalSuspended::new());
}

pub(crate) fn no_data(out: &mut BytesMut) {
    put(out, NoData::new());
}

pub(crate) fn empty_query(out: &mut BytesMut) {
    put(out, EmptyQueryResponse::new());
}

pub(crate) fn parameter_description(out: &mut BytesMut, types: Vec<u32>) {
    put(out, ParameterDescription::new(types));
}

pub(crate) fn command_complete(out: &mut BytesMut, tag: &str) {
    put(out, CommandComplete::new(tag.to_owned()));
}

pub(crate) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    put(out, ParameterStatus::new(name.to_owned(), value.to_owned()));
}

pub(crate) fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    put(out, ReadyForQuery::new(status));
}

pub(crate) fn authentication_ok(out: &mut BytesMut) {
    put(out, Authentication::Ok);
}

/// Asks for a password by this mechanism.
pub(crate) fn authentication_sasl(out: &mut BytesMut, mechanism: &str) {
    put(out, Authentication::SASL(vec![mechanism.to_owned()]));
}

pub(crate) fn authentication_continue(out: &mut BytesMut, message: String) {
    put(out, Authentication::SASLContinue(message.into()));
}

pub(crate) fn authentication_final(out: &mut BytesMut, message: String) {
    put(out, Authentication::SASLFinal(message.into()));
}

pub(crate) fn backend_key(out: &mut BytesMut, pid: i32, secret: i32) {
    put(out, BackendKeyData::new(pid, SecretKey::I32(secret)));
}

/// The newest version that the front speaks is 3.0, which PostgreSQL 15 names by its full number.
pub(crate) fn negotiate_version(out: &mut BytesMut, unsupported: Vec<String>) {
    put(out, NegotiateProtocolVersion::new(3 << 16, unsupported));
}

pub(crate) fn copy_in(out: &mut BytesMut, binary: bool, columns: u16) {
    let format = i8::from(binary);
    let formats = vec![i16::from(format); usize::from(columns)];
    put(out, CopyInResponse::new(format, columns as i16, formats));
}

pub(crate) fn error(out: &mut BytesMut, fault: Fault) {
    let severity = if fault.fatal { "FATAL" } else { "ERROR" };
    let mut info = ErrorInfo::new(
        severity.into(),
        fault.sqlstate.into_owned(),
        plain(fault.message),
    );
    info.severity_nonlocalized = Some(severity.into());
    info.detail = fault.detail.map(plain);
    info.hint = fault.hint.map(plain);
    info.position = fault.position.map(|position| position.to_string());
    let routine = fault.outdated.then_some("RevalidateCachedQuery");
    info.routine = routine.map(str::to_owned);
    put(out, ErrorResponse::from(info));
}

pub(crate) fn warning(out: &mut BytesMut, sqlstate: &str, message: &str) {
    let mut info = ErrorInfo::new("WARNING".into(), sqlstate.into(), message.into());
    info.severity_nonlocalized = Some("WARNING".into());
    put(out, NoticeResponse::from(info));
}

pub(crate) fn notice(out: &mut BytesMut, message: &str, hint: &str) {
    let mut info = ErrorInfo::new("NOTICE".into(), "00000".into(), message.into());
    info.severity_nonlocalized = Some("NOTICE".into());
    info.hint = Some(hint.into());
    put(out, NoticeResponse::from(info));
}

/// A NUL would end the field early.
fn plain(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', " ")
    } else {
        text
    }
}
