//! A finding in ArcSight's Common Event Format, version 0:
//! `CEF:0|vendor|product|version|signature|name|severity|key=value key=value`.
//!
//! Keys are the format's own (Micro Focus, "ArcSight Common Event Format Implementation Standard", version 26). It has
//! none for an account, a region and an event id: these are custom strings, with a label each.

use std::net::IpAddr;

use crate::sink::facts::{Facts, Level};

/// The severity from 0 to 10: 0 to 3 is low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high.
fn severity(level: Level) -> u8 {
    match level {
        Level::Informational => 1,
        Level::Low => 3,
        Level::Unknown | Level::Medium => 5,
        Level::High => 8,
        Level::Critical => 9,
        Level::Fatal => 10,
    }
}

/// Writes the event.
pub(super) fn write(facts: &Facts, to: &mut String) {
    to.push_str("CEF:0|Trailhound|trailhound|");
    header(env!("CARGO_PKG_VERSION"), to);
    to.push('|');
    header(facts.rule().unwrap_or("finding"), to);
    to.push('|');
    header(facts.title(), to);
    to.push('|');
    to.push_str(&severity(facts.level()).to_string());
    to.push('|');
    let (time, event_time) = (facts.time_ms(), facts.event_time_ms());
    let ip = facts.source_ip().and_then(|text| text.parse::<IpAddr>().ok().map(|ip| (text, ip)));
    let v4 = ip.filter(|(_, ip)| ip.is_ipv4()).map(|(text, _)| text);
    let v6 = ip.filter(|(_, ip)| ip.is_ipv6()).map(|(text, _)| text);
    let mut first = true;
    let mut pair = |key: &str, value: Option<&str>| {
        let Some(value) = value else { return };
        if !std::mem::take(&mut first) {
            to.push(' ');
        }
        to.push_str(key);
        to.push('=');
        extension(value, to);
    };
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    pair("rt", number(time).as_deref());
    pair("start", number(event_time).as_deref());
    pair("externalId", facts.id());
    pair("act", facts.operation());
    pair("destinationServiceName", facts.service());
    pair("suser", facts.actor());
    pair("suid", facts.actor_uid());
    pair("src", v4);
    pair("c6a2", v6);
    pair("c6a2Label", v6.map(|_| "Source IPv6 Address"));
    pair("shost", facts.source_name());
    pair("requestClientApplication", facts.text("/evidences/0/http_request/user_agent"));
    for (value, label, [key, label_key]) in [
        (facts.account(), "Account", ["cs1", "cs1Label"]),
        (facts.region(), "Region", ["cs2", "cs2Label"]),
        (facts.event_id(), "Event ID", ["cs3", "cs3Label"]),
        (facts.references().next(), "Reference", ["cs4", "cs4Label"]),
    ] {
        pair(key, value);
        pair(label_key, value.map(|_| label));
    }
    pair("msg", Some(facts.message()));
}

/// A part of the header: `|` and `\` are escaped, and it has no line breaks.
fn header(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '|' | '\\' => to.extend(['\\', c]),
            c if c.is_control() => to.push(' '),
            c => to.push(c),
        }
    }
}

/// A value of the extension: `=` and `\` are escaped, line breaks are written as `\n` and `\r`.
fn extension(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '=' | '\\' => to.extend(['\\', c]),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            c if c.is_control() => to.push(' '),
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cef(finding: &Value) -> String {
        let mut text = String::new();
        write(&Facts::read(finding.to_string().as_bytes()).unwrap(), &mut text);
        text
    }

    const HEAD: &str = concat!("CEF:0|Trailhound|trailhound|", env!("CARGO_PKG_VERSION"), "|");

    #[test]
    fn a_finding_fills_the_formats_own_keys() {
        let finding = json!({
            "time": 1_767_323_045_000_i64, "start_time": 1_689_802_503_000_i64, "severity_id": 4,
            "message": "Root signed in: account 111122223333, source 192.0.2.7",
            "finding_info": {
                "uid": "99f8b719555baa0ff57d51a477064eb3", "title": "Root signed in",
                "analytic": {"uid": "TEST-001"}, "related_events": [{"uid": "e-1"}],
            },
            "cloud": {"region": "us-east-1", "account": {"uid": "111122223333"}},
            "actor": {"user": {"name": "ann", "uid": "arn:aws:iam::111122223333:user/ann"}},
            "api": {"operation": "ConsoleLogin", "service": {"name": "signin.amazonaws.com"}},
            "evidences": [{"src_endpoint": {"ip": "192.0.2.7"}, "http_request": {"user_agent": "Mozilla/5.0"}}],
            "remediation": {"references": ["https://example.com/why?a=b"]},
        });
        let expect = "TEST-001|Root signed in|8|rt=1767323045000 start=1689802503000 \
                      externalId=99f8b719555baa0ff57d51a477064eb3 act=ConsoleLogin \
                      destinationServiceName=signin.amazonaws.com suser=ann suid=arn:aws:iam::111122223333:user/ann \
                      src=192.0.2.7 requestClientApplication=Mozilla/5.0 cs1=111122223333 cs1Label=Account \
                      cs2=us-east-1 cs2Label=Region cs3=e-1 cs3Label=Event ID cs4=https://example.com/why?a\\=b \
                      cs4Label=Reference msg=Root signed in: account 111122223333, source 192.0.2.7";
        assert_eq!(cef(&finding), format!("{HEAD}{expect}"));
    }

    #[test]
    fn an_address_of_the_newer_kind_and_a_name_have_other_keys() {
        let from = |endpoint: Value| cef(&json!({"evidences": [{"src_endpoint": endpoint}]}));
        let v6 = from(json!({"ip": "2001:db8::1"}));
        assert!(v6.contains("|c6a2=2001:db8::1 c6a2Label=Source IPv6 Address msg="), "{v6}");
        let name = from(json!({"domain": "ec2.amazonaws.com"}));
        assert!(name.contains("|shost=ec2.amazonaws.com msg="), "{name}");
        // Whatever claims to be an address.
        let hostile = from(json!({"ip": "1 suser=root"}));
        assert!(!hostile.contains("src="), "{hostile}");
    }

    #[test]
    fn whatever_a_title_holds_it_stays_a_title() {
        let title = "a|b\\c=d\ne\r\"f\u{0}é|10|suser=root";
        let text = cef(&json!({"severity_id": 2, "finding_info": {"title": title, "analytic": {"uid": "x|y"}}}));
        let expect = concat!(r#"x\|y|a\|b\\c=d e "f é\|10\|suser=root|3|"#, r#"msg=a|b\\c\=d\ne\r"f é|10|suser\=root"#);
        assert_eq!(text, format!("{HEAD}{expect}"));
    }

    #[test]
    fn severities_are_in_the_bands_that_they_are_called_by() {
        let all = (0..=7).map(|id| cef(&json!({ "severity_id": id })));
        let numbers: Vec<String> = all.map(|text| text.split('|').nth(6).unwrap().to_owned()).collect();
        assert_eq!(numbers, ["5", "1", "3", "5", "8", "9", "10", "5"]);
    }
}
