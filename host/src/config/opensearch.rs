//! The keys of `sink.opensearch` and `sink.elasticsearch`, which are the same.

use super::http::read_http;
use super::section::{Findings, Section};
use super::sink::Base;
use crate::secret::Secret;
use crate::sink::{Login, OpenSearchConfig, Place};

/// Reads a sink of either product.
pub(super) fn read_opensearch(
    mut part: Section<'_>,
    base: Base<'_>,
    findings: &mut Findings,
) -> Option<OpenSearchConfig> {
    let http = read_http(&mut part, base.folder, "https://opensearch.example:9200", findings);
    let place = read_place(&mut part, findings);
    let login = read_login(&mut part, findings);
    part.finish(findings);
    Some(OpenSearchConfig { http: http?, place: place?, login: login? })
}

fn read_place(part: &mut Section<'_>, findings: &mut Findings) -> Option<Place> {
    let stream = part.optional("data_stream", findings);
    let index = part.optional("index", findings);
    let (key, name) = match (&stream, &index) {
        (Some(name), None) => ("data_stream", name),
        (None, Some(name)) => ("index", name),
        _ => {
            if part.is_present() {
                let hint = "data_stream = \"trailhound-findings\", or index = \"findings-%Y.%m.%d\"";
                findings.wrong(part.span(), &part.key("index"), "name either `data_stream` or `index`", hint);
            }
            return None;
        }
    };
    if let Some(what) = no_index(name, key == "index") {
        findings.wrong(part.span_of(key).as_ref(), &part.key(key), what, "for example findings-%Y.%m.%d as an index");
        return None;
    }
    stream.map(Place::DataStream).or(index.map(Place::Index))
}

/// Why a text is not the name of an index, after what both products say of names.
fn no_index(name: &str, pattern: bool) -> Option<&'static str> {
    let mut plain = name.to_owned();
    for part in ["%Y", "%m", "%d", "%H"].into_iter().filter(|_| pattern) {
        plain = plain.replace(part, "0000");
    }
    if plain.contains('%') {
        return Some(if pattern {
            "has a % that is none of %Y %m %d %H"
        } else {
            "has a %, and a data stream no pattern"
        });
    }
    if plain.chars().any(|c| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:".contains(c)) {
        return Some("has a character that no index's name may have: upper case, white space, \\ / * ? \" < > | , # :");
    }
    if plain.starts_with(['-', '_', '+', '.']) || plain.len() > 255 {
        return Some("begins with - _ + or a dot, or has more than 255 bytes");
    }
    None
}

/// The outer None for a mistake that was complained about.
fn read_login(part: &mut Section<'_>, findings: &mut Findings) -> Option<Option<Login>> {
    let user = part.optional("user", findings);
    let password = part.optional("password", findings);
    let key = part.optional("api_key", findings);
    let token = part.optional("token", findings);
    let hint = "user and password, or api_key, or token";
    if user.is_some() != password.is_some() {
        let (has, lacks) = if user.is_some() { ("user", "password") } else { ("password", "user") };
        findings.wrong(part.span_of(has).as_ref(), &part.key(has), format!("needs `{lacks}`"), hint);
        return None;
    }
    let all = [
        user.zip(password).map(|(user, password)| Login::Basic(user, Secret::new(password))),
        key.map(|key| Login::ApiKey(Secret::new(key))),
        token.map(|token| Login::Bearer(Secret::new(token))),
    ];
    let mut all = all.into_iter().flatten();
    let login = all.next();
    if all.next().is_some() {
        findings.wrong(part.span(), &part.key("user"), "there are several logins", hint);
        return None;
    }
    Some(login)
}
